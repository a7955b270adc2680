"""A finished process reward model on prompts that it was not trained on: every score beside the exact label, one JSON line a solution.

`eval/step_metrics.py` makes its figures of these lines; training only writes them.
"""

import json
from pathlib import Path
from typing import Any

from data.drawn_solutions import SCORES, score_line
from data.label_report import LABEL_REPORT, label_report
from data.stream import Mixture
from training.prm_batches import score_solutions
from training.sources import build_source
from training.stages.context import StageContext, hash_seed
from training.step_labeller import Labeller, encode_row

SPLIT = "dev"


def write_heldout(context: StageContext, config: Any, prm: Any, labeller: Labeller, stage_dir: Path) -> dict[str, Any]:
    """Draw, label and score solutions of `config.heldout` prompts of the split `dev`, from the worlds of the stage's mixture. Leaves
    `step_scores.jsonl` and the report on the labels, `label_report.json`; returns what the stage's manifest says of it.

    A mixture without worlds has no exact labels to hold scores against: `ValueError`.
    """
    mixture = _heldout_mixture(context, config)
    seed, lines, solutions = hash_seed(context.recipe.seed, config.name, "heldout"), [], []
    labeller = Labeller(context, labeller.how, labeller.labels) if labeller.inject or labeller.gold else labeller
    for start in range(0, config.heldout, config.batch_size):
        numbers = range(start, min(start + config.batch_size, config.heldout))
        rows = [encode_row(context, config.max_tokens, config.labels.judged, mixture.item(i)) for i in numbers]
        found = labeller(rows, (seed, start))
        scores = score_solutions(prm, found.batch, context.processor, found.drawn, config.micro_tokens, context.accelerator.device)
        values = prompt_values(prm, found.batch, context) if config.value_weight else [None] * len(rows)
        for d, row in zip(found.drawn, scores, strict=True):
            lines.append(score_line(d, row, found.rates[d.owner], values[d.owner]))
            solutions.append(d.solution)
    with open(stage_dir / SCORES, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(line) + "\n" for line in lines)
    (stage_dir / LABEL_REPORT).write_text(json.dumps(label_report(solutions), indent=1))
    return {"prompts": config.heldout, "solutions": len(lines), "split": SPLIT}


def _heldout_mixture(context: StageContext, config: Any) -> Mixture:
    worlds = [name for name in config.mixture if context.recipe.data.sources[name].world is not None]
    if not worlds:
        raise ValueError(f"stage {config.name!r}: heldout needs a world in the mixture, whose verifier knows every step; set heldout: 0")
    sources = {name: build_source(context.recipe, name, (context.recipe.seed, config.name, "heldout"), SPLIT) for name in worlds}
    weights = {name: config.mixture[name] for name in worlds}
    return Mixture(sources, weights, hash_seed(context.recipe.seed, config.name, "heldout"))


def prompt_values(prm: Any, batch: dict[str, Any], context: StageContext) -> list[float]:
    """What the scalar head says of each prompt: the pass rate that it expects, in [0, 1]."""
    import torch

    with torch.no_grad():
        hidden = prm.hidden_states(**context.to_device(batch))[:, -1]
        return [round(v, 6) for v in prm.values(hidden).float().sigmoid().tolist()]
