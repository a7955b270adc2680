r"""When are two answers the same? The one canonicaliser and equality for rewards, voting and benchmarks.

Plain numbers, fractions, simple LaTeX, letters, lists and words are read in pure Python. What is left of mathematics (`\sqrt{2}`, `2\pi`, `(x+1)^2`)
goes to math-verify in a process of its own with a time limit (`data/math_worker.py`).
"""

import functools
import re
from fractions import Fraction

from data.math_worker import MathWorker
from data.record import LETTERS, Record

MAX_LENGTH = 1_000  # an answer longer than this is no answer; nothing below ever runs on more
MAX_DIGITS = 400  # of a number: beyond that Python's conversions are slow or refused

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")
_FRACTION = re.compile(r"([-+]?)\s*(?:(\d+)\s+)?(\d+)\s*/\s*(\d+)")
_LATEX_FRACTION = re.compile(r"([-+]?)\s*(\d*)\s*\\[dt]?frac\s*(?:\{\s*([-+]?[\d.]+)\s*\}|(\d))\s*(?:\{\s*([-+]?[\d.]+)\s*\}|(\d))")
_SCIENTIFIC = re.compile(r"(.+?)\s*(?:\\times|\\cdot|×|\*)\s*10\s*(?:\^|\*\*)\s*\{?\s*([-+]?\d{1,3})\s*\}?")
_MATHS = re.compile(r"\\[a-zA-Z]+|\^|√|π|\d\s*[*/+]\s*[\d(\\]|\bsqrt\b|\bpi\b")
_WRAPPERS = re.compile(r"^(?:\$+(?!\$)|\$(?=\$+$)|\\\(|\\\[)\s*+(.*?)\s*+(?:\$++|\\\)|\\\])$", re.DOTALL)
_TEXT_MACRO = re.compile(r"\\(?:text|mathrm|mathbf|textbf|operatorname)\s*\{([^{}]*)\}")
_CURRENCY = "$€£¥"
_SUFFIX = re.compile(r"\s*(?:\\?%|\\?°|\^\s*\{?\\circ\}?|\\circ)$")

WORKER = MathWorker()


def canonical(answer: str | None, record: Record) -> str | None:
    r"""One string per meaning, for the type of the record's answer: `10.0` and `10` meet as integers, `(c), A` and `A,C` as letter sets, `\sqrt{8}`
    and `2\sqrt{2}` as text. None where the text is no answer of that type. Equal strings are equal answers."""
    if answer is None or len(answer) > MAX_LENGTH:
        return None
    if record.answer_type in ("choice", "choices"):
        letters = _letters(answer, record.options or [])
        return None if letters is None or (record.answer_type == "choice" and len(letters) != 1) else ",".join(sorted(letters))
    if record.answer_type == "list":
        return "|".join(_element(part) for part in re.split(r"[,;]", answer.strip().strip("[](){}"))) or None
    if record.answer_type in ("integer", "float"):
        return _number(answer, record)
    if _MATHS.search(answer) and (found := _ask_value(unwrap(answer))) is not None:
        return found
    return _words(answer) or None


def grade(answer: str | None, record: Record) -> tuple[bool, float]:
    """(is it right, soft credit in [0, 1]). Soft credit for letters is |S| / |T| if S is a subset of the truth T, else 0 (TW-GRPO's rule); two
    empty sets agree. Elsewhere it is 1 or 0."""
    mine = canonical(answer, record)
    if mine is None:
        return False, 0.0
    if record.answer_type in ("choice", "choices"):
        chosen, truth = set(filter(None, mine.split(","))), set(record.answer)
        if chosen == truth:
            return True, 1.0
        return False, len(chosen) / len(truth) if chosen < truth else 0.0
    right = mine == _gold(tuple(record.answer), record)
    if not right and record.answer_type == "text" and answer is not None:
        gold = ", ".join(record.answer)
        right = bool(_MATHS.search(gold) or _MATHS.search(answer)) and WORKER.equal(unwrap(gold), unwrap(answer))
    return right, float(right)


def _gold(answer: tuple[str, ...], record: Record) -> str | None:
    return canonical(", ".join(answer), record)


def unwrap(text: str) -> str:
    r"""Mathematics without its wrapping: `$…$`, `\(…\)`, `\text{…}`, spacing macros, Unicode minus."""
    text = text.strip().replace("−", "-").replace("–", "-").replace("\\left", "").replace("\\right", "")  # minus sign, en dash
    text = re.sub(r"\\[,;:! ]", "", text).replace("{,}", ",")
    while (found := _WRAPPERS.match(text)) and found.group(1) != text:
        text = found.group(1)
    return _TEXT_MACRO.sub(r" \1", text).strip()


def value(text: str, unit: str | None = None) -> Fraction | None:
    """The exact number that a text is, with its unit, currency, percent or degree sign taken off; None where it is no number. Mathematics beyond
    fractions and powers of ten is asked of the worker; an irrational value comes back at 15 digits."""
    bare = _bare(text, unit)
    if (plain := _plain_value(bare)) is not None:
        return plain
    if _MATHS.search(bare):
        found = _ask_value(bare)
        return None if found is None else _plain_value(found)
    return None


def _bare(text: str, unit: str | None) -> str:
    bare = unwrap(text.strip().rstrip("."))
    if unit and bare.casefold().endswith(unit.casefold()):
        bare = bare[: -len(unit)].strip()
    bare = _SUFFIX.sub("", bare).strip().rstrip(".")
    sign = bare[:1] if bare[:1] in ("-", "+") else ""
    rest = bare[len(sign) :].lstrip()
    rest = rest.removeprefix("\\").lstrip(_CURRENCY) if rest.removeprefix("\\")[:1] in tuple(_CURRENCY) else rest
    return sign + rest.strip()


def _plain_value(text: str) -> Fraction | None:
    """Numbers, fractions, mixed numbers, LaTeX fractions and powers of ten, exactly."""
    if len(text) > MAX_DIGITS or not text:
        return None
    if _NUMBER.fullmatch(text):
        return Fraction(text.replace(",", ""))
    if found := _FRACTION.fullmatch(text):
        sign, whole, over, under = found.groups()
        return _fraction(sign, whole, over, under)
    if found := _LATEX_FRACTION.fullmatch(text):
        sign, whole, over, short_over, under, short_under = found.groups()
        return _fraction(sign, whole, over or short_over, under or short_under)
    if found := _SCIENTIFIC.fullmatch(text):
        factor = _plain_value(found.group(1).strip())
        return None if factor is None else factor * Fraction(10) ** int(found.group(2))
    return None


def _fraction(sign: str, whole: str | None, over: str, under: str) -> Fraction | None:
    try:
        size = Fraction(whole or 0) + Fraction(over) / Fraction(under)
    except (ZeroDivisionError, ValueError):
        return None
    return -size if sign == "-" else size


def too_hard(answer: str, record: Record) -> bool:
    """Whether the value of an answer took the worker more than its time, memory or length, or is a number of more than `MAX_DIGITS` digits. Asked
    behind `value` or `grade`, it costs no second question."""
    if len(answer) > MAX_LENGTH or not _MATHS.search(answer):
        return False
    if record.answer_type in ("integer", "float"):
        bare = _bare(answer, record.unit)
        if _plain_value(bare) is not None or not _MATHS.search(bare):
            return False
        found, hard = _asked(bare)
        return hard or (found is not None and len(found) > MAX_DIGITS and _FRACTION.fullmatch(found) is not None)
    return record.answer_type == "text" and _asked(unwrap(answer))[1]


def _ask_value(text: str) -> str | None:
    return _asked(text)[0]


@functools.lru_cache(maxsize=4096)
def _asked(text: str) -> tuple[str | None, bool]:
    """(value, whether it was too hard). Remembered, so that an expression costs one question, a time-out too."""
    answer = WORKER.ask(value=text)
    return (None, True) if answer is None else (answer.get("value"), "too_hard" in answer)


def _number(text: str, record: Record) -> str | None:
    found = value(text, record.unit)
    if found is None:
        return None
    if record.answer_type == "integer":
        return str(found.numerator) if found.denominator == 1 and abs(found.numerator) < 10**MAX_DIGITS else None
    digits = 2 if record.precision is None else record.precision
    scaled = round(found * 10**digits)
    if abs(scaled) >= 10**MAX_DIGITS:
        return None
    whole, rest = divmod(abs(scaled), 10**digits)
    return ("-" if scaled < 0 else "") + (f"{whole}.{rest:0{digits}d}" if digits else str(whole))


def _element(text: str) -> str:
    """An element of a list: numbers by value, everything else by its words."""
    bare = text.strip().strip("'\"")
    number = _plain_value(bare)
    return _words(bare) if number is None else str(number)


def _words(text: str) -> str:
    return " ".join(text.casefold().strip().strip(".").split())


def _letters(text: str, options: list[str]) -> set[str] | None:
    """The set of option letters that a text names, or None. Letters come first. The text of an option, or of several with commas between them, counts
    as its letter where it is unique."""
    bare = _words(text)
    if not bare:
        return None
    parts = [p.strip("().:[] \t\n") for p in re.split(r",|;|\band\b|\s", text) if p.strip("().:[] \t\n")]
    valid = LETTERS[: len(options)] if options else LETTERS
    if parts and all(len(p) == 1 and p in valid for p in parts):
        return set(parts)
    worded = [_words(option) for option in options]
    for said in ([bare], [_words(part) for part in re.split(r"[,;]", text)]):
        if all(worded.count(part) == 1 for part in said):
            return {LETTERS[worded.index(part)] for part in said}
    if bare in ("none", "none of the above"):
        return set()
    if parts and all(len(p) == 1 and p.upper() in valid for p in parts):
        return {p.upper() for p in parts}
    return None
