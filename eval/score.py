"""Score outputs that were made anywhere: a submission file against a gold file under a named protocol, offline.

Nothing is averaged away: rows for unknown ids, second rows for an id, empty, odd and unreadable rows, missing ids and everything that is wrong with
the gold file are named and counted. Where one id has two rows the first stands.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.record import Record
from eval.benchmarks.offline import JUDGED, Mark, OfflineBenchmark, Prediction, Problem, file_sha256, printable, read_json, valid_text
from eval.extraction import MAX_LENGTH
from eval.metrics import interval, natural

NAMED = 20  # how many ids of one kind of problem are spelled out
BOOTSTRAP_DRAWS = 400  # for measures that are no mean over items


@dataclasses.dataclass(slots=True)
class Report:
    """A score with everything needed to believe it. `rows` are per item, in gold order; `used` counts which field was scored for how many rows."""

    benchmark: str
    protocol: str
    n: int
    correct: int
    score: float
    ci95: tuple[float, float]
    missing: int
    breakdown: dict[str, dict[str, dict[str, Any]]]
    gold_sha256: str
    problems: list[Problem]
    used: dict[str, int]
    reasons: dict[str, int]
    rows: list[dict[str, Any]]
    remarks: list[str]

    def summary(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        keys = ("benchmark", "protocol", "n", "correct", "score", "ci95", "missing", "breakdown", "gold_sha256")
        return {key: list(self.ci95) if key == "ci95" else getattr(self, key) for key in keys}


def score_files(benchmark: OfflineBenchmark, predictions: Path, gold: Path, protocol: str | None = None, judge: Any = None) -> Report:
    """Score a predictions file. `judge` (a policy, see `eval.judge`) extracts where the protocol's published scorer asks a language model.
    `ValueError` where nothing can be scored: no gold, no usable prediction for any of its ids, no readable file."""
    protocol = benchmark.check_protocol(protocol)
    for path in (predictions, gold):
        if not path.exists():
            raise ValueError(f"{path}: no such file")
    benchmark.path = gold
    records, problems = benchmark.records(gold)
    asked = [r for r in records if benchmark.asked(r, protocol)]
    if not asked:
        known = f"{len(records)} items, none of which has a gold answer that {protocol!r} asks for" if records else "no items"
        raise ValueError(f"{gold}: {known}; nothing can be scored" + _counted(problems))
    found = read_predictions(benchmark, predictions, {r.id for r in records}, problems)
    if not any(r.id in found for r in asked):
        raise ValueError(f"{predictions}: no prediction for any of the {len(asked)} items of {gold}; nothing can be scored" + _counted(problems))
    if judge is not None:
        from eval.judge import judged

        found = judged(benchmark, asked, found, protocol, judge, problems)
    report = tally(benchmark, asked, found, protocol)
    report.gold_sha256, report.problems = file_sha256(gold), problems
    return report


def _counted(problems: Sequence[Problem]) -> str:
    return "".join(f"\n  {line}" for line in told(problems))


def told(problems: Sequence[Problem]) -> list[str]:
    """Each kind of problem on a line, with its count and the ids or places it was met at."""
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(f"{problem.where} ({problem.detail})" if problem.detail else problem.where)
    return [f"{kind}: {len(where)}: {listed(where)}" for kind, where in sorted(kinds.items())]


def listed(names: Sequence[str]) -> str:
    """Names that come from files, fit for a terminal: the first `NAMED` different ones, and how many more there are."""
    counts = Counter(map(printable, names))
    shown = [name if n == 1 else f"{name} x{n}" for name, n in list(counts.items())[:NAMED]]
    return ", ".join(shown) + (f" and {len(counts) - NAMED} more" if len(counts) > NAMED else "")


def read_predictions(benchmark: OfflineBenchmark, path: Path, known: set[str], problems: list[Problem]) -> dict[str, Prediction]:
    """id -> prediction of a submission file; what cannot be used becomes a problem."""
    content = read_json(path, problems)
    if not isinstance(content, (list, dict)):
        raise ValueError(f"{path}: a submission is a list of rows or an object keyed by id, not {type(content).__name__}")
    found: dict[str, Prediction] = {}
    for id, row in benchmark.rows(content):
        if isinstance(row, str):
            problems.append(Problem("not_an_object" if "object" in row else "no_id", path.name, row))
        elif id not in known:
            problems.append(Problem("unknown_id", id))
        elif id in found:
            problems.append(Problem("duplicate_id", id))
        else:
            row.pop(JUDGED, None)  # ours to say
            prediction = as_prediction(benchmark, id, row, problems)
            if prediction is not None:
                found[id] = prediction
    return found


def as_prediction(benchmark: OfflineBenchmark, id: str, row: dict[str, Any], problems: list[Problem]) -> Prediction | None:
    """A row as a prediction; None where it holds nothing that could be scored."""
    answer_key = next((k for k in benchmark.answer_keys if k in row), None)
    response_key = next((k for k in benchmark.response_keys if k in row), None)
    given = frozenset(k for k in (answer_key, response_key) if k)
    if not given and not any(k in row for k in benchmark.payload_keys):
        problems.append(
            Problem("no_output", id, f"has none of {', '.join((*benchmark.answer_keys, *benchmark.response_keys, *benchmark.payload_keys))}")
        )
        return None
    answer = _checked(row[answer_key], id, problems) if answer_key else None
    response = _checked(row[response_key], id, problems) if response_key else None
    response = response if response is None or isinstance(response, str) else str(response)
    if answer_key == "prediction" and response is None and isinstance(answer, str) and "<answer>" in answer:
        answer, response = None, answer  # a raw completion under the name of an answer
    unusable = answer is None and response is None and answer_key != "extraction" and not any(k in row for k in benchmark.payload_keys)
    return None if unusable else Prediction(id, answer, response, given, row)


def _checked(value: Any, id: str, problems: list[Problem]) -> Any:
    """A field's value as far as it can be used: text, a number as text, a list as it is; otherwise None."""
    if value is None:
        problems.append(Problem("null", id))
        return None
    if isinstance(value, (bool, int, float)):
        problems.append(Problem("not_text", id, type(value).__name__))
        return str(value)
    if isinstance(value, list):
        problems.append(Problem("not_text", id, "list"))
        return value
    if not isinstance(value, str):
        problems.append(Problem("not_text", id, type(value).__name__))
        return None
    if not valid_text(value):
        problems.append(Problem("not_utf8", id))
        return None
    if len(value) > MAX_LENGTH:
        problems.append(Problem("too_long", id, f"{len(value)} characters"))
    return value


def tally(benchmark: OfflineBenchmark, records: Sequence[Record], found: dict[str, Prediction], protocol: str) -> Report:
    """Mark every record, then count: overall, along each axis, and per unit where a benchmark has units."""
    marks = [benchmark.mark(r, found[r.id], protocol) if r.id in found else benchmark.missing(r, protocol) for r in records]
    viewed = [benchmark.viewed(r, found.get(r.id), protocol) for r in records]
    counted = [(r, m) for r, m in zip(viewed, marks, strict=True) if m.counted]
    rows = [
        {"id": r.id, "extracted": m.extracted, "prediction": m.prediction, "correct": m.correct if m.counted else None, "reason": m.reason}
        for r, m in zip(records, marks, strict=True)
    ]
    return Report(
        benchmark=benchmark.name,
        protocol=protocol,
        n=len(counted),
        correct=sum(m.correct for _, m in counted),
        score=benchmark.aggregate([r for r, _ in counted], [m for _, m in counted], protocol),
        ci95=_interval(benchmark, counted, protocol),
        missing=sum(r.id not in found for r in records),
        breakdown=_breakdown(benchmark, counted, protocol),
        gold_sha256="",
        problems=[],
        used=dict(Counter(m.used for m in marks if m.used)),
        reasons=dict(Counter(m.reason for m in marks).most_common()),
        rows=rows,
        remarks=benchmark.remarks(viewed, marks, protocol),
    )


def _breakdown(benchmark: OfflineBenchmark, counted: Sequence[tuple[Record, Mark]], protocol: str) -> dict[str, dict[str, dict[str, Any]]]:
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for axis in benchmark.axes:
        cells: dict[str, list[tuple[Record, Mark]]] = {}
        for record, mark in counted:
            for value in benchmark.axis_values(record, axis):
                cells.setdefault(value, []).append((record, mark))
        table[axis] = {value: _cell(benchmark, cells[value], protocol) for value in sorted(cells, key=natural)}
    units: dict[str, list[int]] = {}
    for _, mark in counted:
        for value, right, total in mark.units:
            for key in ("all", value):
                entry = units.setdefault(key, [0, 0])
                entry[0] += right
                entry[1] += total
    if units:
        table["per_option"] = {key: {"n": n, "correct": right, "score": right / n} for key, (right, n) in units.items() if n}
    return table


def _cell(benchmark: OfflineBenchmark, pairs: Sequence[tuple[Record, Mark]], protocol: str) -> dict[str, Any]:
    records, marks = [r for r, _ in pairs], [m for _, m in pairs]
    return {"n": len(marks), "correct": sum(m.correct for m in marks), "score": benchmark.aggregate(records, marks, protocol)}


def _interval(benchmark: OfflineBenchmark, counted: Sequence[tuple[Record, Mark]], protocol: str) -> tuple[float, float]:
    """Wilson, clustered by `record.group` where groups repeat; a seeded bootstrap where the measure is no mean."""
    if type(benchmark).aggregate is OfflineBenchmark.aggregate:
        return interval([m.credit for _, m in counted], [r.group or r.id for r, _ in counted])
    if not counted:
        return 0.0, 1.0
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(BOOTSTRAP_DRAWS):
        picked = [counted[i] for i in rng.integers(0, len(counted), len(counted))]
        scores.append(benchmark.aggregate([r for r, _ in picked], [m for _, m in picked], protocol))
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(low), float(high)
