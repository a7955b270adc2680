"""The offline extractor, rule by rule. What it cannot decide it leaves undecided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.record import LETTERS, Record
from eval.extraction import MAX_LENGTH, SHORT, answer_spans, contained_options, extract, last_box, last_tag

COLOURS = ["red", "dark red", "green", "blue"]


def choice(options=COLOURS):
    return Record("i", "q", ["A"], "choice", options=list(options))


def number(kind="integer", **fields):
    return Record("i", "q", ["1"], kind, **fields)


@pytest.mark.parametrize(
    "text, letter",
    [
        ("B", "B"), ("b", "B"), ("(b)", "B"), ("b)", "B"), ("B.", "B"), ("**B**", "B"), ("$B$", "B"), ("[B]", "B"), ("\\boxed{B}", "B"),
        ("\\boxed{\\text{(B)}}", "B"), ("Answer: b", "B"), ("The answer is (C) green.", "C"), ("The correct option is B", "B"),
        ("**Answer:** B", "B"), ("green", "C"), ("Green.", "C"), ("It must be green, I think.", "C"), ("I see dark red here", "B"),
        ("First (A), but then the answer is (B).", "B"), ("The answer is A. No wait. The answer is D.", "D"),
        ("<think>(A) or (C)</think><answer>C</answer>", "C"), ("<answer>A</answer> hmm <answer>D</answer>", "D"),
        ("(C) green\n\nExplanation: leaves are green.", "C"), ("C. green", "C"), ("The final answer to the question is: D", "D"),
        ("The answer is (B).\n\nQuestion: What else?\nChoices:\n(A) x\n\nThe answer is (D).", "B"),
    ],
)  # fmt: skip
def test_a_choice_is_read(text, letter):
    assert extract(text, choice()).answer == letter


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "empty"), ("  \n", "empty"), (None, "empty"), ("green or blue", "ambiguous"), ("(A) red\n(B) dark red\n(C) green", "ambiguous"),
        ("The answer is (A) blue.", "ambiguous"), ("Z", "no_such_option"), ("(E) pink", "no_such_option"), ("I'm sorry, I cannot answer.", "refusal"),
        ("something else entirely", "no_answer"), ("x" * (MAX_LENGTH + 1), "too_long"),
    ],
)  # fmt: skip
def test_a_choice_is_left_undecided(text, reason):
    found = extract(text, choice())
    assert (found.answer, found.reason) == (None, reason)


def test_what_a_benchmark_asks_for_decides_where_letter_and_text_collide():
    scrambled = choice(["C", "B", "A"])
    assert extract("A", scrambled, "letter").answer == "A"
    assert extract("A", scrambled, "text").answer == "C"
    assert extract("(A)", scrambled, "text").answer == "A"  # brackets make it a letter


def test_options_with_one_text_are_one_answer():
    assert extract("dog", choice(["cat", "dog", "dog"])).answer == "B"


def test_an_option_inside_a_longer_one_does_not_count_twice():
    options = ["quarter", "quarter to", "quarter past"]
    assert contained_options("it is quarter past eight", options) == [2]
    assert contained_options("quarter to, not quarter", options) == [0, 1]
    assert contained_options("three quarters", options) == []


@pytest.mark.parametrize(
    "text, value",
    [
        ("14", "14"), ("The answer is 14.", "14"), ("14 apples", "14"), ("So 3 + 4 = 7", "7"), ("It costs $1,450.", "1450"), ("−3", "-3"),
        ("27.00", "27"), ("about 1.5 then 2.5", "2.5"), ("\\boxed{1{,}000}", "1000"), ("1.00 \\times 10^{-2}", "1.00e-2"), ("two", "2"),
        ("The probability is 1/12.", "1/12"), ("\\boxed{\\frac{3}{4}}", "\\frac{3}{4}"), ("#### 2,125", "2125"), ("<answer>5%</answer>", "5"),
        ("The answer is 12 because 12 = 3 * 4", "12"), ("12.", "12"),
    ],
)  # fmt: skip
def test_a_number_is_read(text, value):
    assert extract(text, number("float", precision=2)).answer == value


@pytest.mark.parametrize("text", ["none at all", "I'm sorry, but I cannot see 3 bars.", "(a) 10\n(b) 20", "one or two"])
def test_a_number_is_left_undecided(text):
    assert extract(text, number()).answer is None


@pytest.mark.parametrize(
    "text, value",
    [
        ("[2014,2016]", "[2014, 2016]"), ("The answer is [1, 2].", "[1, 2]"), ("1, 2, 3", "[1, 2, 3]"), ("[1 2]", "[1, 2]"),
        ("no list", None), ("[]", None),
        ("First [9], then [1; 2]", "[1, 2]"), ("['a', \"b\"]", "[a, b]"),
    ],
)  # fmt: skip
def test_lists(text, value):
    assert extract(text, number("list")).answer == value


@pytest.mark.parametrize(
    "text, letters",
    [("A,C", "A,C"), ("C and A", "A,C"), ("(A) and (C)", "A,C"), ("a, c", "A,C"), ("none", "none"), ("red; blue", "A,D"), ("who knows", None)],
)
def test_sets_of_letters(text, letters):
    record = Record("i", "q", ["A", "C"], "choices", options=COLOURS)
    assert extract(text, record).answer == letters


@pytest.mark.parametrize(
    "text, inner",
    [
        ("\\boxed{1} \\boxed{2}", "2"),
        ("\\boxed{a{b}c}", "a{b}c"),
        ("\\boxed{\\boxed{3}}", "3"),
        ("\\boxed{open", None),
        ("none", None),
        ("\\boxed{}", ""),
    ],
)
def test_boxes(text, inner):
    assert last_box(text) == inner


def test_an_unbalanced_box_falls_back():
    assert extract("The answer is B. \\boxed{", choice()).answer == "B"


def test_the_reason_says_where_the_answer_stood():
    reasons = {text: extract(text, choice()).reason for text in ("B", "<answer>B</answer>", "The answer is B", "\\boxed{B}", "green", "it is green")}
    assert list(reasons.values()) == ["letter", "tag:letter", "phrase:letter", "boxed:letter", "option_text", "contained"]


def test_the_last_phrase_comes_first():
    assert [span for span, _ in answer_spans("The answer is 1.\nThe answer is 2.")] == ["2.", "1."]


@given(st.text(max_size=300), st.sampled_from(["choice", "choices", "integer", "float", "list", "text"]))
def test_it_never_raises_and_only_names_options_that_exist(text, kind):
    record = Record("i", "q", ["A"], kind, options=COLOURS)
    found = extract(text, record)
    assert found.reason
    if kind == "choice" and found.answer is not None:
        assert found.answer in LETTERS[:4]


@given(st.integers(0, 3), st.sampled_from(["{}", "({})", "The answer is ({}).", "<answer>{}</answer>", "\\boxed{{{}}}", "So my final answer is {}"]))
def test_a_stated_letter_is_always_read(index, template):
    assert extract(template.format(LETTERS[index]), choice()).answer == LETTERS[index]


@given(st.integers(-10_000, 10_000), st.sampled_from(["{}", "The answer is {}.", "<answer>{}</answer>", "\\boxed{{{}}}", "#### {}", "x = {}"]))
def test_a_stated_integer_is_always_read(value, template):
    assert extract(template.format(value), number()).answer == str(value)


@pytest.mark.parametrize(
    "text, inner",
    [
        ("<answer>1</answer>", "1"), ("<answer>1</answer><ANSWER>2</Answer>", "2"), ("<answer>1<answer>2</answer>", "1<answer>2"),
        ("<answer>1", None), ("<answer>1</answer><answer>2", "1"), ("</answer><answer></answer>", ""), ("none", None),
    ],
)  # fmt: skip
def test_tags(text, inner):
    assert last_tag(text) == inner


@pytest.mark.parametrize("between", ["to the question", "to  ", "to \t\t", "to " + "x" * 80, "to " + "x" * 60 + " " * 30, "letter to it \n\n "])
def test_what_is_answered_may_be_named(between):
    assert answer_spans(f"So the answer {between} is B") == [("B", "phrase")]


@pytest.mark.parametrize("between", ["to " + "x" * 81, "to a. b", "to\nit"])
def test_but_not_at_any_length(between):
    text = f"So the answer {between} is B"
    assert answer_spans(text) == [(text, "")]


@pytest.mark.parametrize("text", ["B \n \n Question: C", "B\n\n\nHint: Please C", "B\nChoices:\nQuestion:"])
def test_a_model_that_runs_on_is_cut_off(text):
    assert answer_spans(text) == [("B", "")]


@pytest.mark.parametrize("power, read", [("9^9^9^9", (None, "too_hard")), ("9^2", ("9^2", "boxed:number")), ("9^2 m^2", ("9", "boxed:number"))])
def test_the_first_digit_of_a_power_is_not_its_value(power, read):
    found = extract(f"\\boxed{{{power}}}", number())
    assert (found.answer, found.reason) == read and len(power) < SHORT


@pytest.mark.parametrize(
    "text",
    [
        "(" * 90_000, "answer is " * 9_000, "1," * 45_000, "\\boxed{" * 12_000, "[" * 90_000, "a " * 45_000, "<answer>" * 12_000, "1" * 90_000,
        "x" + " " * 90_000 + "x", "x" + "\n" * 90_000 + "x", "answer to" + " " * 90_000 + "x", "1\\times 10^" + " " * 90_000 + "x",
        "answer to " * 9_000,
    ],
)  # fmt: skip
def test_long_adversarial_text_takes_a_moment(text):
    import time

    start = time.perf_counter()
    for record in (choice(), number(), number("list"), Record("i", "q", ["A"], "choices", options=COLOURS)):
        extract(text, record)
    assert time.perf_counter() - start < 5
