"""`report.html` of a run: one self-contained page. What was asked for, what was learned, what it scores above which floor, and the items to look at.

A section is a function from the facts of a run to what its part of the template shows, or None where the run has nothing of the kind. One more line
in `SECTIONS` adds one (see `Section`).
"""

import collections
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eval.metrics import natural
from eval.prm_report import section as prm_section
from eval.report_charts import curve
from eval.results import measure, measure_order, read_results, write_atomic
from reasoning.names import search_name

TEMPLATE = "report.html.j2"
CURVES = ("loss", "reward", "accuracy", "entropy", "kl", "effective_ratio", "grad_norm", "tokens_per_s", "lr")  # drawn first, in this order
HIDDEN_CURVES = {"stage", "step", "tokens", "skipped"}
FLOORS = {
    "blank_media": "blank", "shuffled_media": "shuffled", "commonest_answer": "blind guess", "always_first": "first option",
    "always_option": "best fixed letter", "longest_option": "longest option", "random_option": "random",
}  # fmt: skip


@dataclasses.dataclass
class Facts:
    """What a run directory holds, read once."""

    run_dir: Path
    recipe_text: str
    results: dict[str, Any]
    metrics: dict[str, list[dict[str, Any]]]
    quarantine: list[dict[str, Any]]
    manifests: dict[str, dict[str, Any]]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.results.get("evaluations", [])


@dataclasses.dataclass(frozen=True)
class Section:
    """`build(facts)` gives the context of the template's macro of the same name as `id`, or ready `Markup`, or None to leave the section out."""

    id: str
    title: str
    build: Callable[[Facts], Any]


def write_report(run_dir: str | Path) -> Path:
    """Write `report.html` from what the run directory holds so far; returns its path."""
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise ValueError(f"no run directory at {run_dir}")
    facts = read_facts(run_dir)
    return write_atomic(run_dir / "report.html", render(facts))


def render(facts: Facts) -> str:
    from eval.report_page import environment

    page = environment()
    macros: Any = page.get_template("report_sections.html.j2").module
    sections = []
    for section in SECTIONS:
        content = section.build(facts)
        if content is not None:
            html = content if hasattr(content, "__html__") else getattr(macros, section.id)(content)
            sections.append({"id": section.id, "title": section.title, "html": html})
    return page.get_template(TEMPLATE).render(head=headline(facts), sections=sections)


def read_facts(run_dir: Path) -> Facts:
    """Everything that is there; a run that has not finished gives a shorter report."""
    recipe = run_dir / "recipe.yaml"
    metrics: dict[str, list[dict[str, Any]]] = {}
    for row in _lines(run_dir / "metrics.jsonl"):
        metrics.setdefault(row.get("stage", ""), []).append(row)
    manifests = {p.parent.name.partition("-")[2]: json.loads(p.read_text(encoding="utf-8")) for p in sorted(run_dir.glob("stages/*/done.json"))}
    results = read_results(run_dir) if (run_dir / "results.json").is_file() else {}
    text = recipe.read_text(encoding="utf-8") if recipe.is_file() else ""
    return Facts(run_dir, text, results, metrics, _lines(run_dir / "quarantine.jsonl"), manifests)


def headline(facts: Facts) -> dict[str, Any]:
    """Name, provenance, and one tile per modality: its last greedy row of judged answers, with media controls where any has them, at the highest
    level of these."""
    best: dict[str, dict[str, Any]] = {}
    for row in sorted(facts.rows, key=lambda r: (r["protocol"] != "transcription", _gap(r) is not None, r["level"] or 0)):
        if row["strategy"] == "greedy":
            best[row["modality"]] = row
    tiles = [track(row) | {"title": row["modality"], "floor_gap": _gap(row)} for _, row in sorted(best.items(), key=lambda kv: tile_order(kv[0]))]
    wall = facts.results.get("wall_s", {})
    return {
        "name": facts.results.get("recipe") or facts.run_dir.name, "commit": facts.results.get("commit", "unknown"),
        "device": facts.results.get("device", ""), "seconds": sum(wall.values()), "tiles": tiles, "stages": list(facts.metrics),
    }  # fmt: skip


def tile_order(modality: str) -> tuple[bool, int, str]:
    known = ("image", "audio", "video")
    return modality not in known, known.index(modality) if modality in known else 0, modality


def track(row: dict[str, Any]) -> dict[str, Any]:
    """A row of results as it is drawn: percentages of a line from 0 to 100, with the media controls as its floor."""
    low, high = (100 * x for x in row["ci95"])
    hidden = {"shuffled_options"} | ({"always_first"} if "always_option" in row["controls"] else set())  # the best letter says more than the first
    floors = [{"name": FLOORS.get(k, k.replace("_", " ")), "at": 100 * v} for k, v in row["controls"].items() if k not in hidden]
    return {
        "stage": row["stage"], "strategy": "" if row["strategy"] == "greedy" else search_name(row), "benchmark": measure(row)[0],
        "level": row["level"], "modality": row["modality"], "protocol": row["protocol"], "n": row["n"], "score": 100 * row["score"], "low": low,
        "high": high, "floors": floors, "floor": max((f["at"] for f in floors), default=0.0), "row": row,
    }  # fmt: skip


def scores(facts: Facts) -> dict[str, Any] | None:
    """Rows by what they measure; within one measure, in the order in which they came."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in facts.rows:
        groups.setdefault(measure(row), []).append(track(row))
    if not groups:
        return None
    order = sorted(groups, key=measure_order)
    return {"groups": [{"modality": groups[k][0]["modality"], "benchmark": k[0], "level": k[1], "tracks": groups[k]} for k in order]}


def breakdown(facts: Facts) -> dict[str, Any] | None:
    """Per measure: the last greedy row's score along each axis that has at least two values, beside the first one's."""
    panels = []
    greedy = [row for row in facts.rows if row["strategy"] == "greedy"]
    for key in sorted({measure(r) for r in greedy}, key=measure_order):
        rows = [r for r in greedy if measure(r) == key]
        first, last = rows[0], rows[-1]
        for axis, cells in last.get("breakdown", {}).items():
            if len(cells) < 2:
                continue
            before = first.get("breakdown", {}).get(axis, {}) if first is not last else {}
            panels.append(
                {
                    "benchmark": key[0], "level": last["level"], "modality": last["modality"], "axis": axis, "stage": last["stage"],
                    "before": first["stage"], "cells": [_cell(value, cell, before.get(value)) for value, cell in _in_order(cells)],
                }
            )  # fmt: skip
    return {"panels": panels} if panels else None


def learning(facts: Facts) -> dict[str, Any] | None:
    """Curves of each stage's metrics."""
    stages = []
    for name, rows in facts.metrics.items():
        keys = list(dict.fromkeys(k for row in rows for k, v in row.items() if isinstance(v, (int, float)) and k not in HIDDEN_CURVES))
        keys.sort(key=lambda k: CURVES.index(k) if k in CURVES else len(CURVES))
        charts = []
        for key in keys:
            kept = [(row.get("step", i), row[key]) for i, row in enumerate(rows) if isinstance(row.get(key), (int, float))]
            if len(kept) > 1:
                charts.append({"name": key, "last": kept[-1][1], "svg": curve([k[0] for k in kept], [k[1] for k in kept], key)})
        if charts:
            stages.append({"name": name, "steps": rows[-1].get("step"), "charts": charts, "manifest": facts.manifests.get(name, {})})
    return {"stages": stages} if stages else None


def samples(facts: Facts) -> dict[str, Any] | None:
    from eval.report_samples import collect

    return collect(facts.run_dir, facts.rows)


def search(facts: Facts) -> Any:
    from eval.report_search import section

    return section(facts)


def rollouts(facts: Facts) -> Any:
    from eval.report_rollouts import section

    return section(facts)


def phases(facts: Facts) -> dict[str, Any] | None:
    """Where the time went."""
    wall = {k: v for k, v in facts.results.get("wall_s", {}).items() if v > 0}
    total = sum(wall.values())
    if not total:
        return None
    return {"total": total, "phases": [{"name": k, "seconds": v, "share": 100 * v / total} for k, v in wall.items()]}


def health(facts: Facts) -> dict[str, Any]:
    """What was left out and what was dropped: the quarantine by reason, steps without effect, unfinished and unreadable completions."""
    reasons = collections.Counter(str(row.get("reason", "")).partition(":")[0] for row in facts.quarantine)
    skipped = {name: rows[-1].get("skipped", 0) for name, rows in facts.metrics.items() if rows[-1].get("skipped")}
    return {"quarantined": len(facts.quarantine), "reasons": reasons.most_common(12), "examples": facts.quarantine[:5], "skipped": skipped}


def recipe(facts: Facts) -> dict[str, Any] | None:
    return {"text": facts.recipe_text} if facts.recipe_text else None


SECTIONS = [
    Section("scores", "Scores", scores),
    Section("breakdown", "Where it is right", breakdown),
    Section("prm", "Process reward model", prm_section),
    Section("search", "Search", search),
    Section("samples", "Samples", samples),
    Section("rollouts", "Rollouts", rollouts),
    Section("learning", "Learning", learning),
    Section("phases", "Time", phases),
    Section("health", "Left out", health),
    Section("recipe", "Recipe", recipe),
]


def _gap(row: dict[str, Any]) -> float | None:
    held = [row["controls"][k] for k in ("blank_media", "shuffled_media") if k in row["controls"]]
    return 100 * (row["score"] - max(held)) if held else None


def _cell(value: str, cell: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    from eval.metrics import wilson

    low, high = wilson(cell["correct"], cell["n"])
    return {
        "value": value, "n": cell["n"], "score": 100 * cell["score"], "low": 100 * low, "high": 100 * high,
        "before": None if before is None else 100 * before["score"],
    }  # fmt: skip


def _in_order(cells: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(cells.items(), key=lambda item: natural(item[0]))


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip() and line.endswith("\n")]
