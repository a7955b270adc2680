"""What a set of labelled solutions is like: how its labels are spread, how sure they are, and how far they agree with the exact verifier."""

import collections
import math
from collections.abc import Iterable, Sequence
from typing import Any

from data.solutions import Label, LabelledSolution
from data.step_labels import Estimate, false_minus, first_error

LABEL_REPORT = "label_report.json"  # its name in the folder of a stage
BINS = 10


def label_report(solutions: Iterable[LabelledSolution]) -> dict[str, Any]:
    """A JSON object: `solutions`, `steps`, `sources`; `histogram` of the steps' labels in ten bins of [0, 1], a label of 1 in the last; `unmeasured`,
    the share of steps without a label; `right`, the mean label; `kinds`, the steps of each kind; `noise` of the estimates behind them (None where
    nothing was sampled); `agreement` with the exact verifier (None where nothing can be checked). Answers are counted apart: `answers_right`."""
    rows = list(solutions)
    labels = [label for s in rows for label in s.labels[: len(s.steps)]]
    known = [float(label) for label in labels if label is not None]
    answers = [float(s.labels[-1]) for s in rows if len(s.labels) > len(s.steps) and s.labels[-1] is not None]
    return {
        "solutions": len(rows), "steps": len(labels), "sources": dict(sorted(collections.Counter(s.source for s in rows).items())),
        "histogram": histogram(known), "unmeasured": _share(len(labels) - len(known), len(labels)), "right": _mean(known),
        "answers_right": _mean(answers), "kinds": dict(sorted(collections.Counter(str(k) for s in rows for k in s.kinds).items())),
        "noise": noise(rows), "agreement": agreement(rows),
    }  # fmt: skip


def histogram(values: Sequence[float]) -> list[int]:
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int(value * BINS))] += 1
    return counts


def noise(rows: Sequence[LabelledSolution]) -> dict[str, float] | None:
    """Of the sampled estimates: their number, completions behind each on average, share of completions that failed, mean binomial standard
    deviation, and the mean chance that a measured step whose completions are right at the measured rate is called wrong by as many new ones."""
    estimates = [Estimate(*count) for s in rows for count in s.counts or []]
    valid = [e for e in estimates if e.valid]
    if not valid:
        return None
    tried = sum(e.valid + e.failed for e in estimates)
    return {
        "estimates": len(valid), "completions": sum(e.valid for e in valid) / len(valid), "failed": sum(e.failed for e in estimates) / tried,
        "sd": _mean([e.noise or 0.0 for e in valid]), "false_minus": _mean([false_minus(e.correct / e.valid, e.valid) for e in valid if e.correct]),
    }  # fmt: skip


def agreement(rows: Sequence[LabelledSolution]) -> dict[str, float] | None:
    """With the exact verifier, over steps that both label (a soft label counts as right from 0.5): share of `steps` on which they agree; `right` and
    `wrong`, the precision of either label; `first_error`, the share of solutions whose first wrong step is the same one."""
    pairs: list[tuple[bool, bool]] = []
    firsts = []
    for s in rows:
        if s.exact is None:
            continue
        mine, exact = hardened(s.labels[: len(s.steps)]), hardened(s.exact[: len(s.steps)])
        both = [(bool(a), bool(b)) for a, b in zip(mine, exact, strict=True) if a is not None and b is not None]
        if both:
            pairs += both
            firsts.append(first_error(mine) == first_error(exact))
    if not pairs:
        return None
    said_right, said_wrong = [b for a, b in pairs if a], [not b for a, b in pairs if not a]
    return {
        "compared": len(pairs), "steps": sum(a == b for a, b in pairs) / len(pairs), "right": _mean(said_right), "wrong": _mean(said_wrong),
        "first_error": sum(firsts) / len(firsts),
    }  # fmt: skip


def hardened(labels: Sequence[Label]) -> list[int | None]:
    """Labels as 1 (of at least 0.5), 0, or None."""
    return [None if label is None else int(label >= 0.5) for label in labels]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
