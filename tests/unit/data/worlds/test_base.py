"""Seeds, splits and the verifier that all worlds share."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.record import MediaRef, Record
from data.worlds.base import Sample, World, generator, judge_step, split_of, verify
from data.worlds.question import Question

FACTS = {"red": "7", "blue": "5", "sum": "12", "mean": "6.0", "first": "bell", "collide": "red and blue"}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("red: 7", "ok"),
        ("red:7", "ok"),
        (" red : 7 ", "ok"),
        ("red: 8", "wrong"),
        ("sum: 7 + 5 = 12", "ok"),
        ("sum: 12", "ok"),
        ("sum: 7 + 6 = 12", "wrong"),  # the value is right, the working is not
        ("sum: 7 + 5 = 13", "wrong"),
        ("mean: 12 / 2 = 6.0", "ok"),
        ("mean: 12 / 0 = 6.0", "wrong"),
        ("mean: 7 + 5 = 12 = 6.0", "wrong"),  # every expression must equal the value
        ("sum: 5 + 7 = 6 + 6 = 12", "ok"),
        ("first: the loudest = bell", "ok"),  # words are no arithmetic
        ("collide: red and blue", "ok"),
        ("green: 7", "unparsed"),
        ("red 7", "unparsed"),
        ("", "unparsed"),
        ("sum: = 12", "ok"),
        ("red: ", "wrong"),
    ],
)
def test_steps_by_hand(step, expected):
    assert judge_step(step, FACTS) == expected


@given(st.text())
def test_any_step_is_judged(text):
    assert judge_step(text, FACTS) in ("ok", "wrong", "unparsed")


@given(st.lists(st.integers(0, 99), min_size=2, max_size=5), st.lists(st.sampled_from("+-*"), min_size=4, max_size=4))
def test_arithmetic_is_read_from_left_to_right(numbers, signs):
    total, text = numbers[0], str(numbers[0])
    for sign, number in zip(signs, numbers[1:], strict=False):
        total = {"+": total + number, "-": total - number, "*": total * number}[sign]
        text += f" {sign} {number}"
    assert judge_step(f"x: {text} = {total}", {"x": str(total)}) == "ok"
    assert judge_step(f"x: {text} = {total + 1}", {"x": str(total + 1)}) == "wrong"


def record(**changes):
    fields = {"options": ["7", "12"], "meta": {"facts": FACTS}} | changes
    return Record("r", "What is the sum?", ["B"], "choice", **fields)


@pytest.mark.parametrize(
    ("completion", "answer_ok", "format_ok", "steps", "first_error", "accuracy"),
    [
        ("<think>red: 7\nblue: 5\nsum: 7 + 5 = 12</think><answer>B</answer>", True, True, ["ok", "ok", "ok"], None, 1.0),
        ("<think>red: 7\nblue: 4\nsum: 7 + 4 = 11</think><answer>B</answer>", True, True, ["ok", "wrong", "wrong"], 1, 1 / 3),
        ("<think>so it is\nred: 7</think><answer>A</answer>", False, True, ["unparsed", "ok"], None, 0.5),
        ("<think></think><answer>B</answer>", True, True, [], None, 0.0),
    ],
)
def test_verdicts_by_hand(completion, answer_ok, format_ok, steps, first_error, accuracy):
    verdict = verify(record(), completion)
    assert (verdict.answer_ok, verdict.format_ok, verdict.steps, verdict.first_error) == (answer_ok, format_ok, steps, first_error)
    assert verdict.process_accuracy == pytest.approx(accuracy) and verdict.reason == ("ok" if answer_ok else "wrong")


def test_a_completion_without_an_answer_is_not_right():
    verdict = verify(record(), "<think>red: 7</think>")
    assert not verdict.answer_ok and not verdict.format_ok and verdict.reason not in ("ok", "wrong")


def test_records_without_facts_are_judged_by_their_answer():
    verdict = verify(record(meta={}), "<think>red: 7</think><answer>B</answer>")
    assert verdict.answer_ok and verdict.steps == ["unparsed"]


# --- randomness and splits


def test_randomness_follows_from_its_purpose():
    draws = {purpose: generator(*purpose).integers(1 << 62) for purpose in [(0, "a"), (0, "b"), (1, "a"), (0, "a", 0), ("0", "a")]}
    assert len(set(draws.values())) == 5
    assert generator(0, "a").integers(1 << 62) == draws[0, "a"]


def test_splits_are_eight_one_one():
    counts = Counter(split_of(f"scene/{i}") for i in range(20_000))
    for split, share in (("train", 0.8), ("dev", 0.1), ("test", 0.1)):
        assert abs(counts[split] - 20_000 * share) < 4 * np.sqrt(20_000 * share * (1 - share))


class Odd(World):
    """Numbers up to 99, of which only odd ones give a question."""

    name, levels, all_families = "odd", (1, 2), ("ask", "perceive")
    rejects = False

    def draw(self, level, rng):
        number = int(rng.integers(100))
        return type("Scene", (), {"number": number, "group": f"odd/{number}"})()

    def build(self, scene, level, rng):
        if self.rejects or scene.number % 2 == 0:
            return None
        return Sample(Record(f"odd-{scene.number}", "q", [str(scene.number)], "integer", [MediaRef("image", "world://odd")]), [])


def test_rejected_scenes_are_drawn_again_and_the_group_is_kept():
    samples = [Odd().sample(1, i, "dev") for i in range(50)]
    assert all(int(s.record.answer[0]) % 2 for s in samples)
    assert all((s.record.split, split_of(s.record.group)) == ("dev", "dev") for s in samples)
    assert Odd().families == ("ask",)  # all but the transcription


def test_a_world_that_rejects_everything_is_our_fault():
    world = Odd()
    world.rejects = True
    with pytest.raises(AssertionError, match="rejected 10,000 scenes"):
        world.sample(1, 0)


# --- questions


def test_seen_and_concluded_steps_bring_their_facts():
    q = Question("t")
    parents = [q.see("red", 7), q.see("blue", 5)]
    q.conclude("sum", 12, "7 + 5", parents)
    q.conclude("more", "red")
    assert [(s.text, s.kind, s.value, s.parents) for s in q.steps] == [
        ("red: 7", "perception", "7", []), ("blue: 5", "perception", "5", []), ("sum: 7 + 5 = 12", "reasoning", "12", [0, 1]),
        ("more: red", "reasoning", "red", [0, 1, 2]),
    ]  # fmt: skip
    assert q.facts == {"red": "7", "blue": "5", "sum": "12", "more": "red"}
    assert all(judge_step(s.text, q.facts) == "ok" for s in q.steps)


def test_the_right_option_stands_anywhere():
    places = Counter()
    for i in range(400):
        q = Question("t")
        q.choose("x", ["a", "b", "c"], generator("options", i))
        assert sorted(q.options) == ["a", "b", "c", "x"] and q.options["ABCD".index(q.answer[0])] == "x" and q.answer_type == "choice"
        places[q.answer[0]] += 1
    assert all(abs(places[letter] - 100) < 4 * np.sqrt(75) for letter in "ABCD")
