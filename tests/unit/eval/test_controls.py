"""Controls take away exactly what they say, and nothing else."""

import collections

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import protocol
from data.record import MediaRef, Record
from eval.benchmarks.base import Graded, Wanted
from eval.benchmarks.records import RecordsBenchmark
from eval.controls import (
    Control,
    answer_control,
    blank,
    chosen_text,
    donors,
    option_consistency,
    option_order,
    parse_control,
    shuffle_options,
    wrapper_sensitivity,
)  # fmt: skip
from models.media import Media


def item(i, group="", kinds=("image",), options=("a", "bb", "c"), answer=("B",), **rest):
    media = [MediaRef(k, f"{i}-{j}") for j, k in enumerate(kinds)]
    return Record(id=f"r{i}", question="?", answer=list(answer), answer_type="choice", media=media, options=list(options), group=group, **rest)


def test_names_and_arguments():
    assert parse_control("blank_media") == Control("blank_media")
    assert parse_control("shuffled_media:10") == Control("shuffled_media", "10")
    assert parse_control("always_option:C").argument == "C"
    assert parse_control("blank_media").through_model and not parse_control("always_first").through_model


@pytest.mark.parametrize("text", ["blank", "blank_media:2", "always_option:c", "shuffled_media:0", "shuffled_media:many", ""])
def test_a_wrong_control_is_named(text):
    with pytest.raises(ValueError, match="control"):
        parse_control(text)


@pytest.mark.parametrize(
    ("media", "value"),
    [
        (Media("image", np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)), 128),
        (Media("audio", np.linspace(-1, 1, 50, dtype=np.float32), 16000.0), 0),
        (Media("video", np.full((3, 4, 4, 3), 9, np.uint8), 5.0, np.arange(3.0)), 0),
    ],
)
def test_blank_keeps_everything_but_the_content(media, value):
    empty = blank(media)
    assert empty.array.shape == media.array.shape and empty.array.dtype == media.array.dtype
    assert (empty.kind, empty.rate) == (media.kind, media.rate) and (empty.array == value).all()
    assert media.array.std() > 0 or media.kind == "video"  # the original is untouched
    assert media.kind != "video" or (media.array == 9).all()


@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.integers(0, 5))
def test_donors_come_from_other_groups_and_are_used_once(groups, seed):
    records = [item(i, group=f"g{g}") for i, g in enumerate(groups)]
    given_media = donors(records, seed)
    group = {r.id: r.group for r in records}
    assert all(group[a] != group[b] for a, b in given_media.items())
    assert max(collections.Counter(given_media.values()).values(), default=1) == 1
    largest = max(collections.Counter(groups).values())
    if 2 * largest <= len(groups):
        assert set(given_media) == {r.id for r in records}


def test_donors_match_number_and_kind_and_follow_the_seed():
    records = [item(i, f"g{i}", ("image",)) for i in range(8)] + [item(i, f"g{i}", ("image", "audio")) for i in range(8, 16)] + [item(99, "x", ())]
    lent = donors(records, 1)
    kinds = {r.id: [m.kind for m in r.media] for r in records}
    assert all(kinds[a] == kinds[b] for a, b in lent.items()) and "r99" not in lent
    assert lent == donors(list(reversed(records)), 1) != donors(records, 2)
    assert donors([item(1, "only")], 0) == {}


def test_shuffled_options_move_the_gold_along():
    record = item(3)
    other = shuffle_options(record, 5)
    assert sorted(other.options) == sorted(record.options) and other.options != record.options
    assert other.options["ABC".index(other.answer[0])] == "bb"
    assert record.options == ["a", "bb", "c"]
    assert option_order(record, 5) == option_order(record, 5)
    alone = item(1, options=("a",), answer=("A",))
    assert shuffle_options(alone, 0) is alone


def test_consistency_compares_texts_not_letters():
    record = item(0)
    swapped = item(0, options=("bb", "a", "c"), answer=("A",))
    pairs = [(record, "B", swapped, "A"), (record, "B", swapped, "B"), (record, None, swapped, None), (record, "(a)", swapped, "B")]
    assert option_consistency(pairs) == {"n": 4, "consistency": 0.5}  # right, sticks to the letter, silent twice, right
    assert chosen_text(record, "bb") == "bb" and chosen_text(record, "nonsense") is None


def test_answers_without_a_model(pictures):
    benchmark = pictures(12)
    records = [item(0, options=("x", "long one", "y"), answer=("B",)), item(1, answer=("A",)), item(2, options=("p", "q"), answer=("A",))]
    first = answer_control(benchmark, records, Control("always_first"), "strict")
    assert first == {"n": 3, "score": pytest.approx(2 / 3)}
    assert answer_control(benchmark, records, Control("longest_option"), "strict")["score"] == pytest.approx(2 / 3)  # B right, bb wrong, p right
    assert answer_control(benchmark, records, Control("always_option", "C"), "strict")["score"] == 0  # the last one where there are only two
    assert answer_control(benchmark, records, Control("random_option"), "strict")["score"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 2) / 3)
    open_ended = [Record(id="o", question="?", answer=["3"], answer_type="integer")]
    assert answer_control(benchmark, open_ended, Control("always_first"), "strict") is None


def test_the_blind_guess_never_uses_the_items_own_answer(pictures):
    def asked(i, answer):
        return Record(id=f"q{i}", question="?", answer=[answer], answer_type="integer", meta={"template": "t"})

    # 3, 3, 5: for each 3 the others are {3, 5}, tied, and "3" comes first; for 5 the others say 3
    guess = answer_control(pictures(), [asked(0, "3"), asked(1, "3"), asked(2, "5")], Control("commonest_answer"), "strict")
    assert guess == {"n": 3, "score": pytest.approx(2 / 3)}
    alone = answer_control(pictures(), [asked(0, "3")], Control("commonest_answer"), "strict")
    assert alone is None


def test_a_planted_language_prior_is_seen_as_a_floor(pictures):
    """Nine of ten answers are the same: whoever guesses it blindly gets nearly all of them, and the control says so."""
    records = [Record(id=f"q{i}", question="?", answer=["none" if i % 10 else "two"], answer_type="text", meta={"family": "f"}) for i in range(50)]
    assert answer_control(pictures(), records, Control("commonest_answer"), "strict")["score"] == pytest.approx(0.9)


def test_wrappers_show_what_the_protocol_takes(pictures):
    benchmark = pictures(6)
    records = benchmark.load(Wanted())
    told = wrapper_sensitivity(benchmark, records, "strict")
    assert told["scores"]["X"] == told["scores"]["(X)"] == 1.0
    assert told["scores"]["The answer is X."] == 0.0 and told["spread"] == 1.0
    assert list(told["scores"])[-2:] == ["(A) option text", "The answer is option text."]  # every item is a choice


def test_options_are_dressed_by_letter_and_text_and_other_answers_stay_plain(pictures):
    """A grader that takes the letter, or one sentence with the option's text in it: a letter in front costs the choice its point, not the number."""

    class Picky(RecordsBenchmark):
        def judge(self, record, completion, protocol_name):
            answer = protocol.parse(completion).answer
            right = answer in (record.answer[0], "The answer is bb.") if record.options else answer == record.answer[0]
            return Graded(right, float(right), "", answer)

    bench = Picky(path=pictures(1).path)
    records = [item(0), Record(id="n", question="?", answer=["3"], answer_type="integer")]
    scores = wrapper_sensitivity(bench, records, "strict")["scores"]
    assert (scores["X"], scores["(A) option text"], scores["The answer is option text."]) == (1.0, 0.5, 1.0)
    assert scores["The answer is X."] == 0.0
    assert "(A) option text" not in wrapper_sensitivity(bench, records[1:], "strict")["scores"]
