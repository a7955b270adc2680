"""Choosing an answer from several. Answers come canonical (`data.answers.canonical`), so equal strings are equal answers; None is an unparsable
one and has no vote."""

import math
from collections.abc import Sequence


def majority_vote(answers: Sequence[str | None]) -> str | None:
    """The most frequent answer; ties go to the one seen first; None where nothing parsed."""
    return weighted_vote(answers, [1.0] * len(answers))


def weighted_vote(answers: Sequence[str | None], scores: Sequence[float]) -> str | None:
    """The answer whose scores add up to the most; ties go to the one seen first; None where nothing parsed.

    A NaN score is a `ValueError`: it would win or lose by the order of comparison.
    """
    totals: dict[str, list[float]] = {}
    for answer, score in zip(answers, scores, strict=True):
        if math.isnan(score):
            raise ValueError(f"the score of answer {answer!r} is NaN")
        if answer is not None:
            totals.setdefault(answer, []).append(score)
    if not totals:
        return None
    # fsum is exact before its one rounding, so the winner does not depend on the order of the samples.
    return max(totals, key=lambda answer: math.fsum(totals[answer]))


def best_of(answers: Sequence[str | None], scores: Sequence[float]) -> int | None:
    """Index of the best-scored sample that has an answer; ties go to the first; None where nothing parsed."""
    parsed = [i for i, answer in enumerate(answers) if answer is not None]
    if any(math.isnan(scores[i]) for i in parsed):
        raise ValueError("a sample's score is NaN")
    return max(parsed, key=lambda i: scores[i]) if parsed else None
