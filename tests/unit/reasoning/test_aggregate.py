"""Aggregation against the worked numbers: [.9, .8, .5, .95] -> product .342, geometric mean .342^(1/4), sum of logits 2.197 + 1.386 + 0 + 2.944."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoning.scorers import aggregate
from reasoning.scorers.aggregate import HOW, vlprm_reward, vlprm_select

SCORES = [0.9, 0.8, 0.5, 0.95]


@pytest.mark.parametrize(
    ("how", "value"), [("min", 0.5), ("prod", 0.342), ("last", 0.95), ("mean", 0.7875), ("geo", 0.764727), ("logodds", 6.527958)]
)
def test_worked_row(how, value):
    assert aggregate(SCORES, how) == pytest.approx(value, abs=1e-6)


def test_product_over_many_steps_is_taken_in_logs():
    assert aggregate([0.99] * 200, "prod") == pytest.approx(0.133980, abs=1e-6)
    assert aggregate([1e-300, 1e-300], "geo") == pytest.approx(1e-300)
    assert aggregate([0.0, 1.0], "prod") == 0.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_order_and_bounds(scores):
    product, least, mean = (aggregate(scores, how) for how in ("prod", "min", "mean"))
    assert product <= least + 1e-12 and least <= mean + 1e-12
    for how in set(HOW) - {"last"}:
        assert aggregate(scores[::-1], how) == pytest.approx(aggregate(scores, how), abs=1e-9)
    assert all(math.isfinite(aggregate(scores, how)) for how in HOW)


@given(st.floats(0.01, 0.99))
def test_a_single_step_is_its_own_aggregate(score):
    for how in set(HOW) - {"logodds"}:
        assert aggregate([score], how) == pytest.approx(score)


@pytest.mark.parametrize(("scores", "message"), [([], "without steps"), ([float("nan")], "must lie in"), ([1.2], "must lie in")])
def test_an_unscored_solution_is_an_error_never_zero(scores, message):
    for how in HOW:
        with pytest.raises(ValueError, match=message):
            aggregate(scores, how)


def test_unknown_rule_is_named():
    with pytest.raises(ValueError, match="'max' is not one of min"):
        aggregate(SCORES, "max")


def test_vlprm_published_rule():
    assert vlprm_reward(0.6796875, 2290) == pytest.approx(0.008586012, abs=1e-9)
    assert vlprm_reward(0.99, 400) == pytest.approx(0.02738, abs=1e-5)
    assert vlprm_reward(0.51, 250) == pytest.approx(0.02975, abs=1e-5)
    assert vlprm_reward(0.5, 10) == -1.0
    assert vlprm_select([0.99, 0.51], [400, 250]) == 1  # the short one wins over the sure one: the published fault
    assert vlprm_select([0.2, 0.4, 0.1], [1, 9, 1]) == 1  # all negative: smallest p(-)
    with pytest.raises(ValueError, match="no candidates"):
        vlprm_select([], [])
