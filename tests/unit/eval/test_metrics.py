"""Numbers derived by hand or by an independent formula."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics import (
    accuracy,
    clustered_interval,
    cohens_h,
    detectable_difference,
    discordant,
    interval,
    mcnemar,
    paired_bootstrap,
    pass_at_k,
    wilson,
)


def test_wilson_by_hand():
    # p = 0.8, n = 10, z = 1.96: centre (0.8 + 0.19207) / 1.38415 = 0.71674, half 1.96 / 1.38415 * sqrt(0.016 + 0.0096037) = 0.22658
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.49016, abs=1e-4), pytest.approx(0.94331, abs=1e-4))
    # at 0 of n the upper end is z^2 / (n + z^2) = 3.8415 / 13.8415
    assert wilson(0, 10) == (0.0, pytest.approx(0.27753, abs=1e-4))
    assert wilson(10, 10) == (pytest.approx(1 - 0.27753, abs=1e-4), 1.0)
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(pair):
    correct, n = pair
    low, high = wilson(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    mirrored = wilson(n - correct, n)
    assert mirrored == (pytest.approx(1 - high, abs=1e-12), pytest.approx(1 - low, abs=1e-12))


def test_wilson_refuses_more_right_than_items():
    with pytest.raises(ValueError, match="5 correct of 4"):
        wilson(5, 4)


def test_interval_is_wilson_for_independent_items_and_wider_where_items_share_groups():
    outcomes = [1, 1, 1, 1, 0, 0, 0, 0] * 10
    alone = interval(outcomes, list(range(80)))
    assert alone == wilson(40, 80) == interval(outcomes)
    shared = interval(outcomes, [i // 4 for i in range(80)])  # whole groups right or wrong: 20 groups, not 80 items, decide
    assert shared[1] - shared[0] > 1.6 * (alone[1] - alone[0])  # ideally twice as wide: sqrt(80 / 20)
    # the same order of width as 20 independent items
    assert shared[1] - shared[0] == pytest.approx(np.subtract(*reversed(wilson(10, 20))), rel=0.15)


def test_soft_credit_is_resampled():
    low, high = interval([0.5] * 4 + [1.0] * 4)
    assert 0.5 <= low < 0.75 < high <= 1.0


def test_a_clustered_interval_depends_neither_on_order_nor_on_names():
    outcomes, groups = [1, 0, 1, 1, 0, 1], ["a", "a", "b", "b", "c", "c"]
    order = [3, 5, 0, 4, 1, 2]
    assert clustered_interval(outcomes, groups) == clustered_interval([outcomes[i] for i in order], ["z" + groups[i] for i in order])


def test_all_wrong_in_groups_is_still_uncertain():
    assert clustered_interval([0] * 20, [i // 2 for i in range(20)]) == wilson(0, 10)
    assert clustered_interval([1] * 20, [i // 2 for i in range(20)]) == wilson(10, 10)


def test_paired_bootstrap_of_a_constant_gain_and_its_sign():
    assert paired_bootstrap([0] * 30, [1] * 30) == (1.0, 1.0, 1.0)
    a, b = [1, 0, 0, 1, 0] * 20, [1, 1, 0, 1, 0] * 20
    difference, low, high = paired_bootstrap(a, b)
    assert difference == pytest.approx(0.2) and 0 < low < 0.2 < high
    back = paired_bootstrap(b, a)
    assert back == (pytest.approx(-difference), pytest.approx(-high, abs=0.02), pytest.approx(-low, abs=0.02))
    # standard error of a mean of 100 indicators at 0.2 is 0.04, so the interval is about +- 0.078
    assert high - low == pytest.approx(2 * 1.96 * 0.04, rel=0.15)


def test_paired_bootstrap_needs_pairs():
    with pytest.raises(ValueError, match="paired"):
        paired_bootstrap([1], [1, 0])
    assert paired_bootstrap([], []) == (0.0, 0.0, 0.0)


def test_mcnemar_by_hand():
    # 1 against 5: 2 (C(6,0) + C(6,1)) / 2^6 = 14 / 64
    a = [1] * 1 + [0] * 5 + [1] * 10
    b = [0] * 1 + [1] * 5 + [1] * 10
    assert discordant(a, b) == (1, 5)
    assert mcnemar(a, b) == pytest.approx(14 / 64)
    assert mcnemar(a, a) == 1.0
    assert mcnemar([1, 0], [0, 1]) == 1.0
    assert 0 < mcnemar([0] * 3000 + [1] * 2700, [1] * 3000 + [0] * 2700) < 1e-3  # 2^5700 is beyond any float


def test_detectable_difference_by_hand():
    # (1.95996 + 0.84162) sqrt(0.25 / 400) = 2.80158 * 0.025
    assert detectable_difference(0.25, 400) == pytest.approx(0.070040, abs=1e-5)
    assert detectable_difference(0.25, 1) == 1.0
    assert detectable_difference(0.25, 0) == math.inf


def test_cohens_h():
    assert cohens_h(0.5, 0.5) == 0
    assert cohens_h(0.0, 1.0) == pytest.approx(math.pi)
    assert cohens_h(0.25, 0.75) == pytest.approx(2 * (math.pi / 3 - math.pi / 6))  # asin sqrt .75 = 60 degrees, asin sqrt .25 = 30


@pytest.mark.parametrize(("n", "c", "k", "chance"), [(10, 3, 1, 0.3), (4, 2, 2, 5 / 6), (5, 0, 5, 0.0), (5, 1, 5, 1.0), (3, 3, 1, 1.0),
                                              (8, 2, 1, 0.25), (8, 2, 4, 0.785714), (16, 1, 8, 0.5), (4, 0, 2, 0.0), (4, 3, 2, 1.0)])  # fmt: skip
def test_pass_at_k_by_hand(n, c, k, chance):
    # 4 samples, 2 right, draw 2: 1 - C(2,2) / C(4,2) = 1 - 1/6
    assert pass_at_k(n, c, k) == pytest.approx(chance, abs=1e-6)


def test_pass_at_k_refuses_the_impossible():
    for n, c, k in [(3, 4, 1), (3, 1, 0), (3, 1, 4), (3, -1, 1)]:
        with pytest.raises(ValueError, match="pass_at_k"):
            pass_at_k(n, c, k)


def test_accuracy():
    assert accuracy([True, False, True, True]) == 0.75
    assert accuracy([]) == 0.0
