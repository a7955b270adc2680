"""The text world: exact, without media, and of no help to whoever does not read."""

import collections

import pytest

from data import protocol
from data.record import LETTERS, answer_text
from data.worlds.text import WORDS, TextWorld


def items(family: str, level: int, count: int = 200):
    world = TextWorld([family])
    return [world.sample(level, ("test", i)).record for i in range(count)]


@pytest.mark.parametrize("family", TextWorld.all_families)
def test_gold_completions_verify_and_nothing_but_text_is_asked(family):
    for level in TextWorld.levels:
        for record in items(family, level, 20):
            verdict = TextWorld().verify(record.validate(), protocol.completion(record))
            assert verdict.answer_ok and verdict.format_ok and set(verdict.steps) == {"ok"}
            assert not record.media and record.meta["family"] == family


def test_letters_name_the_options_that_the_question_names():
    for record in items("letters", 4):
        asked = record.question.removeprefix("Which options say ").removesuffix("?").split(", ")
        assert sorted(asked) == sorted(answer_text(record)) and record.answer == sorted(record.answer)


def test_no_letter_is_likelier_than_another():
    letters = collections.Counter(record.answer[0] for record in items("letter", 3, 1200))
    assert set(letters) == set(LETTERS[:4]) and all(240 < n < 360 for n in letters.values())  # 300 expected, a standard deviation of 15


def test_counts_are_equally_likely_and_counted():
    counts = collections.Counter()
    for record in items("count", 2, 1200):
        listed, _, word = record.question.removesuffix("?").partition(". How often does it say ")
        assert listed.split(", ").count(word) == int(record.answer[0])
        counts[record.answer[0]] += 1
    assert set(counts) == {"1", "2", "3", "4"} and all(240 < n < 360 for n in counts.values())


def test_sums_and_highest_follow_from_the_facts():
    for family in ("sum", "highest", "fact"):
        for record in items(family, 3):
            listed, _, question = record.question.partition(". ")
            facts = {word: int(number) for word, number in (fact.split(" ") for fact in listed.split(", "))}
            if family == "sum":
                a, b = question.removeprefix("What is the sum of ").removesuffix("?").split(" and ")
                assert record.answer == [str(facts[a] + facts[b])]
            elif family == "fact":
                assert record.answer == [str(facts[question.split()[-1].removesuffix("?")])]
            else:
                assert facts[answer_text(record)[0]] == max(facts.values()) and list(facts.values()).count(max(facts.values())) == 1


def test_options_of_every_kind_come_up_and_splits_share_no_item():
    kinds = {kind for record in items("letter", 3) for kind, words in WORDS.items() if set(record.options) <= set(words)}
    assert kinds == set(WORDS)
    world = TextWorld()
    groups = {split: {world.sample(2, i, split).record.group for i in range(100)} for split in ("train", "test")}
    assert not groups["train"] & groups["test"]
