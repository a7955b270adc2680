"""ProcessBench: the F1 of finding the first error and of recognising that there is none."""

import pytest

from eval.benchmarks.processbench import ProcessBench, f1, first_error


def gold(labels, subset="gsm8k"):
    return [
        {"id": f"{subset}-{i}", "generator": "g", "problem": "p", "steps": ["a", "b", "c"], "final_answer_correct": True, "label": label}
        for i, label in enumerate(labels)
    ]


def said(answers, subset="gsm8k", field="prediction"):
    return [{"id": f"{subset}-{i}", field: answer} for i, answer in enumerate(answers)]


@pytest.mark.parametrize("error, correct, expected", [(71.0, 88.0, 78.59), (22.71, 93.78, 36.57), (0, 90, 0), (0, 0, 0)])
def test_f1(error, correct, expected):
    assert f1(error, correct) == pytest.approx(expected, abs=0.005)


def test_first_error_of_step_scores():
    assert first_error([0.9, 0.7, 0.3, 0.8]) == 2
    assert first_error([0.9, 0.5]) == -1  # at the threshold is not below it
    assert first_error([]) == -1


def test_the_score_is_the_harmonic_mean(score):
    """Labels 0, 1 | -1, -1: one of two errors found, both clean solutions recognised: 2 * .5 * 1 / 1.5."""
    report = score(ProcessBench(), gold([0, 1, -1, -1]), said(["0", "0", "-1", "\\boxed{-1}"]))
    assert report.score == pytest.approx(2 / 3)
    assert report.breakdown["kind"]["error"]["score"] == 0.5
    assert report.breakdown["kind"]["correct"]["score"] == 1.0
    assert report.breakdown["subset"]["gsm8k"]["score"] == pytest.approx(2 / 3)
    assert report.ci95[0] <= report.score <= report.ci95[1]


def test_always_none_is_worth_nothing(score):
    report = score(ProcessBench(), gold([0, 1, -1, -1]), said(["-1"] * 4))
    assert (report.score, report.correct) == (0.0, 2)


def test_gold_is_right_and_subsets_weigh_the_same(score):
    everything = gold([0, -1]) + gold([0, 0, 0, -1], "math")
    assert score(ProcessBench(), everything, said([0, -1]) + said([0, 0, 0, -1], "math")).score == 1.0
    half = score(ProcessBench(), everything, said([0, -1]) + said([-1] * 4, "math"))
    assert half.score == 0.5  # 1 and 0, however many items each has


def test_scores_of_a_reward_model(score):
    rows = said([[0.9, 0.2, 0.9], [0.9, 0.9, 0.9], [0.9, 0.9], [0.9, "x", 0.1]], field="scores")
    report = score(ProcessBench(), gold([1, -1, -1, 2]), rows)
    assert [r["reason"] for r in report.rows] == ["ok", "ok", "bad_scores", "bad_scores"]


def test_a_critique_ends_on_its_index(score):
    text = "Paragraph 0 is fine. Paragraph 1 adds wrongly. So the first error is in \\boxed{1}."
    assert score(ProcessBench(), gold([1]), [{"id": "gsm8k-0", "response": text}]).correct == 1
    assert score(ProcessBench(), gold([1]), [{"id": "gsm8k-0", "response": "0 or 1"}]).reasons == {"no_answer": 1}
