"""How good a process reward model's scores are, step by step, against exact labels. Pure functions in float64.

A row is one solution: `scores` and `labels` (1 right, 0 wrong, None not known) of its steps and, last, of its answer, the `kinds` of the steps, its
`modality`, the `id` of its question, how often it was drawn (`count`, default 1), and where they are known the `pass_rate` of the question and the
`value` that the model gave the question alone.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from eval.benchmarks.processbench import f1, first_error
from eval.metrics import wilson

THRESHOLD = 0.5
BINS = 10
DIFFICULTY = ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))


def auroc(scores: Sequence[float], labels: Sequence[int], weights: Sequence[float] | None = None) -> float | None:
    """Probability that a right step scores above a wrong one, ties half (Mann-Whitney); None where one class is missing."""
    s, y, w = _arrays(scores, labels, weights)
    if not (w[y == 1].sum() > 0 and w[y == 0].sum() > 0):
        return None
    _, place = np.unique(s, return_inverse=True)
    right = np.bincount(place, w * (y == 1))
    wrong = np.bincount(place, w * (y == 0), minlength=len(right))
    below = np.cumsum(wrong) - wrong
    return float((right * (below + 0.5 * wrong)).sum() / (right.sum() * wrong.sum()))


def class_f1(
    scores: Sequence[float], labels: Sequence[int], threshold: float = THRESHOLD, weights: Sequence[float] | None = None
) -> tuple[float, float]:
    """(F1 of right steps, F1 of wrong steps) where a score of at least `threshold` says right; 0 where a class is neither there nor said."""
    s, y, w = _arrays(scores, labels, weights)
    said = s >= threshold

    def one(claimed: np.ndarray, true: np.ndarray) -> float:
        total = w[claimed].sum() + w[true].sum()
        return float(2 * w[claimed & true].sum() / total) if total else 0.0

    return one(said, y == 1), one(~said, y == 0)


def macro_f1(scores: Sequence[float], labels: Sequence[int], threshold: float = THRESHOLD, weights: Sequence[float] | None = None) -> float:
    """Mean of the two class F1s (VisualProcessBench's measure; neutral steps are left out before)."""
    return sum(class_f1(scores, labels, threshold, weights)) / 2


def first_error_f1(pairs: Iterable[tuple[Sequence[float], int]], threshold: float = THRESHOLD) -> dict[str, float]:
    """ProcessBench's measure over (step scores, index of the first wrong step or -1): accuracy on solutions with an error (its exact index), accuracy
    on those without, and their harmonic mean, 0 where either is 0 or missing."""
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for scores, gold in pairs:
        hits[gold >= 0].append(first_error(scores, threshold) == gold)
    wrong, right = (sum(hits[k]) / len(hits[k]) if hits[k] else 0.0 for k in (True, False))
    return {"f1": f1(wrong, right), "erroneous": wrong, "correct": right, "n_erroneous": len(hits[True]), "n_correct": len(hits[False])}


def reliability(scores: Sequence[float], labels: Sequence[float], bins: int = BINS, weights: Sequence[float] | None = None) -> list[dict[str, float]]:
    """Equal bins of the score in [0, 1] that hold anything: `low`, `high`, weight `n`, mean `score`, share `right`; a score of 1 is in the last."""
    s, y, w = _arrays(scores, labels, weights)
    place = np.minimum((s * bins).astype(int), bins - 1)
    found = []
    for b in range(bins):
        mine = place == b
        n = w[mine].sum()
        if n:
            score, right = float((w * s)[mine].sum() / n), float((w * y)[mine].sum() / n)
            found.append({"low": b / bins, "high": (b + 1) / bins, "n": float(n), "score": score, "right": right})
    return found


def calibration_error(scores: Sequence[float], labels: Sequence[float], bins: int = BINS, weights: Sequence[float] | None = None) -> float:
    """Expected calibration error: mean over the bins, by their weight, of |share right - mean score| (Guo et al. 2017). Labels may be soft."""
    found = reliability(scores, labels, bins, weights)
    total = sum(b["n"] for b in found)
    return sum(b["n"] * abs(b["right"] - b["score"]) for b in found) / total if total else 0.0


def step_metrics(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All figures, over everything and split by modality; in each, the steps of either kind and the answers apart."""
    split = {m: _figures([r for r in rows if r["modality"] == m]) for m in sorted({r["modality"] for r in rows})}
    return {"threshold": THRESHOLD, "all": _figures(rows), "modalities": split}


def _figures(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    steps = lambda kind: lambda row: [(s, y) for s, y, k in _steps(row) if kind is None or k == kind]  # noqa: E731
    marked = [(row["scores"][:-1], _gold(row)) for row in rows for _ in range(row.get("count", 1)) if _gold(row) is not None]
    return {
        "solutions": sum(row.get("count", 1) for row in rows), "questions": len({row["id"] for row in rows}),
        "steps": _judge(rows, steps(None)), "perception": _judge(rows, steps("perception")), "reasoning": _judge(rows, steps("reasoning")),
        "answers": _judge(rows, lambda row: [(row["scores"][-1], row["labels"][-1])] if row["labels"][-1] is not None else []),
        "first_error": first_error_f1(marked), "first_error_found": {kind: found_errors(rows, kind) for kind in ("perception", "reasoning")},
        "selection": selection(rows), "accepted": accepted(rows), "prompt_value": prompt_value(rows),
    }  # fmt: skip


def _judge(rows: Sequence[dict[str, Any]], pick: Callable[[dict[str, Any]], list[tuple[float, int]]]) -> dict[str, Any] | None:
    picked = [(s, y, row.get("count", 1)) for row in rows for s, y in pick(row)]
    if not picked:
        return None
    s, y, w = (list(column) for column in zip(*picked, strict=True))
    right, wrong = class_f1(s, y, weights=w)
    return {
        "n": sum(w), "share_right": float(np.average(y, weights=w)), "auroc": auroc(s, y, w), "macro_f1": (right + wrong) / 2, "f1_right": right,
        "f1_wrong": wrong, "ece": calibration_error(s, y, weights=w), "reliability": reliability(s, y, weights=w),
    }  # fmt: skip


def _steps(row: dict[str, Any]) -> list[tuple[float, int, str | None]]:
    """Score, label and kind of every step (not the answer) that has a label."""
    marked = zip(row["scores"][:-1], row["labels"][:-1], row["kinds"], strict=True)
    return [(s, y, k) for s, y, k in marked if y is not None]


def _gold(row: dict[str, Any]) -> int | None:
    """Index of the first wrong step, -1 without one, None where no step has a label."""
    labels = row["labels"][:-1]
    if all(label is None for label in labels):
        return None
    return labels.index(0) if 0 in labels else -1


def found_errors(rows: Sequence[dict[str, Any]], kind: str) -> dict[str, float]:
    """Over solutions whose first wrong step is of this kind: how often it is the first that scores below the threshold, and how often the answer is
    right all the same, which no step score should reward."""
    mine = [(row, _gold(row)) for row in rows for _ in range(row.get("count", 1))]
    mine = [(row, gold) for row, gold in mine if gold is not None and gold >= 0 and row["kinds"][gold] == kind]
    hits = [first_error(row["scores"][:-1], THRESHOLD) == gold for row, gold in mine]
    lucky = [row["labels"][-1] or 0 for row, _ in mine]
    return {"n": len(mine), "found": float(np.mean(hits)) if hits else 0.0, "answer_right": float(np.mean(lucky)) if lucky else 0.0}


def selection(rows: Sequence[dict[str, Any]]) -> dict[str, float | int]:
    """What the answers' scores are worth for choosing among the solutions of a question: `pairs`, the share of (right, wrong) pairs of one question
    in the right order, ties half; accuracy of a `random` solution, of the `majority` (ties: first drawn), of the `best` by score, of the answer with
    the largest `weighted` vote, and of the `oracle`, over all questions."""
    by_question: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["labels"][-1] is not None:
            by_question.setdefault(row["id"], []).append(row)
    found: dict[str, list[float]] = {name: [] for name in ("random", "majority", "best", "weighted", "oracle")}
    pairs = []
    for mine in by_question.values():
        s, y, w = ([f(row) for row in mine] for f in (lambda r: r["scores"][-1], lambda r: r["labels"][-1], lambda r: r.get("count", 1)))
        ordered = auroc(s, y, w)
        pairs += [] if ordered is None else [ordered]
        found["random"].append(float(np.average(y, weights=w)))
        found["best"].append(y[int(np.argmax(s))])
        found["oracle"].append(max(y))
        found["majority"].append(_voted(mine, lambda row: 1.0))
        found["weighted"].append(_voted(mine, lambda row: row["scores"][-1]))
    mean = lambda values: float(np.mean(values)) if values else 0.0  # noqa: E731
    return {"questions": len(by_question), "mixed": len(pairs), "pairs": mean(pairs), **{name: mean(values) for name, values in found.items()}}


def _voted(rows: Sequence[dict[str, Any]], weight: Callable[[dict[str, Any]], float]) -> float:
    """Is the answer with the largest sum of weights right? Solutions whose answer could not be read have no vote."""
    votes: dict[str, float] = {}
    right: dict[str, float] = {}
    for row in rows:
        if row.get("answer") is not None:
            votes[row["answer"]] = votes.get(row["answer"], 0.0) + row.get("count", 1) * weight(row)
            right[row["answer"]] = row["labels"][-1]
    return right[max(votes, key=votes.__getitem__)] if votes else 0.0


def accepted(rows: Sequence[dict[str, Any]], threshold: float = THRESHOLD) -> list[dict[str, Any]]:
    """By difficulty of the question (its pass rate): how many solutions the model accepts, and the precision of that, with a 95 % interval. A judge
    that is right on average may be wrong about nearly everything that it accepts on hard questions (arXiv 2505.11227)."""
    found = []
    for low, high in DIFFICULTY:
        mine = [r for r in rows if r.get("pass_rate") is not None and low <= r["pass_rate"] and (r["pass_rate"] < high or high == 1.0)]
        mine = [r for r in mine if r["labels"][-1] is not None]
        taken = [r for r in mine if r["scores"][-1] >= threshold]
        n, right = sum(r.get("count", 1) for r in taken), sum(r.get("count", 1) * r["labels"][-1] for r in taken)
        total = sum(r.get("count", 1) for r in mine)
        if total:
            precision = right / n if n else None
            found.append({"pass_rate": [low, high], "n": total, "accepted": n, "precision": precision, "ci95": list(wilson(right, n))})
    return found


def prompt_value(rows: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    """The scalar head on the question alone against the measured pass rate: mean absolute error, calibration error, correlation. None without it."""
    pairs = {row["id"]: (row["value"], row["pass_rate"]) for row in rows if row.get("value") is not None and row.get("pass_rate") is not None}
    if not pairs:
        return None
    value, rate = np.array(list(pairs.values()), dtype=float).T
    spread = value.std() > 0 and rate.std() > 0
    return {
        "n": len(pairs), "error": float(np.abs(value - rate).mean()), "ece": calibration_error(value.tolist(), rate.tolist()),
        "correlation": float(np.corrcoef(value, rate)[0, 1]) if spread else 0.0,
    }  # fmt: skip


def _arrays(scores: Sequence[float], labels: Sequence[float], weights: Sequence[float] | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As float64 arrays of one length; a score outside [0, 1] or that is no number is a `ValueError`."""
    s, y = np.asarray(scores, dtype=float), np.asarray(labels, dtype=float)
    w = np.ones_like(s) if weights is None else np.asarray(weights, dtype=float)
    if not len(s) == len(y) == len(w):
        raise ValueError(f"{len(s)} scores, {len(y)} labels, {len(w)} weights")
    if not np.all((s >= 0) & (s <= 1)):
        raise ValueError(f"a score must lie in [0, 1], not {s[~((s >= 0) & (s <= 1))][0]}")
    return s, y, w
