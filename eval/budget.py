"""Accuracy against what it costs: strategies swept over n on the same items, each point with its interval, against tokens along the longest chain
(time) and tokens in all (work, the scorer's included).

The samples of an item are drawn once for the largest n; smaller n take the first of them. Points go into `results.json` as rows of an evaluation,
and into `budget-<benchmark>.json` and `.png`, which the report shows.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.compare import compare_items
from eval.item_log import read_items
from eval.results import write_atomic

SWEEP = ("greedy", "majority", "weighted_majority", "best_of_n")
CONTROLS = ("random", "shortest", "oracle")  # scorers that best_of_n is also run by
STEPWISE = ("guided_greedy", "beam", "dvts")
RIVAL = "majority"


def lines_of(strategies: Sequence[str], counts: Sequence[int], scorer: str | None, temperature: float, controls: bool = True) -> list[dict[str, Any]]:
    """The strategy lines of a sweep: each strategy at each n, the largest n first, so that samples are drawn in one go."""
    if bad := [n for n in counts if n < 1]:
        raise ValueError(f"a sweep over n needs n of at least 1, not {bad[0]}")
    lines: list[dict[str, Any]] = []
    for name in strategies:
        if name == "greedy":
            lines.append({"name": name})
            continue
        if name == "sample":
            lines.append({"name": name, "temperature": temperature})
            continue
        for n in sorted(set(counts), reverse=True):
            line: dict[str, Any] = {"name": name, "n": n, "temperature": temperature}
            if name in ("beam", "dvts"):
                line["width"] = next(w for w in (4, 2, 1) if n % w == 0)
            if name == RIVAL:
                lines.append(line)
                continue
            lines.append(line | {"scorer": _needed(scorer, name)})
            if name == "best_of_n" and controls:
                lines += [line | {"scorer": control} for control in CONTROLS]
    return lines


def _needed(scorer: str | None, name: str) -> str:
    if scorer is None:
        raise ValueError(f"strategy {name!r} needs a scorer: --scorer prm:DIR")
    return scorer


def points_of(rows: Sequence[dict[str, Any]], root: Path) -> list[dict[str, Any]]:
    """One point per row: score and interval against tokens, with the paired difference to the majority of as many samples."""
    rivals = {row["samples"]: row for row in rows if row["strategy"] == RIVAL}
    points = []
    for row in rows:
        tokens, rival = row["tokens"], rivals.get(row["samples"])
        point = {
            "strategy": row["strategy"], "scorer": row["scorer"], "n": row["samples"], "items": row["n"], "score": row["score"], "ci95": row["ci95"],
            "sequential": tokens["sequential"], "total": tokens["total"] + tokens["scorer_total"], "scorer_total": tokens["scorer_total"],
        }  # fmt: skip
        if rival is not None and rival is not row and row["samples"] > 1:
            found = compare_items(read_items(root / rival["per_item"]), read_items(root / row["per_item"]))
            point["against_majority"] = {"difference": found["difference"], "ci95": found["ci95"], "p": found["p"]}
        points.append(point)
    return points


def curves(points: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Name -> its points by n."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        by_name.setdefault(point["strategy"] + (f" · {point['scorer']}" if point["scorer"] else ""), []).append(point)
    return {name: sorted(mine, key=lambda p: p["n"]) for name, mine in by_name.items()}


def at_equal_cost(points: Sequence[dict[str, Any]], axis: str = "total") -> list[dict[str, Any]]:
    """For each scored point, the majority at its cost: interpolated on the majority's own curve between its two neighbours (in log tokens), never
    beyond its ends: there the nearest end stands, and `matched` is False."""
    import numpy as np

    rival = sorted((p for p in points if p["strategy"] == RIVAL), key=lambda p: p[axis])
    found = []
    for point in points:
        if point["scorer"] is None or not rival:
            continue
        costs, scores = np.log([max(p[axis], 1e-9) for p in rival]), [p["score"] for p in rival]
        there = np.log(max(point[axis], 1e-9))
        found.append({
            "strategy": point["strategy"], "scorer": point["scorer"], "n": point["n"], axis: point[axis], "score": point["score"],
            "majority": float(np.interp(there, costs, scores)), "matched": bool(costs[0] <= there <= costs[-1]),
        })  # fmt: skip
    return found


def draw(points: Sequence[dict[str, Any]], title: str, path: Path) -> Path | None:
    """Two panels, score against tokens along the longest chain and in all, as PNG; None where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    labels = {"sequential": "tokens along the longest chain", "total": "tokens in all, scorer's included"}
    for panel, (axis, label) in zip(panels, labels.items(), strict=True):
        for name, mine in curves(points).items():
            xs, ys = [max(p[axis], 1) for p in mine], [100 * p["score"] for p in mine]
            errors = [[100 * (p["score"] - p["ci95"][0]) for p in mine], [100 * (p["ci95"][1] - p["score"]) for p in mine]]
            look = {"alpha": 0.55, "ls": "--"} if any(control in name for control in CONTROLS) else {}
            panel.errorbar(xs, ys, yerr=errors, marker="o", markersize=4, capsize=2, lw=1.4, label=name, **look)
        panel.set_xscale("log", base=2)
        panel.set_xlabel(f"{label}, mean per item")
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("right, %")
    panels[1].legend(fontsize=8, frameon=False)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path


def write_budget(root: Path, title: str, rows: Sequence[dict[str, Any]], stem: str = "budget") -> dict[str, Any]:
    """`<stem>.json` and `<stem>.png` below `root`; returns what the JSON holds."""
    points = points_of(rows, root)
    picture = draw(points, title, root / f"{stem}.png")
    tree = {"title": title, "points": points, "at_equal_total": at_equal_cost(points), "picture": picture.name if picture else None}
    write_atomic(root / f"{stem}.json", json.dumps(tree, indent=1, ensure_ascii=False) + "\n")
    return tree
