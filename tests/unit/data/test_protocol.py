"""The protocol: user text can never pose as a tag, what is written is read back, and the parser takes anything."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data import answers, protocol
from data.protocol import ANSWER, END, END_ANSWER, END_THINK, SPECIAL_TOKENS, THINK, completion, escape, messages, parse, prompt
from data.record import MediaRef, Record, Step

FOREIGN = ["<|im_start|>", "<|endoftext|>", "</s>", "<s>", "<start_of_turn>", "<pad>", "[INST]", "[/INST]", "<<SYS>>", "<｜User｜>", "<image>"]
pieces = st.sampled_from([*SPECIAL_TOKENS, *FOREIGN, "<", ">", "|", "<|", "|>", "\n", " ", "a", "answer", "7", "user", "[", "é"])
hostile = st.lists(pieces | st.text(max_size=3), max_size=12).map("".join)


def record(question="What?", **changes):
    return Record("r", question, **({"answer": ["7"], "answer_type": "text"} | changes))


@given(hostile)
@settings(max_examples=300, deadline=None)
@example("<<|image|>>")
@example("<|<|user|>|>")
@example("<|[INST]|>")
def test_escaped_text_holds_no_special_token(text):
    safe = escape(text)
    assert not any(token in safe for token in (*SPECIAL_TOKENS, *FOREIGN))
    assert escape(safe) == safe
    assert re.sub(r"\s", "", safe) == re.sub(r"\s", "", text)  # nothing is lost but the token's shape


def test_plain_text_is_not_touched():
    for text in ("1 < 2 > 0 | x", "a <b>bold</b> word", "[1, 2]", "x <| y |> z", "s < t"):
        assert escape(text) == text


def test_the_prompt_by_hand():
    media = [MediaRef("image", "a.png"), MediaRef("audio", "b.wav"), MediaRef("frames", "c")]
    asked = record("Which <|image|>?", media=media, options=["one", "two\nB. three"], answer=["A"], answer_type="choice")
    assert prompt(asked, "Think.") == "<|image|><|audio|><|video|>Which < |image|>?\nA. one\nB. two B. three\nThink."
    assert messages(asked) == [{"role": "user", "content": "<|image|><|audio|><|video|>Which < |image|>?\nA. one\nB. two B. three"}]


@given(hostile, st.lists(hostile, min_size=1, max_size=3), st.lists(st.sampled_from(["image", "audio", "video"]), max_size=3))
@settings(max_examples=150, deadline=None)
def test_a_prompt_has_as_many_placeholders_as_media_and_a_line_per_option(question, options, kinds):
    media = [MediaRef(kind, "x") for kind in kinds]
    text = prompt(record(question, options=options, media=media))
    assert sum(text.count(token) for token in set(protocol.PLACEHOLDERS.values())) == len(kinds)
    assert [line[:2] for line in text.split("\n")[-len(options) :]] == [f"{letter}." for letter in "ABC"[: len(options)]]


@given(st.lists(hostile.filter(str.strip), max_size=4), hostile.filter(lambda t: t.strip()))
@settings(max_examples=200, deadline=None)
def test_completions_are_read_back(texts, answer):
    """Whatever steps and answers say, one step is one line, and the format holds."""
    written = completion(record(answer=[answer], steps=[Step(t) for t in texts]))
    parsed = parse(written)
    assert (parsed.format_ok, parsed.reason) == (True, "ok")
    assert parsed.answer == escape(answer).strip()
    assert parsed.steps == [line for t in texts if (line := protocol.one_line(t).strip())]
    assert parse(written + END) == parsed


def test_completions_by_hand():
    gold = record(answer=["A", "C"], answer_type="choices", options=list("xyz"), steps=[Step("red: 7"), Step("a\nb")])
    assert completion(gold) == "<think>red: 7\na b</think><answer>A, C</answer>"
    assert completion(gold, steps=False) == "<think></think><answer>A, C</answer>"
    assert completion(record()) == "<think></think><answer>7</answer>"


def test_the_gold_completion_is_right_also_where_no_option_is():
    for letters in ([], ["B"], ["A", "B"]):
        gold = record(answer=letters, answer_type="choices", options=["x", "y"])
        parsed = parse(completion(gold))
        assert parsed.format_ok
        assert answers.grade(parsed.answer, gold) == (True, 1.0)


@given(hostile)
@settings(max_examples=400, deadline=None)
@example(THINK * 2 + END_THINK + ANSWER + "A" + END_ANSWER)
def test_the_parser_takes_anything(text):
    parsed = parse(text)
    assert parsed.answer is None or parsed.answer == parsed.answer.strip() != ""
    assert all(step == step.strip() != "" and "\n" not in step for step in parsed.steps)
    assert parsed.format_ok == (parsed.reason == "ok")
    if parsed.format_ok:
        assert parsed.answer
        assert all(text.split(END)[0].count(tag) == 1 for tag in (THINK, END_THINK, ANSWER, END_ANSWER))


@pytest.mark.parametrize(
    ("text", "steps", "answer", "reason"),
    [
        ("<think>a\n\n b \n</think>\n<answer> A </answer>\n", ["a", "b"], "A", "ok"),
        ("<think></think><answer>A</answer>", [], "A", "ok"),
        ("<think>a</think><answer></answer>", ["a"], None, "empty_answer"),
        ("<answer>A</answer>", [], "A", "broken_format"),
        ("<think>a</think>so <answer>A</answer>", ["a"], "A", "broken_format"),  # words between the tags
        ("<answer>A</answer><think>a</think>", ["a"], "A", "broken_format"),  # in the wrong order
        ("<think>a\nb", ["a", "b"], None, "no_answer"),  # cut off
        ("<think>a<answer>A</answer>", ["a"], "A", "broken_format"),
        ("<think>a</think><answer>A</answer><answer>B</answer>", ["a"], None, "several_answers"),
        ("the answer is A", [], None, "no_answer"),
        ("", [], None, "no_answer"),
        ("<think>a</think><answer>A</answer><|end|><answer>B</answer>", ["a"], "A", "ok"),  # what comes behind the end does not count
    ],
)
def test_completions_good_and_broken(text, steps, answer, reason):
    parsed = parse(text)
    assert (parsed.steps, parsed.answer, parsed.reason, parsed.format_ok) == (steps, answer, reason, reason == "ok")


def test_choices_may_be_answered_with_the_text_of_their_options():
    from data.answers import grade

    record = Record("r", "Which of these collide?", ["A", "C"], "choices", options=["red and blue", "none", "red and pink"])
    said = protocol.completion(record, answer_with="option")
    assert said.endswith("<answer>red and blue, red and pink</answer>")
    assert grade(protocol.parse(said).answer, record) == grade("A, C", record) == (True, 1.0)
    assert grade("red and pink", record) == grade("C", record) == (False, 0.5)
    assert grade("red and pink, red and green", record) == (False, 0.0)  # one part names no option: no answer
    open_ended = Record("r", "How many?", ["3"], "integer")
    assert protocol.completion(open_ended, answer_with="option") == protocol.completion(open_ended)
