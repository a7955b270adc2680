"""A solution as a process reward model reads it, and as it is stored once its steps are labelled.

A placeholder stands behind every step and one behind the answer, so a solution of K steps has K labels and, where it has an answer, one more.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data import protocol
from data.protocol import Parsed
from data.record import Record, StepKind

Label = float | int | None  # of a step: in [0, 1], or None where it was not measured


def mark_steps(parsed: Parsed, labels: Sequence[Label] | None = None, partial: bool = False) -> str:
    """The completion with `<|step|>` behind each step and behind the answer. What a completion says is escaped first, so text can never pose as
    a placeholder.

    `labels` gives the teacher-forced form: behind each placeholder stands `+` or `-` (a label of at least 0.5, or less), where the next steps can
    read it; unmeasured steps show `+`. A completion without an answer cannot be judged as a solution: `ValueError`, unless
    `partial` says that only its steps are meant.
    """
    if parsed.answer is None and not partial:
        raise ValueError("a completion without an answer is no solution to score")
    whole = parsed.answer is not None
    marks = [protocol.STEP] * (len(parsed.steps) + whole)
    if labels is not None:
        if len(labels) != len(marks):
            raise ValueError(f"{len(labels)} labels for {len(parsed.steps)} steps" + (" and an answer" if whole else ""))
        marks = [protocol.STEP + ("-" if label is not None and label < 0.5 else "+") for label in labels]
    steps = protocol.STEP_DELIMITER.join(protocol.escape(step) + mark for step, mark in zip(parsed.steps, marks, strict=False))
    thought = f"{protocol.THINK}{steps}{protocol.END_THINK}"
    return f"{thought}{protocol.ANSWER}{protocol.escape(parsed.answer)}{protocol.END_ANSWER}{marks[-1]}" if parsed.answer is not None else thought


@dataclasses.dataclass(slots=True)
class LabelledSolution:
    """A solution of a record and what is known of each of its steps.

    `labels`: one per step and, where there is an answer, the answer's last; in [0, 1], None unmeasured. `kinds`: of the steps, None where
    it is not known. `source`: where the labels come from (`verifier`, `monte_carlo`, `judge`, `consensus_strict`, …, or a data set's name).
    `exact`: the labels of the exact verifier, where there is one. `counts`: per step (right, valid, failed) completions, where they were sampled.
    """

    record: Record
    steps: list[str]
    answer: str | None
    labels: list[Label]
    source: str
    kinds: list[StepKind | None] = dataclasses.field(default_factory=list)
    exact: list[Label] | None = None
    counts: list[tuple[int, int, int]] | None = None
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)

    def validate(self) -> "LabelledSolution":
        """Return self, or raise `ValueError` that names the record and the field."""
        wanted = len(self.steps) + (self.answer is not None)
        for field, values in (("labels", self.labels), ("exact", self.exact)):
            if values is None:
                continue
            if len(values) != wanted:
                raise ValueError(
                    f"record {self.record.id!r}: {field}: {len(values)} for {len(self.steps)} steps and {wanted - len(self.steps)} answer"
                )
            if bad := [v for v in values if v is not None and not (isinstance(v, (int, float)) and math.isfinite(v) and 0 <= v <= 1)]:
                raise ValueError(f"record {self.record.id!r}: {field}: {bad[0]!r} is not in [0, 1]")
        for field, rows in (("kinds", self.kinds), ("counts", self.counts)):
            if rows and len(rows) != len(self.steps):
                raise ValueError(f"record {self.record.id!r}: {field}: {len(rows)} for {len(self.steps)} steps")
        if blank := [i for i, step in enumerate(self.steps) if not isinstance(step, str) or not step.strip()]:
            raise ValueError(f"record {self.record.id!r}: steps[{blank[0]}] is empty")
        return self

    @property
    def parsed(self) -> Parsed:
        return Parsed(self.steps, self.answer, True, "ok")

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"record": self.record.to_json()}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "LabelledSolution":
        """Build and validate; missing and unknown fields are `ValueError`s that name them."""
        known = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(row, dict) or "record" not in row:
            raise ValueError("a labelled solution is an object with a record")
        if unknown := sorted(set(row) - known):
            raise ValueError(f"labelled solution: unknown field {unknown[0]!r} (known: {', '.join(sorted(known))})")
        if missing := [f for f in ("steps", "answer", "labels", "source") if f not in row]:
            raise ValueError(f"labelled solution: {missing[0]} is missing")
        counts = None if row.get("counts") is None else [(int(c), int(v), int(f)) for c, v, f in row["counts"]]
        return cls(**{**row, "record": Record.from_json(row["record"]), "counts": counts}).validate()


def read_solutions(path: str | Path) -> Iterator[LabelledSolution]:
    """Labelled solutions of a JSONL file. A broken line raises `ValueError` that names the file and the line."""
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                if line.strip():
                    yield LabelledSolution.from_json(json.loads(line))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from None


def write_solutions(path: str | Path, solutions: Iterable[LabelledSolution]) -> int:
    """Returns how many were written."""
    count = 0
    with open(path, "w", encoding="utf-8") as out:
        for solution in solutions:
            out.write(json.dumps(solution.to_json(), ensure_ascii=False) + "\n")
            count += 1
    return count
