"""ProcessBench (arXiv 2412.06559): find the first wrong step of a solution, or say that there is none. docs/benchmarks/processbench.md."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.record import Record, Step
from eval import extraction
from eval.benchmarks.offline import Mark, OfflineBenchmark, Prediction, Problem, text_of

THRESHOLD = 0.5
SUBSETS = ("gsm8k", "math", "olympiadbench", "omnimath")


def first_error(scores: Sequence[float], threshold: float = THRESHOLD) -> int:
    """A process reward model's decision: the index of the first step that scores below the threshold, -1 without one."""
    return next((i for i, score in enumerate(scores) if score < threshold), -1)


def f1(error_accuracy: float, correct_accuracy: float) -> float:
    """The harmonic mean of the accuracies on solutions with and without an error; 0 where either is 0."""
    total = error_accuracy + correct_accuracy
    return 2 * error_accuracy * correct_accuracy / total if total else 0.0


class ProcessBench(OfflineBenchmark):
    """A prediction is the index of the first wrong paragraph (-1: none), a critique that ends on it in a box, or `scores` per step. Gold is a file of
    one subset, or the folder of several; a variant names one."""

    name = "processbench"
    modality = "text"
    protocols = ("official",)
    axes = ("subset", "kind", "generator", "final_answer_correct")
    variants = {subset: (f"processbench/{subset}.json", f"processbench/{subset}.jsonl") for subset in SUBSETS}  # published; fetched
    gold_files = ("processbench/processbench.jsonl", *(name for names in variants.values() for name in names))
    payload_keys = ("scores",)

    def gold_path(self, path: Path) -> Path:
        """Without a variant the folder of all subsets, unless one file holds them together."""
        found = super().gold_path(path)
        return found.parent if path.is_dir() and not self.variant and found.stem in SUBSETS else found

    def records(self, path: Path) -> tuple[list[Record], list[Problem]]:
        if path.is_file():
            return super().records(path)
        found: list[Record] = []
        problems: list[Problem] = []
        for names in self.variants.values():
            file = next((path / Path(name).name for name in names if (path / Path(name).name).is_file()), None)
            records, wrong = super().records(file) if file is not None else ([], [])
            found += records
            problems += wrong
        return found, problems

    def record(self, row: dict[str, Any], problems: list[Problem]) -> Record:
        id, label = str(row["id"]), row.get("label")
        if not isinstance(label, int):
            problems.append(Problem("gold_empty", id))
            return Record(id, row["problem"], [""], "text", source="processbench")
        meta = {
            "subset": row.get("subset") or re.split(r"[-_]\d+$", id)[0],
            "kind": "correct" if label == -1 else "error",
            "generator": row.get("generator", ""),
            "final_answer_correct": row.get("final_answer_correct"),
        }
        steps = [Step(text) for text in row["steps"]]
        return Record(id, row["problem"], [str(label)], "integer", steps=steps, source="processbench", group=id, meta=meta).validate()

    def mark(self, record: Record, prediction: Prediction, protocol_name: str) -> Mark:
        scores = prediction.row.get("scores")
        if isinstance(scores, list):
            numbers = [s for s in scores if isinstance(s, (int, float)) and not isinstance(s, bool) and s == s]
            if len(numbers) != len(scores) or len(scores) != len(record.steps or []):
                return Mark(False, None, None, "bad_scores", used="scores")
            said: int | None = first_error(numbers)
            used, reason = "scores", ""
        else:
            text, used = text_of(prediction)
            said, reason = _index(text)
        correct = said is not None and str(said) == record.answer[0]
        shown = None if said is None else str(said)
        return Mark(correct, shown, shown, "ok" if correct else reason or "wrong", float(correct), used=used)

    def aggregate(self, records: Sequence[Record], marks: Sequence[Mark], protocol_name: str) -> float:
        """Mean over the subsets of the F1 of error and correct accuracy. A slice that holds one kind only has no F1: there it is the accuracy."""
        if not marks:
            return 0.0
        if len({r.meta["kind"] for r in records}) == 1:
            return sum(m.correct for m in marks) / len(marks)
        cells: dict[str, dict[str, list[bool]]] = {}
        for record, mark in zip(records, marks, strict=True):
            cells.setdefault(record.meta["subset"], {"error": [], "correct": []})[record.meta["kind"]].append(mark.correct)
        scores = [f1(*(sum(hits) / len(hits) if hits else 0.0 for hits in (cell["error"], cell["correct"]))) for cell in cells.values()]
        return sum(scores) / len(scores)


def _index(text: str | None) -> tuple[int | None, str]:
    """(index that a critique ends on, why there is none)."""
    if text is None or not text.strip():
        return None, "empty"
    span = extraction.answer_spans(text)[0][0]
    found = re.fullmatch(r"\D*?(-?\d+)\D*", span.strip())
    return (int(found.group(1)), "") if found and len(found.group(1)) < 6 else (None, "no_answer")
