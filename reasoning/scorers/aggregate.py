"""From the scores of a solution's steps to one number, and the selection rule of VL-PRM for comparison."""

import math
from collections.abc import Callable, Sequence

import numpy as np

_TINY = 1e-12  # keeps log-odds finite at scores of exactly 0 and 1


def aggregate(step_scores: Sequence[float], how: str = "min") -> float:
    """One score from step scores in [0, 1]: `min`, `prod`, `last`, `mean`, `geo` (geometric mean) or `logodds` (sum of logits, unbounded).

    `prod` and `logodds` favour short solutions; `mean` and `geo` do not. No steps, a NaN or a score outside [0, 1] is a `ValueError`: an
    unscored solution must never pass for a bad one.
    """
    if how not in HOW:
        raise ValueError(f"aggregation {how!r} is not one of {', '.join(HOW)}")
    scores = np.asarray(step_scores, dtype=np.float64)
    if scores.size == 0:
        raise ValueError("a solution without steps has no score: score it as one step, or leave it out")
    if not np.all((scores >= 0) & (scores <= 1)):
        raise ValueError(f"step scores must lie in [0, 1], not {scores.tolist()}")
    return float(HOW[how](scores))


def _log_sum(scores: np.ndarray) -> float:
    return -math.inf if scores.min() == 0 else float(np.log(scores).sum())


def _log_odds(scores: np.ndarray) -> float:
    clipped = scores.clip(_TINY, 1 - _TINY)
    return float((np.log(clipped) - np.log1p(-clipped)).sum())


HOW: dict[str, Callable[[np.ndarray], float]] = {
    "min": np.min,
    "prod": lambda s: math.exp(_log_sum(s)),
    "last": lambda s: s[-1],
    "mean": np.mean,
    "geo": lambda s: math.exp(_log_sum(s) / s.size),
    "logodds": _log_odds,
}


def vlprm_reward(positive: float, length: int) -> float:
    """VL-PRM's released selection score: p^0.3 / L^0.6 with L the whole prompt's length (media included), -1 where p(+) <= 0.5.

    Kept for comparison only: the length term decides most selections (the shortest positively judged candidate won 7 of 8 published problems).
    """
    if not 0 <= positive <= 1 or length < 1:
        raise ValueError(f"vlprm_reward needs a probability and a positive length, not {positive}, {length}")
    return -1.0 if positive <= 0.5 else positive**0.3 / length**0.6


def vlprm_select(positives: Sequence[float], lengths: Sequence[int]) -> int:
    """Index of the candidate that VL-PRM picks; where all are judged negative, the one with the smallest p(-). The published rule as a whole, kept as
    the reference for the scorer `vlprm`, whose values must lead best-of-n to the same candidate."""
    if not positives:
        raise ValueError("no candidates to select from")
    rewards = [vlprm_reward(p, n) for p, n in zip(positives, lengths, strict=True)]
    return int(np.argmax(positives)) if max(rewards) < 0 else int(np.argmax(rewards))
