"""Step labels against the worked rows of the reference."""

import numpy as np
import pytest

from data.step_labels import (
    UNMEASURED,
    Estimate,
    consensus,
    false_minus,
    first_error,
    hard_labels,
    merge_steps,
    monotone,
    soft_labels,
    stop_early,
    verifier_labels,
)  # fmt: skip
from data.verdict import Verdict


def estimates(*correct, valid=16):
    return [Estimate(c, valid) for c in correct]


def test_soft_hard_threshold_and_first_error():
    row = estimates(16, 16, 4, 0, 0)
    assert soft_labels(row) == [1, 1, 0.25, 0, 0]
    assert hard_labels(row) == [1, 1, 1, 0, 0]
    assert hard_labels(row, 0.25) == [1, 1, 0, 0, 0]  # strictly above
    assert (first_error(hard_labels(row)), first_error(hard_labels(row, 0.25))) == (3, 2)
    assert first_error([1, None, 1]) is None


def test_monotone_repair():
    assert hard_labels(estimates(0, 0, 0, 1, 0)) == [0, 0, 0, 1, 0]
    assert monotone([0, 0, 0, 1, 0]) == [0, 0, 0, 0, 0]
    assert monotone([1, None, 0, None, 1]) == [1, None, 0, None, 0]


def test_early_stop_leaves_the_rest_unmeasured_not_zero():
    stopped = stop_early(estimates(16, 16, 4, 0, 0))
    assert [e.valid for e in stopped] == [16, 16, 16, 16, 0]
    assert hard_labels(stopped) == [1, 1, 1, 0, None]
    assert stop_early(estimates(3, 2)) == estimates(3, 2)
    assert stop_early([UNMEASURED, Estimate(0, 4), Estimate(1, 4)]) == [UNMEASURED, Estimate(0, 4), UNMEASURED]


def test_failed_completions_are_no_evidence():
    assert Estimate(3, 12, failed=4).soft == 0.25
    assert Estimate(0, 0, failed=16).soft is None
    assert hard_labels([Estimate(0, 0, failed=16)]) == [None]


def test_noise_is_binomial():
    assert Estimate(8, 16).noise == pytest.approx(0.125)
    assert UNMEASURED.noise is None


def test_agreement_with_the_exact_verifier_is_what_binomial_noise_predicts():
    # A step whose completions succeed at rate p is called wrong with probability (1 - p)^16; simulate steps that are right.
    rng = np.random.default_rng(0)
    rates = rng.choice([0.05, 0.1, 0.3, 0.8], 8000)
    labels = hard_labels([Estimate(int(c), 16) for c in rng.binomial(16, rates)])
    expected = np.mean([1 - false_minus(p, 16) for p in rates])
    assert np.mean(labels) == pytest.approx(expected, abs=3 * np.sqrt(expected * (1 - expected) / 8000))
    assert false_minus(0.1, 16) == pytest.approx(0.1853, abs=1e-4)


def test_consensus_modes():
    mc = [1, 1, 1, 0, None]
    assert consensus(mc, 3) == [1, 1, 1, 0, None]
    assert consensus([1, 1, 0], None) is None
    assert consensus([1, 1, 1], None) == [1, 1, 1]
    assert consensus(mc, 1) is None
    assert consensus(mc, 1, "consensus_loose") == [1, 0, None, None, None]
    assert consensus([1, 1], 0, "consensus_loose") is None
    assert consensus(mc, 1, "mc") == [1, 1, 1, 0, None]
    assert consensus(mc, 1, "judge") == [1, 0, None, None, None]
    assert consensus([1, 1], 0, "judge_if_mc_zero") == [1, 1]
    assert consensus(mc, 1, "judge_if_mc_zero") == [1, 0, None, None, None]
    with pytest.raises(ValueError, match="'vote' is not one of mc"):
        consensus(mc, 1, "vote")


def test_consensus_is_at_least_as_precise_as_either_source():
    rng = np.random.default_rng(1)
    kept = {"mc": [], "judge": [], "consensus_strict": []}
    for _ in range(4000):
        truth = int(rng.integers(0, 6))  # the first wrong of six steps
        noisy = [truth if rng.random() < 0.7 else int(rng.integers(0, 6)) for _ in range(2)]
        mc = [1] * noisy[0] + [0] + [None] * (5 - noisy[0])
        for mode, hits in kept.items():
            labels = consensus(mc, noisy[1], mode)
            if labels is not None:
                hits.append(first_error(labels) == truth)
    precision = {mode: np.mean(hits) for mode, hits in kept.items()}
    assert precision["consensus_strict"] > max(precision["mc"], precision["judge"]) + 0.05


def test_verifier_labels():
    verdict = Verdict(False, 0.0, True, ["ok", "unparsed", "wrong", "ok", "unparsed"], first_error=2)
    assert verifier_labels(verdict) == [1, None, 0, 0, 0]
    assert verifier_labels(Verdict(True, 1.0, True, ["ok", "ok"])) == [1, 1]


def test_merge_steps():
    pieces = [f"s{i}" for i in range(25)]
    merged = merge_steps(pieces, 12)
    assert len(merged) == 9
    assert "\n".join(merged).split("\n") == pieces
    assert merge_steps([], 3) == []
    with pytest.raises(ValueError, match="at least one step"):
        merge_steps(pieces, 0)
