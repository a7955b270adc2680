"""Errors put into gold solutions on purpose: negatives whose first wrong step is known exactly.

One step's value is replaced by another of the same kind (a number by a near one, a word by one that the scene or the options know); steps after
it stay as they are, as after a slip of the pen. Where the last step falls, the answer falls with it if the new value names one.
"""

import numpy as np

from data import protocol
from data.record import LETTERS, Record
from data.worlds.base import judge_step

TRIES = 20  # of values for a step


def corrupt(record: Record, rng: np.random.Generator, answer_with: str = "letter") -> str | None:
    """A completion of a world's record whose first wrong step was chosen by `rng`; None where no step can be made wrong (no steps, or no facts).
    Choices are answered as `protocol.completion` answers them."""
    steps, facts = record.steps or [], record.meta.get("facts", {})
    for place in rng.permutation(len(steps)).tolist():
        texts = [protocol.one_line(step.text) for step in steps]
        for _ in range(TRIES):
            wrong = _replace(texts[place], record, rng)
            if wrong is not None and judge_step(wrong, facts) == "wrong":
                texts[place] = wrong
                answer = _answer(record, wrong, answer_with) if place == len(steps) - 1 else None
                said = answer or protocol.gold_answer(record, answer_with)
                thought = protocol.STEP_DELIMITER.join(texts)
                return f"{protocol.THINK}{thought}{protocol.END_THINK}{protocol.ANSWER}{protocol.escape(said)}{protocol.END_ANSWER}"
    return None


def _replace(text: str, record: Record, rng: np.random.Generator) -> str | None:
    """The step with another value behind its last `=` (or its colon)."""
    head, sign, value = text.rpartition("=") if "=" in text else text.partition(":")
    value = value.strip()
    if not sign or not value:
        return None
    other = _number(value, rng) or _word(value, record, rng)
    return None if other is None else f"{head}{sign} {other}"


def _number(value: str, rng: np.random.Generator) -> str | None:
    """A number within three of this one with as many decimals, never below zero where this one is not."""
    try:
        number = float(value)
    except ValueError:
        return None
    if not np.isfinite(number):
        return None
    decimals = len(value.partition(".")[2])
    near = [number + d * (0.5 if decimals else 1) for d in (-3, -2, -1, 1, 2, 3)]
    fitting = [x for x in near if x >= 0 or number < 0]
    return f"{fitting[int(rng.integers(len(fitting)))]:.{decimals}f}"


def _word(value: str, record: Record, rng: np.random.Generator) -> str | None:
    """Another value of as many words among the scene's facts and the options; where there is none, one word exchanged."""
    pool = sorted({*map(str, record.meta.get("facts", {}).values()), *(record.options or [])} - {value})
    words = value.split()
    same = [other for other in pool if len(other.split()) == len(words)]
    if same:
        return same[int(rng.integers(len(same)))]
    known = sorted({word for other in pool for word in other.split()} - set(words))
    if not known:
        return None
    words[int(rng.integers(len(words)))] = known[int(rng.integers(len(known)))]
    return " ".join(words)


def _answer(record: Record, step: str, answer_with: str) -> str | None:
    """What the wrong last step would answer: its value, or the option it names, as its letter or its text; None where it names none."""
    value = (step.rpartition("=")[2] if "=" in step else step.partition(":")[2]).strip()
    if record.answer_type in ("integer", "float"):
        return value
    if record.answer_type == "choice" and record.options:
        letters = [LETTERS[i] for i, option in enumerate(record.options) if option.strip() == value]
        return (letters[0] if answer_with == "letter" else value) if letters else None
    return value if record.answer_type == "text" else None
