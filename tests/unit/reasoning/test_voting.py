"""Voting against the worked rows and its invariances."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.answers import canonical
from data.record import Record
from reasoning.strategies import best_of, majority_vote, weighted_vote

RAW = ["10", "12", "12", "10.0", "7"]
SCORES = [0.9, 0.4, 0.45, 0.3, 0.95]
NUMERIC = [canonical(a, Record("r", "q", ["0"], "integer")) for a in RAW]


def test_worked_rows():
    assert majority_vote(RAW) == "12"  # as strings, 12 has two votes
    assert majority_vote(NUMERIC) == "10"  # as numbers 10 ties with 12 and was seen first
    assert weighted_vote(NUMERIC, SCORES) == "10"  # 10: 1.2, 7: .95, 12: .85
    assert weighted_vote(RAW, SCORES) == "7"  # as strings .95 beats .9
    assert best_of(NUMERIC, SCORES) == 4


def test_unparsable_answers_have_no_vote():
    assert weighted_vote([None, "a", None], [9.0, 0.1, 9.0]) == "a"
    assert weighted_vote([None, None], [1.0, 1.0]) is None
    assert best_of([None, "a"], [1.0, 0.0]) == 1
    assert best_of([None], [1.0]) is None
    assert majority_vote([]) is None


def test_nan_is_an_error():
    with pytest.raises(ValueError, match="'a' is NaN"):
        weighted_vote(["a", "b"], [float("nan"), 1.0])
    with pytest.raises(ValueError, match="is NaN"):
        best_of(["a"], [float("nan")])


votes = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.floats(0, 1)), min_size=1, max_size=12)


@given(votes, st.floats(0.5, 4), st.randoms())
def test_invariances(pairs, factor, random):
    answers, scores = [a for a, _ in pairs], [s for _, s in pairs]
    assert weighted_vote(answers, [1.0] * len(answers)) == majority_vote(answers)
    totals = {a: sum(s for x, s in pairs if x == a) for a in answers if a is not None}
    ranked = sorted(totals.values())
    if len(ranked) > 1 and ranked[-1] - ranked[-2] < 1e-9:
        return  # a tie: the rule is "first seen"
    shuffled = random.sample(pairs, len(pairs))
    assert weighted_vote([a for a, _ in shuffled], [s for _, s in shuffled]) == weighted_vote(answers, scores)
    assert weighted_vote(answers, [factor * s for s in scores]) == weighted_vote(answers, scores)
