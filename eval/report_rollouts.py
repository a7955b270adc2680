"""The rollouts that a reinforcement stage kept (`stages/*/rollouts.jsonl`): groups of completions as a heat map of their token weights, with rewards
and advantages."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup

GROUPS = 4  # per stage, evenly spread over its steps
LEVELS = 8  # shades of weight; neighbours of one shade are drawn as one
SMALLEST_RANGE = 1e-3  # weights that differ by less are drawn as equal


def section(facts: Any) -> Markup | None:
    """The section of the report, or None where no stage kept rollouts."""
    stages = collect(facts.run_dir)
    if not stages:
        return None
    from eval.report_page import environment

    return Markup(environment().get_template("report_rollouts.html.j2").render(stages=stages))


def collect(run_dir: Path) -> list[dict[str, Any]]:
    """Stages in order, each with its shown groups as the template draws them."""
    stages = []
    for path in sorted(Path(run_dir).glob("stages/*/rollouts.jsonl")):
        with open(path, encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines if line.endswith("\n")]
        if rows:
            count = min(GROUPS, len(rows))
            picked = sorted({round(i * (len(rows) - 1) / max(1, count - 1)) for i in range(count)})
            stages.append({"name": path.parent.name.partition("-")[2], "kept": len(rows), "groups": [group(rows[i]) for i in picked]})
    return stages


def group(row: dict[str, Any]) -> dict[str, Any]:
    """One prompt and its rollouts, the best first. `low` and `high` are the ends of the scale of weights."""
    weights = [w for rollout in row["rollouts"] for w in rollout["weights"]]
    low, high = min(weights, default=1.0), max(weights, default=1.0)
    largest = max((abs(r["advantage"]) for r in row["rollouts"]), default=0.0)
    drawn = [
        {
            "reward": r["reward"], "advantage": r["advantage"], "share": abs(r["advantage"]) / largest if largest else 0.0,
            "spans": spans(r["tokens"], r["weights"], low, high),
            "parts": ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in r.get("parts", {}).items()),
        }
        for r in sorted(row["rollouts"], key=lambda r: -r["reward"])
    ]  # fmt: skip
    shown = {key: row.get(key) for key in ("step", "id", "question", "options")}
    return {**shown, "answer": ", ".join(row["answer"]) or "none", "low": low, "high": high, "even": high - low < SMALLEST_RANGE, "rollouts": drawn}


def spans(tokens: list[str], weights: list[float], low: float, high: float) -> list[dict[str, Any]]:
    """Text cut where the shade changes: `level` from 0 to LEVELS - 1, and the mean weight of the piece."""
    width = high - low
    levels = [0 if width < SMALLEST_RANGE else min(LEVELS - 1, int((w - low) / width * LEVELS)) for w in weights]
    pieces = []
    for level, members in groupby(zip(levels, tokens, weights, strict=True), key=lambda item: item[0]):
        held = list(members)
        pieces.append({"level": level, "text": "".join(token for _, token, _ in held), "weight": sum(w for *_, w in held) / len(held)})
    return pieces
