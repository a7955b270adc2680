"""What a benchmark is: load -> prompt -> extract -> grade -> summarise, under a named protocol.

A benchmark is one file with one subclass and one line in `configs/registry.py`. It needs `load`; the other four have defaults that suit a benchmark
answered in our own tags and graded strictly. To write one:

    class MyBenchmark(Benchmark):
        name, modality = "mine", "audio"
        protocols = ("strict", "official")        # the first is the default; a score never appears without its protocol
        axes = ("task", "difficulty")             # keys of `record.meta` that the score is broken down by
        extractor = "mine/1"                      # raise the number whenever extraction or grading changes
        def load(self, wanted): ...               # -> [Record], media paths resolved and confined, every record with `group` and `meta`
        def extract(self, record, completion, protocol): ...   # what was answered, with a reason code
        def grade(self, record, extraction, protocol): ...     # whether that is right

A name may carry a variant behind a slash (`world/audio`, `mmau/mini`), one of `variants`: it arrives in `self.variant`. Nothing here imports torch.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from data import answers, protocol
from data.record import Record
from data.verdict import Verdict
from eval.metrics import natural, share


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """Which items: `n` None means all; `level` is for worlds; `media_dir` is where a benchmark that renders its media puts them."""

    n: int | None = None
    seed: int = 0
    level: int | None = None
    media_dir: Path | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Extraction:
    """What an output answers, or None; `reason` is a code for the log (`ok`, `no_answer`, `several_answers`, …)."""

    answer: str | None
    reason: str = "ok"


@dataclasses.dataclass(frozen=True, slots=True)
class Graded:
    """One judged output. `partial` in [0, 1] is soft credit; `counted` is False where a protocol leaves the row out of its denominator."""

    correct: bool
    partial: float
    reason: str
    extracted: str | None
    verdict: Verdict | None = None
    counted: bool = True


@dataclasses.dataclass(slots=True)
class Summary:
    """A run's score in [0, 1] under a protocol; `breakdown` is axis -> value -> {n, correct, score}."""

    n: int
    correct: int
    score: float
    breakdown: dict[str, dict[str, dict[str, Any]]]


class Benchmark(abc.ABC):
    """See the top of this file. `path` is the benchmark's folder or file on disk; `options` are keys of its own (unknown ones are errors)."""

    name: str
    modality: str = "text"
    protocols: tuple[str, ...] = ("strict",)
    axes: tuple[str, ...] = ()
    extractor: str = "tags/1"
    wants: Literal["world", "reader"] | None = None  # what whoever opens the benchmark hands in as `source`, found by the variant
    variants: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # what a variant may be called elsewhere -> its files

    def __init__(self, variant: str = "", path: Path | None = None, source: Any = None, **options: Any):
        if variant and self.wants is None and variant not in self.variants:
            raise ValueError(f"benchmark {self.name!r} has no variant {variant!r} (variants: {', '.join(self.variants) or 'none'})")
        self.variant, self.path, self.source, self.options = variant, path, source, options
        self.configure(**options)

    def configure(self, **unknown: Any) -> None:
        """Take the benchmark's own options as keyword arguments; here there are none."""
        if unknown:
            raise ValueError(f"benchmark {self.name!r} has no option {next(iter(unknown))!r}")

    @abc.abstractmethod
    def load(self, wanted: Wanted) -> list[Record]:
        """The items, in an order that depends on nothing but the arguments. Missing files are one `ValueError` that lists them all."""

    def prompt(self, record: Record, protocol_name: str, instruction: str = "") -> str:
        """The user turn, with one placeholder per medium."""
        return protocol.prompt(record, instruction)

    def extract(self, record: Record, completion: str, protocol_name: str) -> Extraction:
        parsed = protocol.parse(completion)
        return Extraction(parsed.answer, parsed.reason)

    def grade(self, record: Record, extraction: Extraction, protocol_name: str) -> Graded:
        correct, partial = answers.grade(extraction.answer, record)
        reason = extraction.reason if extraction.answer is None else ("ok" if correct else "wrong")
        return Graded(correct, partial, reason, extraction.answer)

    def judge(self, record: Record, completion: str, protocol_name: str) -> Graded:
        return self.grade(record, self.extract(record, completion, protocol_name), protocol_name)

    def gold(self, record: Record, protocol_name: str) -> Sequence[str]:
        """The right answer, in parts as `record.answer` has them."""
        return record.answer

    def worded(self, record: Record, answer: Sequence[str], protocol_name: str) -> str:
        """An answer given in parts, in the words in which the protocol's rule reads it."""
        return ", ".join(answer) if answer else protocol.NO_OPTION

    def wrap(self, record: Record, answer: str, protocol_name: str) -> str:
        """A completion that says `answer`: what controls without a model, and the check that gold scores 100 %, hand to `judge`."""
        return f"{protocol.THINK}{protocol.END_THINK}{protocol.ANSWER}{protocol.escape(answer)}{protocol.END_ANSWER}"

    def asked(self, record: Record, protocol_name: str) -> bool:
        """Whether a protocol asks this item at all."""
        return True

    def check_protocol(self, name: str | None) -> str:
        """The protocol to use (None: the default one)."""
        if name is not None and name not in self.protocols:
            raise ValueError(f"benchmark {self.name!r} has no protocol {name!r} (protocols: {', '.join(self.protocols)})")
        return name or self.protocols[0]

    def axis_values(self, record: Record, axis: str) -> list[str]:
        """The values of a record on an axis; several where its metadata holds a list, none where it has none."""
        value = record.meta.get(axis)
        return [str(v) for v in value] if isinstance(value, (list, tuple)) else [] if value is None else [str(value)]

    def summarise(self, records: Sequence[Record], graded: Sequence[Graded], protocol_name: str) -> Summary:
        """Mean over the counted rows, overall and along each axis."""
        rows = [(r, g) for r, g in zip(records, graded, strict=True) if g.counted]
        cells: dict[str, dict[str, list[bool]]] = {}
        for record, row in rows:
            for axis in self.axes:
                for value in self.axis_values(record, axis):
                    cells.setdefault(axis, {}).setdefault(value, []).append(row.correct)
        breakdown = {axis: {v: share(hits) for v, hits in sorted(by.items(), key=lambda kv: natural(kv[0]))} for axis, by in cells.items()}
        return Summary(**share([g.correct for _, g in rows]), breakdown=breakdown)
