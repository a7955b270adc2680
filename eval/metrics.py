"""Scores and their uncertainty. Everything takes 0/1 outcomes (or soft credit) per item and says how sure it is; randomness follows from a seed.

Items that share a medium are not independent, so wherever groups are given, resampling draws whole groups.
"""

import math
import re
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

Z95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution
Z80 = 0.8416212335729143  # the 80 % quantile


def accuracy(outcomes: Sequence[float]) -> float:
    """The mean; 0 where there is nothing."""
    return float(np.mean(outcomes)) if len(outcomes) else 0.0


def wilson(correct: float, n: int) -> tuple[float, float]:
    """95 % Wilson interval of a proportion (Wilson 1927): inside [0, 1] and honest at 0 and at n; (0, 1) for no items."""
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} correct of {n}")
    if n == 0:
        return 0.0, 1.0
    p = correct / n
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n))
    return (max(0.0, centre - half) if correct else 0.0), (min(1.0, centre + half) if correct < n else 1.0)


def clustered_interval(outcomes: Sequence[float], groups: Sequence[Hashable], draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean when items come in groups (several questions about one clip): whole groups are drawn again.

    All right or all wrong: no resampling would show any doubt, so it is Wilson's interval over the groups."""
    if not len(outcomes):
        return 0.0, 1.0
    if set(outcomes) <= {0} or set(outcomes) <= {1}:
        count = len(set(groups))
        return wilson(count if outcomes[0] else 0, count)
    low, high = np.quantile(_means(np.asarray(outcomes, dtype=float), groups, draws, seed), [0.025, 0.975])
    return float(low), float(high)


def interval(outcomes: Sequence[float], groups: Sequence[Hashable] | None = None) -> tuple[float, float]:
    """Wilson where every item stands alone, clustered where items share a group or give soft credit."""
    if groups is not None and len(set(groups)) < len(groups):
        return clustered_interval(outcomes, groups)
    if any(outcome not in (0, 1) for outcome in outcomes):
        return clustered_interval(outcomes, range(len(outcomes)))
    return wilson(sum(outcomes), len(outcomes))


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], groups: Sequence[Hashable] | None = None, draws: int = 4000, seed: int = 0
) -> tuple[float, float, float]:
    """(mean of b - a, lower, upper) over the same items: the 95 % interval of the difference."""
    if len(a) != len(b):
        raise ValueError(f"paired items are needed: {len(a)} and {len(b)} were given")
    difference = np.asarray(b, dtype=float) - np.asarray(a, dtype=float)
    if not len(difference):
        return 0.0, 0.0, 0.0
    low, high = np.quantile(_means(difference, range(len(difference)) if groups is None else groups, draws, seed), [0.025, 0.975])
    return float(difference.mean()), float(low), float(high)


def mcnemar(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Two-sided exact p-value that the items on which two systems differ are split evenly."""
    only_a, only_b = discordant(a, b)
    n, k = only_a + only_b, min(only_a, only_b)
    if not n:
        return 1.0
    tail = sum(math.comb(n, i) for i in range(k + 1))
    return min(1.0, 2 * tail / (1 << n))  # whole numbers: exact and without overflow for any n


def discordant(a: Sequence[bool], b: Sequence[bool]) -> tuple[int, int]:
    """(items that a alone gets right, items that b alone gets right)."""
    return sum(bool(x) and not y for x, y in zip(a, b, strict=True)), sum(bool(y) and not x for x, y in zip(a, b, strict=True))


def detectable_difference(discordant_share: float, n: int) -> float:
    """The smallest difference of two paired scores that n items show with 80 % power at the 5 % level, when the systems differ on this share of
    them: (z.975 + z.80) sqrt(share / n), the normal approximation of McNemar's test."""
    return min(1.0, (Z95 + Z80) * math.sqrt(discordant_share / n)) if n else math.inf


def cohens_h(a: float, b: float) -> float:
    """Effect size of two proportions: 2 asin sqrt(b) - 2 asin sqrt(a). 0.2 is small, 0.5 medium, 0.8 large."""
    return 2 * math.asin(math.sqrt(b)) - 2 * math.asin(math.sqrt(a))


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate that one of k samples is right, from c right ones of n: 1 - C(n-c, k) / C(n, k) (Chen et al. 2021)."""
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass_at_k needs 0 <= c <= n and 1 <= k <= n, not n={n}, c={c}, k={k}")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def _means(values: np.ndarray, groups: Sequence[Hashable], draws: int, seed: int) -> np.ndarray:
    """Means [draws] over groups drawn with replacement. Groups are laid out by size and sum, so the order of the items changes nothing."""
    sums: dict[Hashable, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        entry = sums.setdefault(group, [0.0, 0.0])
        entry[0] += value
        entry[1] += 1
    table = np.array(sorted(sums.values()))
    rng, means = np.random.default_rng(seed), []
    for start in range(0, draws, 200):  # bounded memory
        picked = table[rng.integers(0, len(table), (min(200, draws - start), len(table)))].sum(1)
        means.append(picked[:, 0] / picked[:, 1])
    return np.concatenate(means)


def share(hits: Sequence[bool]) -> dict[str, Any]:
    """{n, correct, score} of a cell of a breakdown; score 0 where there is nothing."""
    return {"n": len(hits), "correct": sum(hits), "score": sum(hits) / len(hits) if hits else 0.0}


def natural(text: str) -> tuple[int, float, str]:
    """Sort key for the values of an axis: numbers by size, before words."""
    return (0, float(text), "") if re.fullmatch(r"-?\d+", text) else (1, 0.0, text)
