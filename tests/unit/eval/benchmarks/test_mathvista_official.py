"""The published normalisation, row by row. Worked rows were computed with the published rule; the comment says what each one shows."""

import pytest

from eval.benchmarks.mathvista_official import edit_distance, nearest, normalise, quick_extract, read_response

FRACTIONS = ["3/11", "8/11", "6/11", "3/5"]


@pytest.mark.parametrize(
    "extraction, choices, expected",
    [
        ("(B) 8/11", FRACTIONS, "8/11"),
        ("B", FRACTIONS, "8/11"),
        ("b", FRACTIONS, "3/5"),  # bare lower case is no letter: nearest by edit distance
        ("(b)", FRACTIONS, "8/11"),
        ("B.", FRACTIONS, "3/5"),
        ("(E)", FRACTIONS, "3/5"),  # beyond the choices
        ("", ["Yes", "No"], "No"),  # the nearest option to nothing is the shortest
        (None, ["Yes", "No"], "No"),  # through the text "None"
        ("between (A) and (C), so C", ["1", "2", "3", "4"], "1"),  # the first bracketed letter wins
        ("92.5", ["97", "102", "107", "122"], "97"),
        ("26", ["4.6", "6.5", "13.0", "26.0"], "4.6"),  # a tie at distance 2 goes to the first
        ("A", ["C", "B", "A"], "C"),  # the index wins over the text
        ("115", ["50°", "55°", "60°", "65°"], "50°"),
    ],
)
def test_multiple_choice(extraction, choices, expected):
    assert normalise(extraction, "multi_choice", "text", choices) == expected


@pytest.mark.parametrize(
    "extraction, truncated, strict",
    [
        ("13.0", "13", None),
        ("3.9", "3", None),
        ("-3.9", "-3", None),
        ("1,000", None, None),
        ("14 apples", None, None),
        ("nan", None, None),
        ("inf", None, None),
        ("1e3", "1000", None),
        ("007", "7", "7"),
        (" 12 ", "12", "12"),
        ("1_000", "1000", "1000"),
        ("+3", "3", "3"),
        (None, None, None),
        ("9" * 5_000, None, None),  # beyond what Python converts: unreadable, no crash
    ],
)
def test_integers_under_both_policies(extraction, truncated, strict):
    assert normalise(extraction, "free_form", "integer", integers="truncate") == truncated
    assert normalise(extraction, "free_form", "integer", integers="strict") == strict


@pytest.mark.parametrize(
    "extraction, precision, expected",
    [
        ("2.5454545", 2, "2.55"),  # pid 479: the gold 2.54 is a known fault of the source
        ("13.80", 1, "13.8"),
        ("0.214", 2, "0.21"),
        ("0.25", 1, "0.2"),  # binary rounding
        ("0.35", 1, "0.3"),
        ("2.675", 2, "2.67"),
        ("5", 1, "5.0"),
        ("5", 2, "5.0"),  # no fixed width
        ("-0.04", 1, "-0.0"),  # pid 420: never equals 0.0
        ("nan", 1, "nan"),
        ("$1.45", 2, None),
        ("1/3", 2, None),
        ("51.05", 2, "51.05"),  # pid 108, gold 51.04
        ("13.80", 1.0, "13.8"),  # a precision out of a table
    ],
)
def test_floats(extraction, precision, expected):
    assert normalise(extraction, "free_form", "float", precision=precision) == expected


def test_lists_are_compared_as_text():
    assert normalise("[2014,2016]", "free_form", "list") == "[2014,2016]"
    assert normalise([2014, 2016], "free_form", "list") == "[2014, 2016]"


def test_ignoring_the_empty():
    assert normalise("  ", "multi_choice", "text", ["Yes", "No"], ignore_empty=True) is None
    assert normalise("x", "multi_choice", "text", ["Yes", "No"], ignore_empty=True) == "No"


def naive_distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def test_edit_distance_equals_the_textbook_table():
    import random

    rng = random.Random(0)
    for _ in range(300):
        a = "".join(rng.choices("ab°c", k=rng.randrange(0, 40)))
        b = "".join(rng.choices("ab°d", k=rng.randrange(0, 12)))
        assert edit_distance(a, b) == edit_distance(b, a) == naive_distance(a, b)
    for letters, short in (("abc", "abcab"), ("a°c漢", "a漢°ab")):
        long = "".join(rng.choices(letters, k=600))  # the other way of finding positions
        assert edit_distance(long, short) == naive_distance(long, short)


def test_a_megabyte_is_snapped_in_a_moment():
    assert nearest("x" * 1_000_000, ["Yes", "No"]) == "Yes"  # both cost 1,000,000 edits: the first


def test_what_needs_no_language_model():
    assert read_response("", "multi_choice", "text", ["a"]) == ""
    assert read_response("B", "multi_choice", "text", ["A", "B"]) == "B"
    assert read_response("14", "free_form", "integer") == "14"
    assert read_response("1.50", "free_form", "float") == "1.5"
    assert read_response("It is 14.", "free_form", "integer") is None


def test_quick_extraction_needs_quotes_and_a_period():
    assert quick_extract('The answer is "D.\nThe answer is "E".') == "E" and quick_extract('The answer is "".') == ""
    assert quick_extract('The answer is "' * 100_000) is None  # in a moment
    assert quick_extract('The answer is "D".') == "D"
    for text in ("The answer is D.", 'the answer is "D".', 'The answer is "D"'):
        assert quick_extract(text) is None
    assert quick_extract('The answer is "D". But "E". The answer is "F".') == 'D". But "E". The answer is "F'
