"""`runs/<name>/release/`: the trained reasoner in the transformers format with its code, and a model card filled from the run's own facts."""

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

from configs.load import to_yaml
from configs.schema import Recipe
from reasoning.names import search_name

ORACLE = "oracle"  # the scorer whose rows measure what is in the samples, not what the model finds
CARD = """---
library_name: transformers
tags: [multimodal, audio, image, video, reasoning, focal]
license: apache-2.0
---

# {name}

A multimodal reasoner trained with Focal: {parameters:,} parameters, {streams}.
It answers in `<think>` steps `</think>` and an `<answer>` tag.

```python
from transformers import AutoModelForCausalLM, AutoProcessor

model = AutoModelForCausalLM.from_pretrained(DIR, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(DIR, trust_remote_code=True)
batch = processor(messages=[{{"role": "user", "content": "{placeholder}{question}"}}], media=["{file}"])
print(processor.tokenizer.decode(model.generate(**batch, max_new_tokens=200)[0]))
```

## Data

{data}

## Scores

{scores}

Controls are what the same model scores without the medium (blank) or with another item's (shuffled). A score at its control is no evidence of
perception.

## Limits

Trained on procedural worlds and the sources listed above; anything else is outside what was measured. Media are decoded at {media}.

## Recipe

```yaml
{recipe}```
"""


def write_release(model: Any, processor: Any, recipe: Recipe, run_dir: Path) -> Path:
    """Write the release folder (whole or not at all); LoRA weights are merged into a copy. A component that cannot travel is a `ValueError`
    naming it."""
    from models.releasable import check_releasable

    check_releasable(model)
    if model.config.lora is not None:
        from models.lora import merge_lora

        model = merge_lora(copy.deepcopy(model))
    temporary, target = run_dir / ".tmp-release", run_dir / "release"
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    processor.save_pretrained(temporary)
    (temporary / "README.md").write_text(card(model, recipe, run_dir), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(temporary, target)
    return target


def card(model: Any, recipe: Recipe, run_dir: Path) -> str:
    """The model card as Markdown."""
    streams = list(model.streams)
    first = streams[0] if streams else ""
    example = {"audio": ("<|audio|>", "Which sound is the first?", "x.wav"), "video": ("<|video|>", "Describe the video.", "x.mp4")}
    placeholder, question, file = example.get(first, ("<|image|>", "Describe the bar chart.", "x.png"))
    media = recipe.data.media
    frames = f"{media.num_frames} frames" if media.fps is None else f"{media.fps:g} frames a second up to {media.num_frames}"
    return CARD.format(
        name=recipe.name, parameters=sum(p.numel() for p in model.parameters()), streams=" and ".join(f"{s} in" for s in streams) or "text only",
        placeholder=placeholder, question=question, file=file, data=_data(recipe), scores=_scores(run_dir),
        media=f"{media.sample_rate} Hz, {frames}, at most {media.max_seconds:g} s", recipe=to_yaml(recipe),
    )  # fmt: skip


def _data(recipe: Recipe) -> str:
    lines = [f"Started from `{recipe.model.init}`." if recipe.model.init else "Started from random weights."]
    for stage in recipe.stages:
        for name in getattr(stage, "mixture", {}):
            source = recipe.data.sources[name]
            what = f"world `{source.world}`, level {source.level}" if source.world else f"`{source.reader}` reader, split {source.split}"
            lines.append(f"- stage `{stage.name}` ({stage.kind}, {stage.steps} steps of {stage.batch_size}): {name}, {what}")
    return "\n".join(lines)


def _scores(run_dir: Path) -> str:
    """The results as a table; empty words where nothing was evaluated."""
    path = run_dir / "results.json"
    rows = json.loads(path.read_text())["evaluations"] if path.is_file() else []
    if not rows:
        return "Not evaluated."
    lines = ["| benchmark | level | after | search | protocol | n | score | 95 % | controls |", "|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        search = search_name(r) + (" (knows the answers: a ceiling, no score of this model)" if r["scorer"] == ORACLE else "")
        controls = ", ".join(f"{k} {_percent(v)}" for k, v in (r.get("controls") or {}).items()) or "-"
        low, high = r["ci95"]
        lines.append(
            f"| {r['benchmark']} | {r['level']} | {r['stage']} | {search} | {r['protocol']} | {r['n']} | {_percent(r['score'])} | "
            f"{_percent(low)}-{_percent(high)} | {controls} |"
        )
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
