"""The evaluation bench compares like with like: both sides give the same rows, and rows that differ are refused."""

import pytest

from bench.evaluation import evaluation, same_rows, scoring_seconds
from bench.harness import DifferentError, Setting


def test_both_sides_give_the_same_rows():
    comparison = evaluation(Setting(quick=True))
    ours, peer = comparison.ours(), comparison.peer()
    assert comparison.same(ours, peer).endswith("(12 of 12)")
    assert comparison.goals == {"time": 3.0} and comparison.work == (12, 12)


def row(id, completion, correct=False, counted=True):
    return {"id": id, "correct": correct, "extracted": None, "completion": completion, "counted": counted}


@pytest.mark.parametrize("other", [row("a", "no"), row("a", "yes", correct=True), row("b", "yes")])
def test_rows_that_differ_are_refused(other):
    passes = {"sighted": [row("a", "yes<|end|>")], "blank_media": [], "shuffled_media": []}
    assert "1 of 1" in same_rows(Setting())(passes, passes | {"sighted": [row("a", "yes<|end|><|pad|>")]})
    with pytest.raises(DifferentError, match="0 of 1"):
        same_rows(Setting())(passes, passes | {"sighted": [other]})


def test_scoring_is_timed_over_files():
    assert 0 < scoring_seconds(20) < 60
