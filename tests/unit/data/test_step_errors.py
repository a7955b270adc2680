"""Errors on purpose: always found by the verifier, at exactly one step, the same for the same seed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.registry import WORLDS
from data import protocol
from data.record import Record, Step
from data.step_errors import corrupt
from data.step_labels import solution_labels
from data.worlds.base import generator, verify


@pytest.mark.parametrize("name", ["vision", "audio", "video"])
def test_every_injected_error_is_found_where_it_was_put(name):
    world, places = WORLDS.get(name)(), set()
    for i in range(40):
        record = world.sample(1 + i % 3, i).record
        text = corrupt(record, generator("test", i))
        verdict = verify(record, text)
        gold = protocol.parse(protocol.completion(record))
        said = protocol.parse(text)
        changed = [k for k, (a, b) in enumerate(zip(gold.steps, said.steps, strict=True)) if a != b]
        assert said.format_ok and [verdict.first_error] == changed, (record.question, text)
        assert verdict.steps.count("wrong") == 1
        labels = solution_labels(record, text)
        assert labels[changed[0]] == 0 and set(labels[: changed[0]]) <= {1, None}
        places.add(changed[0] / max(1, len(gold.steps) - 1))
        assert corrupt(record, generator("test", i)) == text
    assert {0.0, 1.0} <= places


def test_the_answer_falls_with_the_last_step_alone():
    steps = [Step("red: 7", "perception", "7"), Step("blue: 5", "perception", "5"), Step("sum: 7 + 5 = 12", "reasoning", "12")]
    record = Record("a", "Sum?", ["12"], "integer", steps=steps, meta={"facts": {"red": "7", "blue": "5", "sum": "12"}})
    for i in range(30):
        text = corrupt(record, generator(i))
        parsed, verdict = protocol.parse(text), verify(record, text)
        assert verdict.answer_ok == (verdict.first_error < 2)
        if verdict.first_error == 2:
            assert parsed.steps[2].endswith(f"= {parsed.answer}") and parsed.answer != "12"


def test_words_are_exchanged_for_words_of_the_scene():
    steps = [Step("first: bell high", "perception", "bell high")]
    facts = {"first": "bell high", "second": "drum low", "count": "2"}
    record = Record("a", "Which first?", ["A"], "choice", options=["bell high", "drum low"], steps=steps, meta={"facts": facts})
    assert corrupt(record, generator(0)) == "<think>first: drum low</think><answer>B</answer>"
    assert corrupt(record, generator(0), "option") == "<think>first: drum low</think><answer>drum low</answer>"


def test_the_answer_behind_an_earlier_error_is_gold_as_the_protocol_writes_it():
    steps = [Step("first: bell", "perception", "bell"), Step("kind: loud", "reasoning", "loud")]
    facts = {"first": "bell", "kind": "loud", "second": "drum"}
    record = Record("a", "Which kind?", ["B"], "choice", options=["soft", "loud"], steps=steps, meta={"facts": facts})
    said = {protocol.parse(corrupt(record, generator(i), "option")).answer for i in range(20)}
    assert said == {"loud", "soft"} and protocol.gold_answer(record) == "B"


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_numbers_stay_near_and_keep_their_form(seed):
    record = Record(
        "a", "Mean?", ["3.5"], "float", precision=1, steps=[Step("mean: 7 / 2 = 3.5", "reasoning", "3.5")], meta={"facts": {"mean": "3.5"}}
    )
    value = protocol.parse(corrupt(record, generator(seed))).answer
    assert value != "3.5" and abs(float(value) - 3.5) <= 1.5 and len(value.partition(".")[2]) == 1 and float(value) >= 0


def test_where_nothing_can_be_wrong_there_is_no_error():
    assert corrupt(Record("a", "Why?", ["so"], "text"), generator(0)) is None
    unknown = Record("a", "Why?", ["so"], "text", steps=[Step("because")], meta={"facts": {}})
    assert corrupt(unknown, generator(0)) is None
