"""GSM8K (arXiv 2110.14168): grade-school arithmetic in words; 7,473 training and 1,319 test problems. docs/benchmarks/gsm8k.md."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.record import AnswerType, Record, Step
from eval.benchmarks.offline import Mark, OfflineBenchmark, Prediction, Problem, text_of

_OFFICIAL = re.compile(r"#### (-?[0-9.,]+)")
_CALCULATION = re.compile(r"<<[^<>]*>>")


def official_answer(text: str) -> str | None:
    """What the published rule reads (grade-school-math, dataset.py): the first number behind `#### `, without commas; None without one."""
    found = _OFFICIAL.search(text)
    return found.group(1).strip().replace(",", "") if found else None


class GSM8K(OfflineBenchmark):
    """Rows have no id of their own: ours are `test-0`, `test-1`, … by the file's name and the order of its lines. `official` wants `#### N`."""

    name = "gsm8k"
    modality = "text"
    protocols = ("strict", "official")
    axes = ("steps",)
    gold_files = ("gsm8k/test.jsonl",)

    def records(self, path: Path) -> tuple[list[Record], list[Problem]]:
        self._stem, self._next = path.stem, 0
        return super().records(path)

    def record(self, row: dict[str, Any], problems: list[Problem]) -> Record:
        id = f"{self._stem}-{self._next}"
        self._next += 1
        solution = row.get("answer") or ""
        gold = official_answer(solution)
        if gold is None:
            problems.append(Problem("gold_empty", id))
            return Record(id, row["question"], [""], "text", source="gsm8k", group=id)
        lines = [_CALCULATION.sub("", line).strip() for line in solution.partition("####")[0].splitlines() if line.strip()]
        kind: AnswerType = "integer" if re.fullmatch(r"-?\d+", gold) else "float"
        meta = {"steps": len(lines), "gold": gold}
        return Record(id, row["question"], [gold], kind, steps=[Step(line) for line in lines], source="gsm8k", group=id, meta=meta).validate()

    def worded(self, record: Record, answer: Sequence[str], protocol_name: str) -> str:
        said = super().worded(record, answer, protocol_name)
        return f"#### {said}" if protocol_name == "official" else said

    def mark(self, record: Record, prediction: Prediction, protocol_name: str) -> Mark:
        if protocol_name == "strict":
            return self.strict(record, prediction)
        text, used = text_of(prediction)
        if used == "answer" and text is not None and "####" not in text:
            text = f"#### {text}"
        said = None if text is None else official_answer(text)
        correct = said is not None and said == record.meta["gold"]
        return Mark(correct, said, said, "ok" if correct else "no_answer" if said is None else "wrong", float(correct), used=used)
