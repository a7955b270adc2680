"""A guesser that knows a world's questions and the histogram of its answers, but sees and hears nothing."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable

import numpy as np

from data.record import Record, answer_text

View = Callable[[Record], tuple[Hashable, str]]  # (what the guesser knows, the answer as it would say it)


def by_template(record: Record) -> tuple[Hashable, str]:
    """The template with its level, and the letters or words of the answer."""
    return (record.meta["template"], record.meta["level"]), ",".join(record.answer)


def by_options(record: Record) -> tuple[Hashable, str]:
    """The template and the words of the options."""
    return (record.meta["template"], record.meta["level"], *sorted(record.options or [])), ",".join(answer_text(record))


def by_text(record: Record) -> tuple[Hashable, str]:
    """The whole question as it is asked."""
    return (record.question, *sorted(record.options or [])), ",".join(answer_text(record))


def guess(records: list[Record], view: View) -> float:
    """The share that the guesser gets right when it learns from one half and answers the other, both ways: the likeliest answer to what it knows."""
    half = len(records) // 2
    return float(np.mean([*_hits(records[:half], records[half:], view), *_hits(records[half:], records[:half], view)]))


def _hits(known: list[Record], asked: list[Record], view: View) -> list[bool]:
    histogram: dict[Hashable, Counter] = defaultdict(Counter)
    for record in known:
        situation, answer = view(record)
        histogram[situation][answer] += 1
    pairs = [view(record) for record in asked]
    return [bool(histogram[situation]) and histogram[situation].most_common(1)[0][0] == answer for situation, answer in pairs]
