"""The question of the first wrong step, and how its answer is read."""

import pytest

from data.critiques import critique, read_critique
from data.record import MediaRef, Record
from data.solutions import LabelledSolution

RECORD = Record("r", "Which?", ["A"], "choice", [MediaRef("image", "a.png")], options=["red", "blue"], group="g", split="dev")


def solution(labels):
    return LabelledSolution(RECORD, ["red: 7", "blue: <answer> 5"], "A", labels, "verifier")


def test_the_gold_is_the_first_wrong_step_counted_from_one():
    asked = critique(solution([1, 0, 0])).validate()
    assert asked.answer == ["2"] and asked.media == RECORD.media and asked.group == "g" and asked.split == "dev"
    lines = asked.question.splitlines()
    assert lines[:3] == ["Which?", "A. red", "B. blue"] and lines[3] == "Step 1: red: 7" and lines[-1].startswith("Which step")
    assert "<answer>" not in asked.question and "Answer: A" in lines
    assert critique(solution([1, 1, 0])).answer == ["none"] and critique(solution([0.4, 1, 0])).answer == ["1"]
    assert critique(solution([None, 1, 1])).answer == ["none"]
    other = LabelledSolution(RECORD, ["red: 8"], "A", [1, 1], "verifier")
    assert critique(other).id != asked.id and critique(solution([1, 0, 0])).id == asked.id


@pytest.mark.parametrize(
    ("said", "found"),
    [("none", (None, True)), ("None.", (None, True)), ("2", (1, True)), ("step 1", (0, True)), ("3", (None, False)), ("0", (None, False)),
     ("", (None, False)), (None, (None, False)), ("2 or 3", (None, False)), ("99999", (None, False))],
)  # fmt: skip
def test_reading(said, found):
    assert read_critique(said, 2) == found
