"""Question-answer inversion: its rules, its refusals and what the published script got wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.record import Record
from data.transforms.inversion import invert, negate


def item(question="What did the boy do?", options=("sat", "ran", "slept", "ate", "left"), answer="A", **fields):
    return Record("q1", question, [answer], "choice", options=list(options), **fields)


@pytest.mark.parametrize(
    ("question", "negated", "rule"),
    [
        ("What did the boy do?", "What didn't the boy do?", "did"),
        ("Why Is the Man in Red running?", "Why Isn't the Man in Red running?", "is"),
        ("who were put down?", "who weren't put down?", "were"),
        ("What will the person do next?", "What won't the person do next?", "will"),
        ("What happened after the person took the book?", "What didn't happen after the person took the book?", "happened"),
        ("What is the person able to do?", "What is the person unable to do?", "able"),
    ],
)
def test_rules_keep_case_and_say_their_name(question, negated, rule):
    assert negate(question) == (negated, rule)


@pytest.mark.parametrize("question", ["What happens at the end?", "what activity", "Where", "", "What didn't he do?", "what does not move?"])
def test_no_rule_means_refusal_never_inverted_answers(question):
    assert negate(question) is None
    assert invert(item(question or " ?")) is None


def test_only_single_choice_questions_are_inverted():
    assert invert(Record("q", "What did he do?", ["A", "B"], "choices", options=["a", "b", "c"])) is None
    assert invert(Record("q", "What did he do?", ["ran"], "text")) is None
    assert invert(item(options=("sat",))) is None


def test_provenance_and_semantics():
    inverted = invert(item("Why did the boy sit?", meta={"clip": 7}, group="v1"))
    assert inverted.id == "q1/inverted"
    assert inverted.group == "v1"
    assert inverted.meta == {"clip": 7, "inversion": {"source_id": "q1", "rule": "did", "semantic": False}}
    assert invert(item()).meta["inversion"]["semantic"] is True


@given(st.integers(0, 10_000), st.integers(2, 8), st.data())
def test_properties(seed, count, data):
    gold = data.draw(st.integers(0, count - 1))
    options = [f"option {i}" for i in range(count)]
    source = item(options=options, answer="ABCDEFGH"[gold])
    inverted = invert(source, seed)
    assert inverted == invert(source, seed)
    right = [inverted.options["ABCDEFGH".index(letter)] for letter in inverted.answer]
    assert right and options[gold] not in right
    assert sorted(inverted.options) == sorted([options[gold], *right])  # every kept distractor is in the answer
    assert set(inverted.options) <= set(options)


def test_the_number_of_right_options_is_spread_evenly():
    counts = [len(invert(item(), seed).answer) for seed in range(2000)]
    for k in (1, 2, 3, 4):
        assert counts.count(k) / 2000 == pytest.approx(0.25, abs=0.04)  # four standard errors
