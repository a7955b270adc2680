"""A world: a procedural, unlimited source of questions about media, in which every step and every answer can be checked exactly.

Steps follow one grammar, `key: value` (`red: 7`, `sum: 7 + 5 = 12`, `first: bell`): a key names one fact of the scene, and the value is what
stands after the last `=`, or after the colon. A world puts every fact that may be claimed, seen or derived, into `record.meta["facts"]` (key ->
value), so a completion is judged step by step without knowing which of several right ways it took.
"""

import abc
import dataclasses
import hashlib
import operator
import re
from typing import Any

import numpy as np

from data import answers, protocol
from data.record import Record
from data.verdict import StepVerdict, Verdict
from models.media import Media

_ARITHMETIC = re.compile(r"(-?\d+(?:\.\d+)?)((?: [-+*/] -?\d+(?:\.\d+)?)+)")
_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


@dataclasses.dataclass(slots=True)
class Sample:
    """A record and its decoded media, in the order of `record.media`."""

    record: Record
    media: list[Media]


def generator(*purpose: object) -> np.random.Generator:
    """A random generator that depends on its arguments alone: `generator(seed, "audio", level, index)`."""
    digest = hashlib.blake2b(repr(purpose).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def split_of(group: str) -> str:
    """The split that a group of items belongs to, by its hash: 80 % train, 10 % dev, 10 % test."""
    bucket = int.from_bytes(hashlib.blake2b(group.encode(), digest_size=4).digest(), "big") % 10
    return {8: "dev", 9: "test"}.get(bucket, "train")


class World(abc.ABC):
    """Subclasses say how a scene is drawn and how it becomes a sample; sampling by split and verification are the same for all.

    `families` restricts the kinds of question (None: all but `perceive`, the dense transcription of a scene that base training learns from).
    """

    name: str
    levels: tuple[int, ...]
    all_families: tuple[str, ...]

    def __init__(self, families: list[str] | None = None):
        families = families or [f for f in self.all_families if f != "perceive"]
        if unknown := sorted(set(families) - set(self.all_families)):
            raise ValueError(f"world {self.name!r}: unknown family {unknown[0]!r} (known: {', '.join(self.all_families)})")
        self.families = tuple(families)

    @abc.abstractmethod
    def draw(self, level: int, rng: np.random.Generator) -> Any:
        """A scene of this level, as cheap plain data with an attribute `group`: a string equal for scenes that look or sound alike."""

    @abc.abstractmethod
    def build(self, scene: Any, level: int, rng: np.random.Generator) -> Sample | None:
        """Question, steps, answer and media for a scene, or None to reject it (a near-miss, no balanced question)."""

    def sample(self, level: int, seed: object, split: str = "train") -> Sample:
        """The item of this level, seed and split; the same arguments give the same bytes. Scenes of different splits never share a group."""
        if level not in self.levels:
            raise ValueError(f"world {self.name!r}: level {level} is not one of {self.levels[0]}-{self.levels[-1]}")
        for attempt in range(10_000):
            rng = generator(seed, self.name, level, self.families, attempt)
            scene = self.draw(level, rng)
            if split_of(scene.group) != split:
                continue
            sample = self.build(scene, level, rng)
            if sample is not None:
                sample.record.split, sample.record.group = split, scene.group
                return sample
        raise AssertionError(f"world {self.name}: level {level} rejected 10,000 scenes in a row")

    def verify(self, record: Record, completion: str) -> Verdict:
        """Judge a completion: its format, its answer, and each of its steps against the facts of the scene."""
        return verify(record, completion)


def verify(record: Record, completion: str) -> Verdict:
    """Judge a completion of a world's record; see `World.verify`. The record alone is enough: the facts travel in it."""
    parsed = protocol.parse(completion)
    answer_ok, partial = answers.grade(parsed.answer, record)
    facts = record.meta.get("facts", {})
    steps = [judge_step(text, facts) for text in parsed.steps]
    reason = parsed.reason if parsed.answer is None else ("ok" if answer_ok else "wrong")
    first_error = steps.index("wrong") if "wrong" in steps else None
    accuracy = steps.count("ok") / len(steps) if steps else 0.0
    return Verdict(answer_ok, partial, parsed.format_ok, steps, first_error, accuracy, reason)


def judge_step(text: str, facts: dict[str, str]) -> StepVerdict:
    """One step against the facts: `ok` where its key is a fact, its value is that fact's and its arithmetic, if any, holds; `wrong` where one of
    them fails; `unparsed` where it claims nothing that the scene knows of."""
    key, colon, claim = text.partition(":")
    key, claim = key.strip(), claim.strip()
    if not colon or key not in facts:
        return "unparsed"
    *expressions, value = (part.strip() for part in claim.split("="))
    if value != facts[key]:
        return "wrong"
    return "ok" if all(_holds(e, value) for e in expressions) else "wrong"


def _holds(expression: str, value: str) -> bool:
    """Does `7 + 5` evaluate, left to right, to the value? Expressions that are not plain arithmetic (words, comparisons) pass: the fact judges
    them."""
    found = _ARITHMETIC.fullmatch(expression)
    if not found:
        return True
    total = float(found[1])
    parts = found[2].split()
    for sign, operand in zip(parts[::2], parts[1::2], strict=True):
        if sign == "/" and float(operand) == 0:
            return False
        total = _OPERATORS[sign](total, float(operand))
    try:
        return abs(total - float(value)) < 0.5 * 10 ** -len(value.partition(".")[2])
    except ValueError:
        return False
