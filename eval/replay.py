"""The published MathVista runs scored again: `python -m eval replay` prints what came out beside what was published, the extractor's agreement, and
the floors of MathVista and MMAU: what answers without any model are given.

Needs `scored/output_<run>.json` and `scored/scores_<run>.json` (the published outputs and score files) and `mathvista/testmini.json` below the data
root, and takes `mmau/mmau-test-mini.json` where it is there; docs/benchmarks/mathvista.md and mmau.md say where they come from.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from eval import extraction
from eval.benchmarks import mathvista_official as official
from eval.benchmarks.mathvista import MathVista
from eval.benchmarks.mathvista_query import lmm_query
from eval.benchmarks.mmau import MMAU
from eval.benchmarks.offline import OfflineBenchmark, Prediction
from eval.score import Report, score_files, tally

# SHA-256 over the published `query` of all 1,000 problems, as JSON with sorted keys: pid -> query.
QUERIES_SHA256 = "18cf79f2faa82deee7066534c8934e8c6fd5b16e7010960705daad775ab4039c"
GOLD, MMAU_GOLD = "mathvista/testmini.json", "mmau/mmau-test-mini.json"
CONSTANTS = ("", "None", "N/A", "I cannot answer", "A", "0", "1", "2")  # what models say that cannot or will not answer, and lucky guesses


def replay(data_root: Path) -> dict[str, Any]:
    """`runs`: name -> facts of each published run; `queries`: how many of the problems' queries are byte for byte; `floors`: right answers of an
    all-empty submission by protocol; `constants`: text -> right answers under `official` where every extraction is that text; `mmau`: the same for
    MMAU's first option (None without its file); `agreement`: the runs together. Missing files are one `ValueError`."""
    gold, scored = data_root / GOLD, data_root / "scored"
    names = sorted(p.stem.removeprefix("output_") for p in scored.glob("output_*.json"))
    absent = [str(p) for p in (gold, *(scored / f"scores_{name}.json" for name in names)) if not p.is_file()]
    if absent or not names:
        raise ValueError(f"not found: {', '.join(absent or [str(scored / 'output_*.json')])} (docs/benchmarks/mathvista.md says how to get them)")
    problems = json.loads(gold.read_text(encoding="utf-8"))
    runs = {name: replay_run(scored, name, gold) for name in names}
    return {
        "runs": runs, "queries": queries_reproduced(problems), **floors(gold), "mmau": mmau_floor(data_root / MMAU_GOLD),
        "agreement": pooled([run["agreement"] for run in runs.values()]),
    }  # fmt: skip


def replay_run(scored: Path, name: str, gold: Path) -> dict[str, Any]:
    """One run: right answers under each integer rule, the published ones, cells of the breakdown that agree, and the extractor's agreement."""
    published = json.loads((scored / f"scores_{name}.json").read_text(encoding="utf-8"))
    average = published.pop("average")
    reports = {rule: score_files(MathVista(), scored / f"output_{name}.json", gold, rule) for rule in ("official-2023", "official")}
    cells = {(axis, value): (c["correct"], c["total"]) for axis, by in published.items() for value, c in by.items()}
    same = {rule: sum(breakdown(report).get(key) == cell for key, cell in cells.items()) for rule, report in reports.items()}
    return {
        "published": average["correct"], "n": average["total"], "correct": {rule: report.correct for rule, report in reports.items()},
        "cells": len(cells), "cells_same": same, "agreement": agreement(scored / f"output_{name}.json"),
    }  # fmt: skip


def breakdown(report: Report) -> dict[tuple[str, str], tuple[int, int]]:
    return {(axis, value): (cell["correct"], cell["n"]) for axis, by in report.breakdown.items() for value, cell in by.items()}


def agreement(outputs: Path) -> dict[str, int]:
    """How often the offline rules, after normalisation, say what the published language model extracted. `rows`: all, `texts`: responses that hold
    any text (for the others the published extraction is a guess), `parsed`: the rules read an answer; each with the agreeing ones."""
    counts = dict.fromkeys(("rows", "rows_same", "texts", "texts_same", "parsed", "parsed_same"), 0)
    records = {record.id: record for record in MathVista().records(outputs)[0]}
    for pid, row in json.loads(outputs.read_text(encoding="utf-8")).items():
        kind = (row["question_type"], row["answer_type"], row["choices"])
        ours = official.read_response(row["response"], *kind)
        if ours is None:
            ours = extraction.extract(row["response"], records[pid]).answer
        same = official.normalise(ours or "", *kind, row["precision"]) == official.normalise(row["extraction"], *kind, row["precision"])
        for group, member in (("rows", True), ("texts", bool(row["response"].strip())), ("parsed", bool(ours))):
            counts[group] += member
            counts[f"{group}_same"] += member and same
    return counts


def pooled(counts: list[dict[str, int]]) -> dict[str, int]:
    return {key: sum(c[key] for c in counts) for key in counts[0]}


def queries_reproduced(problems: dict[str, Any]) -> int:
    """All of them, or none: the published texts are known by their hash."""
    digest = hashlib.sha256(json.dumps({pid: lmm_query(p) for pid, p in problems.items()}, sort_keys=True).encode()).hexdigest()
    return len(problems) if digest == QUERIES_SHA256 else 0


def floors(gold: Path) -> dict[str, dict[str, int]]:
    """Right answers of submissions whose extractions are all the same text: `floors`, the empty one by protocol, and `constants` by text."""
    bench = MathVista(path=gold)
    records = bench.records(gold)[0]

    def right(text: str, protocol: str) -> int:
        return tally(bench, records, {r.id: Prediction(r.id, text, None, frozenset(["extraction"])) for r in records}, protocol).correct

    return {"floors": {name: right("", name) for name in bench.protocols}, "constants": {text: right(text, "official") for text in CONSTANTS}}


def mmau_floor(gold: Path) -> dict[str, Any] | None:
    """Always the first option of MMAU's test-mini: {n, correct: protocol -> right answers, task: task -> share under `strict`}."""
    if not gold.is_file():
        return None
    bench: OfflineBenchmark = MMAU(path=gold)
    records = bench.records(gold)[0]
    first = {r.id: Prediction(r.id, (r.options or [""])[0], None, frozenset(["model_output"])) for r in records}
    reports = {name: tally(bench, records, first, name) for name in bench.protocols}
    tasks = {task: round(cell["score"], 4) for task, cell in reports["strict"].breakdown["task"].items()}
    return {"n": reports["strict"].n, "correct": {name: report.correct for name, report in reports.items()}, "task": tasks}


def show(found: dict[str, Any]) -> None:
    """The tables for a terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    rules = ("official-2023", "official")
    table = Table("run", "published", *rules, box=None, title="right answers, and cells of the breakdown that agree", title_justify="left")
    for name, run in found["runs"].items():
        cells = [f"{run['correct'][rule]}  ({run['cells_same'][rule]} of {run['cells']})" for rule in rules]
        table.add_row(name, f"{run['published']} of {run['n']}", *cells)
    console.print(table)
    heads = ("run", "all rows", "rows with text", "answers read", "coverage")
    table = Table(*heads, box=None, title="\nagreement of the rules with the published extractions", title_justify="left")
    for name, counts in [*((name, run["agreement"]) for name, run in found["runs"].items()), ("together", found["agreement"])]:
        shares = [f"{counts[f'{k}_same'] / max(counts[k], 1):.1%} of {counts[k]}" for k in ("rows", "texts", "parsed")]
        table.add_row(name, *shares, f"{counts['parsed'] / max(counts['texts'], 1):.1%}")
    console.print(table)
    console.print()
    console.print(f"queries, byte for byte: {found['queries']} of 1000", highlight=False)
    console.print("all extractions empty: " + ", ".join(f"{name} {right}" for name, right in found["floors"].items()), highlight=False)
    said = ", ".join(f"{text or 'nothing'!r} {right}" for text, right in found["constants"].items())
    console.print(f"all extractions one text, official: {said}", highlight=False)
    if (mmau := found["mmau"]) is None:
        console.print(f"MMAU: no {MMAU_GOLD} (docs/benchmarks/mmau.md)", highlight=False)
        return
    rights = ", ".join(f"{name} {right / mmau['n']:.1%}" for name, right in mmau["correct"].items())
    tasks = ", ".join(f"{task} {share:.2%}" for task, share in mmau["task"].items())
    console.print(f"MMAU, always the first option, {mmau['n']} items: {rights} (strict by task: {tasks})", highlight=False)
