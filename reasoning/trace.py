"""The complete record of a search: one JSON line per generation, each naming the generation that it continues."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from data import protocol
from data.answers import canonical
from data.record import Record

DIGITS = 5  # of a log-probability on disk


@dataclasses.dataclass(slots=True)
class Generation:
    """What a policy wrote in one go. `k`: the number of the sample, `seed` its randomness; `ids` and `logps` one per token, end token included
    (empty where a server does not tell); `tokens` their count; `finished`: it ended by itself."""

    k: int
    seed: int
    text: str
    tokens: int
    finished: bool
    ids: list[int] = dataclasses.field(default_factory=list)
    logps: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Call:
    """One line of a trace. `parent`: the call that it continues (None: the prompt); `spans`: what the prompt's tokens are, as (kind, start, end);
    `scores`: of its steps; `score`: of the whole up to here; `kept`: the search went on from it, or answered with it."""

    record: str
    call: int
    parent: int | None
    model: str
    temperature: float
    generation: Generation
    spans: list[tuple[str, int, int]] = dataclasses.field(default_factory=list)
    answer: str | None = None
    scores: list[float] = dataclasses.field(default_factory=list)
    score: float | None = None
    kept: bool = False

    def to_json(self) -> dict[str, Any]:
        row = dataclasses.asdict(self)
        row |= row.pop("generation")
        row["logps"] = [round(x, DIGITS) for x in row["logps"]]
        row["steps"] = protocol.parse(row["text"]).steps
        return row

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Call":
        parts = {f.name: row[f.name] for f in dataclasses.fields(Generation)}
        rest = {f.name: row[f.name] for f in dataclasses.fields(cls) if f.name != "generation"}
        return cls(generation=Generation(**parts), **rest | {"spans": [tuple(s) for s in row["spans"]]})


@dataclasses.dataclass
class Trace:
    """The calls of one search over one record, in the order in which they were made."""

    calls: list[Call] = dataclasses.field(default_factory=list)

    def add(self, record: str, generation: Generation, model: str, temperature: float, **known: Any) -> Call:
        call = Call(record, len(self.calls), known.pop("parent", None), model, temperature, generation, **known)
        self.calls.append(call)
        return call

    def chain(self, call: Call) -> list[Call]:
        """From the prompt to this call."""
        line = [call]
        while line[0].parent is not None:
            line.insert(0, self.calls[line[0].parent])
        return line

    def text(self, call: Call) -> str:
        """The completion up to and with this call."""
        return "".join(c.generation.text for c in self.chain(call))

    def write(self, path: Path) -> None:
        """Append every call to a JSONL file."""
        with open(path, "a", encoding="utf-8") as out:
            out.writelines(json.dumps(call.to_json(), ensure_ascii=False) + "\n" for call in self.calls)

    def outline(self, texts: bool = False) -> dict[str, Any]:
        """What a result row keeps: who continues whom, answers, scores, who was kept; `texts` too where they are not in a pool's file under their
        number `k`, and always where the search went step by step."""
        stepwise = texts or any(call.parent is not None for call in self.calls)
        rows = []
        for c in self.calls:
            row: dict[str, Any] = {"k": c.generation.k, "answer": c.answer, "finished": c.generation.finished, "kept": c.kept}
            if c.score is not None:
                row["score"] = round(c.score, DIGITS)
            if c.scores:
                row["scores"] = [round(x, DIGITS) for x in c.scores]
            if stepwise:
                row |= {"parent": c.parent, "text": c.generation.text}
            rows.append(row)
        return {"calls": rows}


def answer_of(record: Record, text: str, finished: bool) -> str | None:
    """The canonical answer of a completion; None where it has none, or did not end: an unfinished branch is no answer."""
    return canonical(protocol.parse(text).answer, record) if finished else None
