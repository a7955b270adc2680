"""When two answers are the same: letters, numbers, lists, words, mathematics; and any text at all."""

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.answers import MAX_LENGTH, canonical, grade, too_hard, unwrap, value
from data.record import LETTERS, Record

OPTIONS = ["a bell", "a drum", "None", "b"]


def asked(kind, answer, **changes):
    return Record("r", "q", answer, kind, **changes)


@pytest.mark.parametrize(
    ("kind", "gold", "said", "right"),
    [
        ("choice", ["B"], "B", True),
        ("choice", ["B"], "(B)", True),
        ("choice", ["B"], "b.", True),  # unless an option is called so
        ("choice", ["B"], "a drum", True),  # an option's words, where they are unique
        ("choice", ["B"], "A drum.", True),
        ("choice", ["B"], "B, C", False),
        ("choice", ["B"], "", False),
        ("choice", ["B"], "E", False),
        ("choice", ["A"], "A bell", True),
        ("choices", ["A", "C"], "C, A", True),
        ("choices", ["A", "C"], "A and C", True),
        ("choices", ["A", "C"], "A", False),
        ("choices", [], "none", True),
        ("choices", ["A"], "none", False),
        ("integer", ["10"], "10.0", True),
        ("integer", ["10"], "ten", False),
        ("integer", ["1000"], "1,000", True),
        ("integer", ["-3"], "\u22123", True),  # the typographical minus
        ("integer", ["10"], "10.5", False),
        ("integer", ["50"], "50%", True),
        ("integer", ["7"], "$7", True),
        ("float", ["2.5"], "2.50", True),
        ("float", ["2.5"], "5/2", True),
        ("float", ["2.5"], "\\frac{5}{2}", True),
        ("float", ["2.5"], "2.51", False),
        ("float", ["0.33"], "1/3", True),  # two decimals where none are said
        ("list", ["red", "blue"], "red, blue", True),
        ("list", ["red", "blue"], "['red', 'blue']", True),
        ("list", ["red", "blue"], "blue, red", False),  # an order is asked for
        ("list", ["1", "2"], "1.0; 2", True),
        ("text", ["bell"], "Bell.", True),
        ("text", ["bell"], "the bell", False),
        ("text", ["big bell"], " big   BELL ", True),
    ],
)
def test_what_is_the_same(kind, gold, said, right):
    options = {"options": ["a bell", "a drum", "a horn", "a bird"]} if kind in ("choice", "choices") else {}
    assert grade(said, asked(kind, gold, **options))[0] is right


def test_precision_and_unit():
    assert grade("3.14159", asked("float", ["3.1"], precision=1))[0]
    assert not grade("3.19", asked("float", ["3.1"], precision=1))[0]
    assert grade("5 cm", asked("float", ["5.0"], precision=1, unit="cm"))[0]
    assert not grade("5 kg", asked("float", ["5.0"], precision=1, unit="cm"))[0]


@pytest.mark.parametrize(
    ("said", "credit"), [("A, C", 1.0), ("A", 0.5), ("C", 0.5), ("A, B", 0.0), ("A, B, C", 0.0), ("none", 0.0), ("nonsense", 0.0)]
)
def test_soft_credit_by_hand(said, credit):
    """|S| / |T| for a part of the truth, nothing where anything wrong is named."""
    assert grade(said, asked("choices", ["A", "C"], options=["w", "x", "y", "z"]))[1] == credit


def test_letters_come_before_the_words_of_options():
    """`b` is the text of option D; as a letter it would be B. The exact letter wins, the text comes next, the small letter last."""
    record = asked("choice", ["D"], options=OPTIONS)
    assert canonical("b", record) == "D" and canonical("B", record) == "B" and canonical("a", record) == "A"
    assert canonical("None", record) == "C"  # an option, not an empty choice


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1 1/2", Fraction(3, 2)),
        ("-1/4", Fraction(-1, 4)),
        ("1/0", None),
        ("\\dfrac{3}{4}", Fraction(3, 4)),
        ("-2\\frac12", Fraction(-5, 2)),
        ("3 \\times 10^{-2}", Fraction(3, 100)),
        ("1.5e3", Fraction(1500)),
        ("$\\text{7}$", Fraction(7)),
        ("90^\\circ", Fraction(90)),
        ("\u20ac1,234.5", Fraction(2469, 2)),
        ("9" * 500, None),
        ("one", None),
        ("", None),
    ],
)
def test_numbers_are_exact(text, number):
    assert value(text) == number


def test_mathematics_goes_to_the_worker():
    assert grade("2\\sqrt{2}", asked("text", ["\\sqrt{8}"]))[0]
    assert not grade("2\\sqrt{3}", asked("text", ["\\sqrt{8}"]))[0]
    assert value("\\sqrt{16}") == 4
    assert canonical("\\sqrt{8}", asked("text", ["x"])) == canonical("2\\sqrt{2}", asked("text", ["x"]))


def test_wrapping_comes_off():
    assert unwrap(" $\\left( x \\right)$ ") == "( x )" and unwrap("\\(\\text{red}\\)") == "red" and unwrap("$$1{,}000$$") == "1,000"


@given(st.text(max_size=60), st.sampled_from(["choice", "choices", "integer", "float", "list", "text"]))
def test_any_text_is_graded_and_equals_itself(text, kind):
    """Whatever is said: no error, credit in [0, 1], and an answer that can be read is right where it is the gold."""
    text = "".join(c for c in text if c not in "\\^/*+√π" and c.isprintable())  # mathematics is asked of a process, one test is enough
    record = asked(kind, ["A"] if kind in ("choice", "choices") else ["1"], options=["x", "y"] if kind in ("choice", "choices") else None)
    right, credit = grade(text, record)
    assert 0.0 <= credit <= 1.0 and (credit == 1.0) == right
    said = canonical(text, record)
    if said is not None and kind in ("integer", "float", "text"):
        assert grade(text, asked(kind, [text]))[0]


@given(st.integers(-(10**9), 10**9), st.integers(0, 6))
def test_numbers_meet_however_they_are_written(number, zeros):
    record = asked("integer", [str(number)])
    for written in (str(number), f"{number}." + "0" * zeros, f"{number:,}", f"${number}$", f" {number} ."):
        assert grade(written, record)[0], written
    assert not grade(str(number + 1), record)[0]


@given(st.sets(st.sampled_from(LETTERS[:6]), max_size=6), st.randoms())
def test_a_set_of_letters_has_no_order(letters, random):
    record = asked("choices", sorted(letters), options=list("uvwxyz"))
    shuffled = sorted(letters)
    random.shuffle(shuffled)
    said = ", ".join(shuffled) or "none"
    assert grade(said, record) == (True, 1.0)


@pytest.mark.parametrize(
    "text, inner",
    [
        ("$x$", "x"), ("$$ x $$", "x"), ("\\( x \\)", "x"), ("$\\(x\\)$", "x"), ("$x", "$x"), ("x$", "x$"), ("$$$", ""),
        ("$", "$"), ("$ $", ""), ("$a$b$", "a$b"),
    ],
)  # fmt: skip
def test_wrappers_come_off(text, inner):
    assert unwrap(text) == inner


@pytest.mark.parametrize("text", ["$" * (MAX_LENGTH - 1) + "a", "$" + " " * (MAX_LENGTH - 2) + "x", "$" * MAX_LENGTH, "$x" * (MAX_LENGTH // 2)])
def test_unwrapping_is_no_matter_of_seconds(text):
    start = time.process_time()
    unwrap(text)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    "text, kind, hard",
    [
        ("9^9^9^9", "integer", True), ("9^{99999}", "float", True), ("9^2", "integer", False), ("9", "integer", False), ("\\sqrt{2}", "text", False),
        ("9^{99999}", "text", True), ("9^9^9^9", "list", False),
    ],
)  # fmt: skip
def test_what_the_worker_cannot_settle_is_known(text, kind, hard):
    assert too_hard(text, asked(kind, ["9"])) is hard


def test_what_is_too_long_is_no_answer():
    assert canonical("1" * (MAX_LENGTH + 1), asked("text", ["1"])) is None
    assert canonical(None, asked("text", ["1"])) is None
