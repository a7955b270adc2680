"""A process reward model as a release: the transformers layout with its code, and a card that says where its labels came from."""

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

from training.stages.context import StageContext

CARD = """---
library_name: transformers
tags: [process-reward-model, multimodal, audio, image, video, focal]
license: apache-2.0
---

# {name}

A process reward model trained with Focal: {parameters:,} parameters. Behind every step of a solution it reads the placeholder `<|step|>` and says how
likely the solution is right up to there.

```python
from transformers import AutoModel, AutoProcessor

prm = AutoModel.from_pretrained(DIR, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(DIR, trust_remote_code=True)
text = processor.tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
batch = processor(text + "<think>red: 7<|step|></think><answer>7</answer><|step|>", media=["x.png"], padding_side="right")
print(prm.step_scores(**batch))
```

## Labels

Source of the labels: **{source}** ({what}). Supervised: {supervise}. Form: {form}. Weight of wrong steps: {balance}.

## Solutions

{solutions}

## Limits

It scores solutions of the policy that it was trained beside, in that policy's protocol and with its tokenizer. Scores of other policies'
solutions were not measured.

## Facts

```json
{facts}
```
"""
SOURCES = {
    "verifier": "every step and answer judged exactly by the world that made the question",
    "monte_carlo": "the share of the policy's own completions of a prefix that end in the gold answer",
    "judge": "the first wrong step as a judge checkpoint names it",
    "consensus_strict": "solutions on which Monte-Carlo completions and a judge name the same first error",
    "consensus_loose": "solutions on which Monte-Carlo completions and a judge agree that there is an error; the earlier one counts",
    "judge_if_mc_zero": "the judge's first error where Monte-Carlo completions found one too",
}


def write_prm_release(prm: Any, context: StageContext, name: str, facts: dict[str, Any]) -> Path:
    """Write the folder `name` of the run (whole or not at all); LoRA weights are merged into a copy. A component that cannot travel is a
    `ValueError` naming it."""
    from models.lora import merge_lora
    from models.releasable import check_releasable

    check_releasable(prm)
    model = merge_lora(copy.deepcopy(prm)) if prm.config.lora is not None else prm
    temporary, target = context.run_dir / f".tmp-{name}", context.run_dir / name
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    context.processor.save_pretrained(temporary)
    (temporary / "README.md").write_text(prm_card(model, f"{context.recipe.name}-{name}", facts), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(temporary, target)
    return target


def prm_card(model: Any, name: str, facts: dict[str, Any]) -> str:
    """The model card as Markdown. facts: what the stage's manifest says of the labels."""
    drawn = ", ".join(f"{source} ({weight:g})" for source, weight in facts["mixture"].items())
    source = facts["label_source"]
    return CARD.format(
        name=name, parameters=sum(p.numel() for p in model.parameters()), source=source, what=SOURCES.get(source, "as its data set gives them"),
        supervise=facts["supervise"], form=facts["form"], balance=facts["balance"], facts=json.dumps(facts, indent=1),
        solutions=f"Drawn fresh from the policy of the run, on prompts of: {drawn}." if drawn else "Stored solutions of a file.",
    )  # fmt: skip
