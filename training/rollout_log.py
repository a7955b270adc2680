"""Groups of rollouts kept for the report: token by token with their weights, rewards and advantages, one JSON line per group."""

import json
from pathlib import Path
from typing import Any

import torch

from training.rollout import completion_logps, pick_groups
from training.update import Objective, Part


class RolloutLog:
    """`rollouts.jsonl`. A resumed run (`step` done) drops what was written behind its checkpoint."""

    def __init__(self, path: Path, step: int):
        self.path = path
        if path.is_file():
            lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
            path.write_text("".join(line + "\n" for line in lines if json.loads(line)["step"] <= step), encoding="utf-8")

    def add(self, part: Part, model: Any, tokenizer: Any, objective: Objective, step: int) -> None:
        """Keep the group with the widest rewards of a part of step number `step`."""
        rollouts, size = part.rollouts, part.size
        group = int((rollouts.rewards.amax(1) - rollouts.rewards.amin(1)).argmax())
        batch, rows = pick_groups(rollouts, [group], size)
        with torch.no_grad(), objective.autocast():
            _, _, norms, hidden = completion_logps(model, batch, rollouts.ids[rows], objective.temperature, size)
            weights = objective.weighting(hidden, model.head, rollouts.mask[rows].float(), norms, size, objective.temperature)
        entries = [_entry(part, group, i, weights, tokenizer) for i in range(size)]
        record = rollouts.records[group]
        row = {"step": step, "id": record.id, "question": record.question, "options": record.options, "answer": record.answer, "rollouts": entries}
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")


def _entry(part: Part, group: int, i: int, weights: torch.Tensor | None, tokenizer: Any) -> dict[str, Any]:
    rollouts, row = part.rollouts, group * part.size + i
    count = int(rollouts.mask[row].sum())
    return {
        "tokens": [tokenizer.decode([t]) for t in rollouts.ids[row][:count].tolist()],
        "weights": [1.0] * count if weights is None else [round(w, 4) for w in weights[i][:count].tolist()],
        "reward": round(float(rollouts.rewards[group, i]), 4),
        "advantage": round(float(part.advantages[group, i]), 4),
        "parts": {name: round(values[row], 4) for name, values in rollouts.parts.items()},
    }
