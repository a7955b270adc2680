"""PuzzleVQA: the published letter rule with its faults, and gold over the whole release."""

import json

import pytest

from eval.benchmarks.puzzlevqa import PuzzleVQA, official_choice
from eval.controls import wrapper_sensitivity

COLOURS = ["red", "blue", "green", "yellow"]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("So the final answer is (C) green.", "green"),
        ("Based on the pattern, the colour is green", "blue"),  # the B of "Based": a fault, kept
        ("(A) or (B)? (B)", "blue"),
        ("green", None),
        ("A", "red"),
    ],
)
def test_published_letter_rule(text, expected):
    assert official_choice(text, COLOURS) == expected


def test_a_letter_beyond_three_options_means_the_first():
    assert official_choice("(D)", ["small", "medium", "large"]) == "small"


def item(**changes):
    row = {"image": "images/venn/venn_0000.png", "question": "Which?", "options": ["red", "blue", "green"], "answer": "green"}
    return {**row, **changes}


def test_ours_reads_the_option_that_the_published_rule_misses(score):
    rows = [{"id": "venn_0000", "response": "Based on the pattern, the missing colour is green."}]
    assert score(PuzzleVQA(), [item()], rows, "strict").correct == 1
    assert score(PuzzleVQA(), [item()], rows, "official").correct == 0
    invalid = score(PuzzleVQA(), [item()], [{"id": "venn_0000", "response": "(D)"}], "strict")
    assert (invalid.correct, invalid.reasons) == (0, {"no_such_option": 1})


def test_numbers_are_compared_as_text(score):
    gold = [item(options=[62, 46, 20], answer=20)]
    assert score(PuzzleVQA(), gold, [{"image": "images/venn/venn_0000.png", "output": "(C)"}], "official").correct == 1


@pytest.mark.parametrize("protocol", PuzzleVQA.protocols)
def test_gold_over_the_release(score, data_root, protocol):
    rows = [
        {"id": path.stem + f"_{number:04d}", "response": f"({'ABCD'[list(map(str, row['options'])).index(str(row['answer']))]})"}
        for path in sorted((data_root / "puzzlevqa").glob("*.json"))
        for number, row in enumerate(map(json.loads, path.read_text().splitlines()))
    ]
    report = score(PuzzleVQA(), data_root / "puzzlevqa", rows, protocol)
    assert (report.correct, report.n) == (2000, 2000)
    records = PuzzleVQA().records(data_root / "puzzlevqa")[0]
    assert wrapper_sensitivity(PuzzleVQA(), records, protocol)["scores"]["X"] == 1
    assert len(report.breakdown["type"]) == 20


def test_always_the_last_slot_is_a_perfect_score_on_one_type(score, data_root):
    """A leak of the release, remarked with every score."""
    rows = [{"id": f"grid_number_{i:04d}", "prediction": "D"} for i in range(100)]
    report = score(PuzzleVQA(), data_root / "puzzlevqa" / "grid_number.json", rows, "strict")
    assert report.score == 1.0
    assert "slot D" in report.remarks[0]


def test_loading_checks_the_images(data_root):
    from eval.benchmarks.base import Wanted

    records = PuzzleVQA(path=data_root / "puzzlevqa").load(Wanted(n=5, seed=1))
    assert len(records) == 5 and all(r.media for r in records)
    again = PuzzleVQA(path=data_root / "puzzlevqa").load(Wanted(n=5, seed=1))
    assert [r.id for r in again] == [r.id for r in records]
