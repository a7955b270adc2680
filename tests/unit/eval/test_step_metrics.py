"""Figures of step scores against hand-computed numbers, and against slow definitions of the same thing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.step_metrics import (
    accepted,
    auroc,
    calibration_error,
    class_f1,
    first_error_f1,
    macro_f1,
    prompt_value,
    reliability,
    selection,
    step_metrics,
)  # fmt: skip

SCORES = st.lists(st.tuples(st.integers(0, 8).map(lambda k: k / 8), st.integers(0, 1), st.integers(1, 3)), min_size=1, max_size=30)


def row(id="q", scores=(0.9, 0.2, 0.8), labels=(1, 0, 1), kinds=("perception", "reasoning"), modality="image", **more):
    return {"id": id, "scores": list(scores), "labels": list(labels), "kinds": list(kinds), "modality": modality, **more}


def test_auroc_by_hand():
    assert auroc([0.9, 0.8, 0.3, 0.1], [1, 0, 1, 0]) == 0.75
    assert auroc([0.5, 0.5], [1, 0]) == 0.5
    assert auroc([0.2, 0.4], [1, 1]) is None
    assert auroc([0.9, 0.8, 0.3], [1, 0, 1], [3, 1, 1]) == 0.75


@given(SCORES)
def test_auroc_is_the_share_of_ordered_pairs(items):
    repeated = [(s, y) for s, y, w in items for _ in range(w)]
    right, wrong = ([s for s, y in repeated if y == v] for v in (1, 0))
    found = auroc([s for s, _, _ in items], [y for _, y, _ in items], [w for _, _, w in items])
    if not right or not wrong:
        assert found is None
    else:
        assert found == pytest.approx(np.mean([1.0 if a > b else 0.5 * (a == b) for a in right for b in wrong]), abs=1e-12)


def test_macro_f1_guards():
    # Everything called right, 75 % are: (.857 + 0) / 2.
    assert macro_f1([0.9] * 4, [1, 1, 1, 0]) == pytest.approx(0.4286, abs=1e-4)
    assert class_f1([0.9] * 3, [1, 1, 1]) == (1.0, 0.0)
    assert class_f1([0.5], [1]) == (1.0, 0.0)  # at the threshold is right
    assert class_f1([0.9, 0.4, 0.3, 0.8], [1, 1, 0, 0]) == (0.5, 0.5)


@given(SCORES)
def test_f1_is_precision_against_recall(items):
    s, y, w = (np.array(c, dtype=float) for c in zip(*items, strict=True))
    for value, found in zip((1, 0), class_f1(s, y, weights=w), strict=True):
        said, true = (s >= 0.5) == bool(value), y == value
        hit = w[said & true].sum()
        precision, recall = hit / max(w[said].sum(), 1e-12), hit / max(w[true].sum(), 1e-12)
        assert found == pytest.approx(2 * precision * recall / max(precision + recall, 1e-12), abs=1e-9)


def test_first_error_f1():
    perfect = [([0.9, 0.7, 0.3, 0.8], 2), ([0.9, 0.8], -1)]
    assert first_error_f1(perfect)["f1"] == 1.0
    never = [([0.9, 0.9], 1), ([0.9], -1)]
    assert first_error_f1(never) == {"f1": 0.0, "erroneous": 0.0, "correct": 1.0, "n_erroneous": 1, "n_correct": 1}
    assert first_error_f1([])["f1"] == 0.0
    # 71 % and 88 % make 78.59 %.
    rows = [([0.1], 0)] * 71 + [([0.9], 0)] * 29 + [([0.9], -1)] * 88 + [([0.1], -1)] * 12
    assert 100 * first_error_f1(rows)["f1"] == pytest.approx(78.59, abs=0.01)
    assert first_error_f1([([0.5], -1)])["correct"] == 1.0  # strictly below the threshold is an error


def test_calibration():
    bins = reliability([0.05, 0.95, 1.0], [0, 1, 0])
    assert [(b["low"], b["n"], b["right"]) for b in bins] == [(0.0, 1.0, 0.0), (0.9, 2.0, 0.5)]
    assert calibration_error([0.05, 0.95, 1.0], [0, 1, 0]) == pytest.approx((0.05 + 2 * abs(0.5 - 0.975)) / 3)
    rng = np.random.default_rng(0)
    scores = rng.random(20_000)
    assert calibration_error(scores, rng.random(20_000) < scores) < 0.015
    assert calibration_error([], []) == 0.0


def test_a_score_must_be_a_probability():
    for bad in (float("nan"), 1.5, -0.1):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            auroc([0.5, bad], [1, 0])
    with pytest.raises(ValueError, match="2 scores, 1 labels"):
        auroc([0.5, 0.1], [1])


def test_parts_are_split_by_kind_and_modality():
    rows = [row(), row("p", (0.4, 0.6, 0.1), (0, 0, 0), modality="audio", count=2), row("r", (0.9, 0.3), (None, 1), ("reasoning",))]
    found = step_metrics(rows)
    assert found["all"]["solutions"] == 4 and found["all"]["questions"] == 3
    assert found["all"]["perception"]["n"] == 3 and found["all"]["reasoning"]["n"] == 3
    assert found["all"]["steps"]["n"] == 6 and found["all"]["answers"]["n"] == 4
    assert found["modalities"]["audio"]["steps"]["auroc"] is None
    assert found["modalities"]["image"]["steps"]["auroc"] == 1.0
    # A solution without any labelled step is no evidence about first errors.
    assert found["all"]["first_error"]["n_correct"] == 0 and found["all"]["first_error"]["n_erroneous"] == 3
    assert found["all"]["first_error"]["erroneous"] == 1.0


def test_selection_among_the_solutions_of_a_question():
    rows = [
        row("a", (0.5, 0.5, 0.9), (1, 1, 1)), row("a", (0.5, 0.5, 0.4), (1, 1, 0), count=3), row("b", (0.5, 0.5, 0.7), (1, 1, 0)),
        row("b", (0.5, 0.5, 0.6), (1, 1, 1)), row("c", (0.5, 0.5, 0.6), (1, 1, 0)),
    ]  # fmt: skip
    found = selection(rows)
    assert found["questions"] == 3 and found["mixed"] == 2
    assert found["pairs"] == 0.5 and found["random"] == pytest.approx((0.25 + 0.5 + 0) / 3)
    assert found["best"] == pytest.approx(1 / 3) and found["oracle"] == pytest.approx(2 / 3)


def test_errors_found_by_the_kind_of_the_first_wrong_step():
    seen = row("a", (0.2, 0.9, 0.9), (0, 0, 1), count=3)
    missed = row("b", (0.9, 0.9, 0.1), (0, 0, 0))
    thought = row("c", (0.9, 0.1, 0.1), (1, 0, 0))
    found = step_metrics([seen, missed, thought])["all"]["first_error_found"]
    assert found["perception"] == {"n": 4, "found": 0.75, "answer_right": 0.75}
    assert found["reasoning"] == {"n": 1, "found": 1.0, "answer_right": 0.0}
    assert step_metrics([row(labels=(1, 1, 1))])["all"]["first_error_found"]["reasoning"]["n"] == 0


def test_votes_among_the_solutions_of_a_question():
    ten, twelve = {"answer": "10"}, {"answer": "12"}
    rows = [
        row(scores=(0.9,), labels=(0,), kinds=(), **ten), row(scores=(0.4,), labels=(1,), kinds=(), count=2, **twelve),
        row(scores=(0.2,), labels=(0,), kinds=(), answer=None, count=9),
    ]  # fmt: skip
    found = selection(rows)
    assert found["majority"] == 1.0 and found["best"] == 0.0 and found["weighted"] == 0.0  # .9 against 2 * .4
    assert selection([row(scores=(0.9,), labels=(1,), kinds=(), answer=None)])["majority"] == 0.0


def test_precision_of_acceptance_by_difficulty():
    rows = [row(str(i), (0.9,), (int(i < 1),), (), pass_rate=0.1) for i in range(10)] + [row("e", (0.2,), (1,), (), pass_rate=1.0)]
    hard, easy = accepted(rows)
    assert hard["pass_rate"] == [0.0, 0.25] and hard["accepted"] == 10 and hard["precision"] == 0.1
    assert 0 < hard["ci95"][0] < 0.1 < hard["ci95"][1]
    assert easy["accepted"] == 0 and easy["precision"] is None and easy["ci95"] == [0.0, 1.0]


def test_value_of_a_prompt():
    rows = [row("a", pass_rate=0.5, value=0.4), row("a", pass_rate=0.5, value=0.4), row("b", pass_rate=1.0, value=0.9)]
    found = prompt_value(rows)
    assert found["n"] == 2 and found["error"] == pytest.approx(0.1) and found["correlation"] == pytest.approx(1.0)
    assert prompt_value([row()]) is None
