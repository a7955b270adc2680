"""What a label report says, by hand and by simulation of what binomial noise must do."""

import numpy as np
import pytest

from data.label_report import hardened, histogram, label_report
from data.record import Record
from data.solutions import LabelledSolution
from data.step_labels import Estimate, hard_labels, monotone

RECORD = Record("r", "Why?", ["so"], "text")


def solution(labels, exact=None, counts=None, kinds=None, source="monte_carlo"):
    steps = [f"s{i}: 1" for i in range(len(labels) - 1)]
    return LabelledSolution(RECORD, steps, "so", labels, source, kinds or [None] * len(steps), exact, counts).validate()


def test_by_hand():
    one = solution([1.0, 0.25, None, 0], [1, 0, 0, 0], [(4, 4, 0), (1, 4, 0), (0, 0, 4)], ["perception", "perception", "reasoning"])
    two = solution([1, 1], [0, 1], source="judge")
    report = label_report([one, two])
    assert (report["solutions"], report["steps"], report["sources"]) == (2, 4, {"judge": 1, "monte_carlo": 1})
    assert report["histogram"] == [0, 0, 1, 0, 0, 0, 0, 0, 0, 2] and report["unmeasured"] == 0.25
    assert report["right"] == pytest.approx(0.75) and report["answers_right"] == 0.5
    assert report["kinds"] == {"None": 1, "perception": 2, "reasoning": 1}
    assert report["noise"]["estimates"] == 2 and report["noise"]["failed"] == pytest.approx(4 / 12)
    assert report["noise"]["sd"] == pytest.approx(np.sqrt(0.25 * 0.75 / 4) / 2)
    assert report["noise"]["false_minus"] == pytest.approx((0 + 0.75**4) / 2)
    agreement = report["agreement"]
    assert (agreement["compared"], agreement["steps"]) == (3, pytest.approx(2 / 3))
    assert agreement["right"] == 0.5 and agreement["wrong"] == 1.0 and agreement["first_error"] == 0.5


def test_nothing_sampled_nothing_checked():
    report = label_report([solution([1, None])])
    assert report["noise"] is None and report["agreement"] is None and label_report([])["right"] is None
    assert histogram([0.0, 0.999, 1.0]) == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert hardened([0.5, 0.49, None]) == [1, 0, None]


def test_monte_carlo_agrees_with_the_verifier_as_far_as_binomial_noise_lets_it():
    """A policy that recovers from no error and ends right from a sound prefix at rate p: labels of 16 completions against the exact ones."""
    rng, rates, rows = np.random.default_rng(0), [], []
    for _ in range(3000):
        error = int(rng.integers(0, 5))  # the first wrong of four steps, 4: none
        p = float(rng.choice([0.06, 0.15, 0.4, 0.9]))
        counts = [(int(rng.binomial(16, p)) if t < error else 0, 16, 0) for t in range(4)]
        labels = monotone(hard_labels([Estimate(*c) for c in counts]))
        exact = [int(t < error) for t in range(4)]
        rows.append(solution([*labels, 1], [*exact, 1], counts))
        rates += [[p] * error]
    report = label_report(rows)
    # Monotone repair turns a sound step behind a false minus wrong too: step t survives only if all before it do.
    survive = sum(sum(np.prod([1 - (1 - p) ** 16 for p in row[: t + 1]]) for t in range(len(row))) for row in rates)
    sound = sum(map(len, rates))
    expected = (survive + (4 * len(rows) - sound)) / (4 * len(rows))
    assert report["agreement"]["steps"] == pytest.approx(expected, abs=3 * np.sqrt(expected * (1 - expected) / (4 * len(rows))))
    assert report["agreement"]["right"] == 1.0  # no wrong step is ever called right by such a policy
