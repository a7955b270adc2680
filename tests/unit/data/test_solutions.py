"""Labelled solutions on disk: what goes in comes out, and what is wrong is named."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import protocol
from data.record import MediaRef, Record, Step
from data.solutions import LabelledSolution, mark_steps, read_solutions, write_solutions
from data.step_labels import step_kinds, supervised

RECORD = Record("r", "Sum?", ["12"], "integer", [MediaRef("image", "a.png")], steps=[Step("red: 7", "perception"), Step("sum: 7 + 5 = 12")],
                meta={"facts": {"red": "7", "blue": "5", "sum": "12"}})  # fmt: skip
GOOD = LabelledSolution(
    RECORD, ["red: 7", "sum: 12"], "12", [1, 0.5, None], "monte_carlo", ["perception", "reasoning"], [1, 1, 1], [(1, 2, 0), (0, 0, 2)]
)


def test_round_trip(tmp_path):
    path = tmp_path / "s.jsonl"
    assert write_solutions(path, [GOOD, dataclasses.replace(GOOD, answer=None, labels=[1, 0], exact=None, counts=None)]) == 2
    first, second = read_solutions(path)
    assert first == GOOD and second.answer is None and second.parsed.answer is None
    assert first.parsed.steps == GOOD.steps


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"labels": [1, 0]}, "labels: 2 for 2 steps and 1 answer"), ({"labels": [1, 2, 0]}, r"labels: 2 is not in \[0, 1\]"),
        ({"labels": [1, float("nan"), 0]}, "labels: nan"), ({"exact": [1]}, "exact: 1 for"), ({"kinds": ["perception"]}, "kinds: 1 for 2 steps"),
        ({"steps": ["red: 7", " "]}, r"steps\[1\] is empty"), ({"counts": [(1, 1, 0)]}, "counts: 1 for 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(change, complaint):
    with pytest.raises(ValueError, match=f"record 'r': {complaint}"):
        dataclasses.replace(GOOD, **change).validate()


def test_broken_lines_are_named(tmp_path):
    path = tmp_path / "s.jsonl"
    for line, complaint in (
        ("{", "line 2"), (json.dumps({"record": RECORD.to_json()}), "steps is missing"), (json.dumps(GOOD.to_json() | {"x": 1}), "unknown field 'x'"),
        ("[]", "an object with a record"),
    ):  # fmt: skip
        path.write_text(json.dumps(GOOD.to_json()) + "\n" + line + "\n")
        with pytest.raises(ValueError, match=rf"s.jsonl, line 2: .*{complaint}|{complaint}"):
            list(read_solutions(path))


def test_kinds_of_sampled_steps_are_found_by_key():
    said = ["red: 9", "blue: 4", "sum: 9 + 4 = 13", "so it is: 3", "hm"]
    assert step_kinds(RECORD, said) == ["perception", "perception", "reasoning", None, None]
    free = Record("f", "Why?", ["so"], "text", steps=[Step("I see a cat", "perception"), Step("cats purr")])
    assert step_kinds(free, ["cats purr", "I see a cat", "else"]) == ["reasoning", "perception", None]


def test_supervision_by_kind_always_keeps_the_answer():
    labels, kinds = [1, 0, 0, 1], ["perception", "reasoning", None]
    assert supervised(labels, kinds) == labels
    assert supervised(labels, kinds, "perception") == [1, None, None, 1]
    assert supervised(labels, kinds, "reasoning") == [None, 0, None, 1]
    assert supervised(labels, kinds, "outcome") == [None, None, None, 1]
    assert supervised([1, 0], ["perception", "reasoning"], "reasoning") == [None, 0]  # no answer


@given(st.lists(st.text(min_size=1).filter(lambda s: s.strip() and "\n" not in s), max_size=5), st.text(min_size=1).filter(str.strip))
def test_there_are_as_many_marks_as_labels_whatever_the_text(steps, answer):
    parsed = protocol.Parsed(steps, answer, True, "ok")
    assert mark_steps(parsed).count(protocol.STEP) == len(steps) + 1
    assert mark_steps(parsed, [1] * (len(steps) + 1)).count(protocol.STEP + "+") == len(steps) + 1
