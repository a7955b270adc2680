"""MMAU: the published token-set rule, matcher case by matcher case, and the floors and ceilings of test-mini."""

import json

import pytest

from eval.benchmarks.mmau import MMAU
from eval.benchmarks.mmau_official import official_match, words
from eval.controls import Control, answer_control, wrapper_sensitivity

PEOPLE = ["Man", "Woman", "Child", "Robot"]
YEARS = ["one thousand, nine hundred and ninety", "one thousand, nine hundred and ninety-one"]


@pytest.mark.parametrize(
    "answer, prediction, choices, expected",
    [
        ("Man", "man.", PEOPLE, True),
        ("Man", "(A) Man", PEOPLE, True),
        ("Man", "A", PEOPLE, False),
        ("Man", "The speaker is a man, not a woman", PEOPLE, False),  # naming a wrong option in order to reject it
        ("A woman", "woman", ["A child", "A woman", "An adult man", "A teenager"], False),  # the word "a" is missing
        ("Woman and child", "(A) Woman and child", ["Woman and child", "Two men", "Two women", "A man and a child"], False),  # "a" is foreign
        ("first: neutral, second: frustration", "first: frustration, second: neutral",
         ["first: neutral, second: frustration", "first: frustration, second: neutral"], True),  # false credit: order is lost
        (YEARS[0], YEARS[1], YEARS, True),  # false credit: the wrong option adds a word and the right one is inside
        ("7.40 to 10.10", "7.4 to 10.1", ["7.40 to 10.10", "2.10 to 3.40"], False),
        ("7.40 to 10.10", "10.40 to 7.10", ["7.40 to 10.10", "2.10 to 3.40"], True),  # the digits of both ends are one set
        ("C", "C#", ["C", "C#", "D", "E"], True),  # false credit: the sign is no word character
        ("Man", "", PEOPLE, False),
        ("Man", "!!!", PEOPLE, False),
        ("5", "five", ["5", "6"], False),
        ("10.0", "10.0", ["10.0", "11"], True),
        ("10", "10.0", ["10", "11"], True),  # the word "0" belongs to no wrong option
        ("Man", "Manhattan", PEOPLE, False),
        ("dog bark", "dog_bark", ["dog bark", "cat"], False),  # the underscore is a word character
        ("Café", "cafe", ["Café", "bar"], False),
        ("x y", "x y", ["x y", "x y", "z"], True),  # a repeated gold
        ("It's an absurd reason.", "Its an absurd reason", ["It's an absurd reason.", "no"], False),
    ],
)  # fmt: skip
def test_published_matcher(answer, prediction, choices, expected):
    assert official_match(prediction, answer, choices) is expected


def test_words_are_a_set_of_lower_case_runs():
    assert words("Don't, DON'T stop_it") == {"don", "t", "stop_it"}


@pytest.fixture(scope="module")
def gold(data_root):
    return data_root / "mmau" / "mmau-test-mini.json"


@pytest.fixture(scope="module")
def items(gold):
    return json.loads(gold.read_text())


def said(items, answer):
    return [{"id": item["id"], "model_output": answer(item)} for item in items]


def by_task(report):
    return {task: round(100 * cell["score"], 2) for task, cell in report.breakdown["task"].items()}


@pytest.mark.parametrize("protocol", ["official", "strict"])
def test_gold_is_right_everywhere(score, gold, items, protocol):
    report = score(MMAU(), gold, said(items, lambda item: item["answer"]), protocol)
    assert (report.correct, report.n, report.missing) == (1000, 1000, 0)
    assert {task: cell["n"] for task, cell in report.breakdown["task"].items()} == {"music": 334, "sound": 333, "speech": 333}


def test_the_first_option_is_a_floor_of_39_5_percent(score, gold, items):
    """395 golds stand first. The published rule counts three more firsts as right, whose words contain the gold's (false credit)."""
    first = said(items, lambda item: item["choices"][0])
    report = score(MMAU(), gold, first, "strict")
    assert (report.correct, by_task(report)) == (395, {"music": 30.24, "sound": 49.25, "speech": 39.04})
    assert score(MMAU(), gold, first, "official").correct == 398
    assert score(MMAU(), gold, said(items, lambda item: "(A)"), "strict").correct == 395


def letter(item):
    return "ABCDEFGH"[item["choices"].index(item["answer"])]


@pytest.mark.parametrize(
    "template, official, strict",
    [
        (lambda item: f"({letter(item)}) {item['answer']}", 967, 1000),
        (lambda item: f"The answer is {item['answer']}.", 907, 1000),
        (lambda item: f"The correct answer is ({letter(item)}) {item['answer']}", 879, 1000),
        (letter, 2, 998),
        (lambda item: ", ".join(item["choices"]), 1, None),
    ],
)
def test_wrapping_the_gold_costs_points_under_official_only(score, gold, items, template, official, strict):
    """Two items have options that are single letters in another order: there a bare letter is read as an option's text under strict."""
    assert score(MMAU(), gold, said(items, template), "official").correct == official
    if strict is not None:
        assert score(MMAU(), gold, said(items, template), "strict").correct == strict


def test_rows_without_output_are_skipped_by_official_and_wrong_under_strict(score, gold, items):
    rows = said(items, lambda item: item["answer"])[:990] + [{"id": item["id"]} for item in items[990:]]
    official, strict = score(MMAU(), gold, rows, "official"), score(MMAU(), gold, rows, "strict")
    assert (official.n, official.missing, official.score) == (990, 10, 1.0)
    assert (strict.n, strict.missing, strict.score) == (1000, 10, 0.99)
    assert sum(p.kind == "no_output" for p in official.problems) == 10


def test_both_names_of_the_output_are_read(score, gold, items):
    rows = [{"id": item["id"], "model_prediction": item["answer"]} for item in items]
    assert score(MMAU(), gold, rows, "official").correct == 1000


def test_thirteen_categories_are_lists_and_27_records_repeat_an_option(gold):
    records, problems = MMAU().records(gold)
    kinds = [p.kind for p in problems]
    assert (kinds.count("gold_list_category"), kinds.count("gold_duplicate_option")) == (13, 27)
    categories = [r.meta["category"] for r in records]
    assert {c: categories.count(c) for c in set(categories)} == {"Reasoning": 677, "Information Extraction": 323}


def test_floors_without_a_model_speak_the_words_of_the_rule(gold):
    """The controls beside a run's score come to the same floors as a submission of first options does, under both protocols."""
    bench = MMAU()
    records = bench.records(gold)[0]
    floors = {name: answer_control(bench, records, Control("always_first"), name) for name in bench.protocols}
    assert floors == {"strict": {"n": 1000, "score": 0.395}, "official": {"n": 1000, "score": 0.398}}
    dressed = {name: wrapper_sensitivity(bench, records, name)["scores"] for name in bench.protocols}
    named = {name: (scores["X"], scores["(A) option text"], scores["The answer is option text."]) for name, scores in dressed.items()}
    assert named["official"] == (1, 0.967, 0.907)  # what the published rule costs whoever dresses the right answer


TOY = [("cat", "dog", "cat"), ("rain", "wind", "wind"), ("a horn", "a bell", "a horn"), ("one", "two", "two"), ("tram red", "red tram", "red tram")]


@pytest.mark.parametrize("protocol, first, letter_b", [("strict", 2, 3), ("official", 3, 3)])
def test_controls_on_a_toy_file_counted_by_hand(tmp_path, protocol, first, letter_b):
    """Items 1 and 3 have their gold first. `tram red` is the same set of words as the gold `red tram`: the published rule takes it too."""
    rows = [
        {"id": str(i), "audio_id": "a.wav", "question": "q", "choices": [one, other], "answer": right, "task": "sound"}
        for i, (one, other, right) in enumerate(TOY)
    ]
    (tmp_path / "toy.json").write_text(json.dumps(rows))
    bench = MMAU()
    records = bench.records(tmp_path / "toy.json")[0]
    assert answer_control(bench, records, Control("always_first"), protocol) == {"n": 5, "score": first / 5}
    assert answer_control(bench, records, Control("always_option", "B"), protocol) == {"n": 5, "score": letter_b / 5}
    assert answer_control(bench, records, Control("always_option"), protocol)["score"] == 3 / 5
    # the commonest place among the others: B at 3 of 4 for the items of A, a tie at 2 of 4 for those of B, where A comes first
    common = answer_control(bench, records, Control("commonest_answer"), protocol)
    assert common == {"n": 5, "score": (first - 2) / 5}


def test_a_repeated_option_is_one_answer(score):
    gold = [{"id": "1", "audio_id": "a.wav", "question": "q", "choices": ["cat", "dog", "dog"], "answer": "dog", "task": "sound"}]
    assert score(MMAU(), gold, [{"id": "1", "prediction": "(C)"}], "strict").correct == 1


def test_shuffling_the_options_leaves_an_oracle_at_100_and_the_first_option_at_chance(score, items):
    import random

    rng = random.Random(0)
    shuffled = [{**item, "choices": rng.sample(item["choices"], len(item["choices"]))} for item in items]
    assert score(MMAU(), shuffled, said(shuffled, lambda item: item["answer"]), "strict").correct == 1000
    first = score(MMAU(), shuffled, said(shuffled, lambda item: item["choices"][0]), "strict")
    assert first.score == pytest.approx(0.255, abs=0.03)  # uniform guessing is right on 25.54 %; two standard errors


def test_the_hidden_test_set_cannot_be_scored(score):
    gold = [{"id": "1", "audio_id": "a.wav", "question": "q", "choices": ["cat", "dog"], "answer": "", "task": "sound"}]
    with pytest.raises(ValueError, match="none of which has a gold answer"):
        score(MMAU(), gold, [{"id": "1", "model_output": "cat"}])
