"""MathVista's published scoring rule (github.com/lupantech/MathVista, evaluation/calculate_score.py), its faults included.

Pure functions, frozen: nothing but the MathVista benchmark imports them. Known faults, kept on purpose: whatever is no option letter is snapped
to the nearest option by edit distance, refusals and empty text too; the first bracketed letter wins; floats are rounded without a fixed width;
lists are compared as text. Two published policies for integers exist: score files of 2023 come from `int(text)` ("strict"), later code from
`int(float(text))` ("truncate").
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

Integers = Literal["strict", "truncate"]
AXES = ("question_type", "answer_type", "language", "source", "category", "task", "context", "grade", "skills")  # in the order of the score files
QUOTED = 'The answer is "'
_BRACKETED = re.compile(r"\(([a-zA-Z])\)")


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance. Bit-parallel (Hyyrö 2003): one step per character of the shorter text on integers as wide as the longer one."""
    if a == b:
        return 0
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    if not short:
        return len(long)
    width = len(long)
    last, mask = 1 << (width - 1), (1 << width) - 1
    where = _positions(long, set(short))
    up, down, distance = mask, 0, width
    for char in short:
        equal = where[char]
        vertical = equal | down
        horizontal = (((equal & up) + up) ^ up) | equal
        plus, minus = down | (~(horizontal | up) & mask), up & horizontal
        distance += 1 if plus & last else -1 if minus & last else 0
        plus, minus = ((plus << 1) | 1) & mask, (minus << 1) & mask
        up, down = minus | (~(vertical | plus) & mask), plus & vertical
    return distance


def _positions(text: str, chars: set[str]) -> dict[str, int]:
    """For each character the integer whose bit i says that `text[i]` is this character."""
    if len(text) <= 256:
        where = dict.fromkeys(chars, 0)
        for i, char in enumerate(text):
            if char in where:
                where[char] |= 1 << i
        return where
    backwards = text[::-1]
    return {c: int(backwards.translate(defaultdict(lambda: "0", {ord(c): "1"})), 2) for c in chars}


def nearest(text: str, choices: Sequence[str]) -> str:
    """The choice at the smallest edit distance, the first one of several."""
    return min(choices, key=lambda choice: edit_distance(text, choice))


def normalise(
    extraction: Any,
    question_type: str,
    answer_type: str,
    choices: Sequence[str] | None = None,
    precision: float | None = None,
    *,
    integers: Integers = "truncate",
    ignore_empty: bool = False,
) -> str | None:
    """An extracted answer in the form in which the gold is written, or None where it cannot be read. For multiple choice always one of the choices
    (`ignore_empty`: None for empty text), however far away it is."""
    if question_type == "multi_choice":
        text = extraction.strip() if isinstance(extraction, str) else str(extraction)
        if ignore_empty and not text:
            return None
        return _choice(text, list(choices or []))
    try:
        if answer_type == "integer":
            return str(int(float(extraction)) if integers == "truncate" else int(extraction))
        if answer_type == "float":
            return str(round(float(extraction), None if precision is None else int(precision)))
    except (TypeError, ValueError, OverflowError):
        return None
    return str(extraction) if answer_type == "list" else extraction


def _choice(text: str, choices: list[str]) -> str:
    bracketed = _BRACKETED.search(text)
    letter = bracketed.group(1).upper() if bracketed else text
    index = ord(letter) - ord("A") if len(letter) == 1 else -1
    return choices[index] if 0 <= index < len(choices) else nearest(letter, choices)


def read_response(response: Any, question_type: str, answer_type: str, choices: Sequence[str] | None = None) -> str | None:
    """The part of the published extraction that needs no language model: empty stays empty, a response that is a choice or parses as the number
    asked for is the extraction. None: the published code asks a language model here."""
    if response is None or response == "":
        return ""
    if question_type == "multi_choice" and response in (choices or []):
        return response
    try:
        if answer_type == "integer":
            return str(int(response))
        if answer_type == "float":
            return str(float(response))
    except (TypeError, ValueError, OverflowError):
        pass
    return None


def quick_extract(response: str) -> str | None:
    """The published shortcut (option `quick_extract`): what stands in quotes in `The answer is "…".`; greedy: two such phrases on one line give one
    span."""
    for line in response.split("\n"):  # as `The answer is "(.*)"\.` finds it, which takes quadratic time over phrases without an end
        begin, end = line.find(QUOTED) + len(QUOTED), line.rfind('".')
        if QUOTED in line and begin <= end:
            return line[begin:end]
    return None
