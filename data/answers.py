"""When are two answers the same? The one canonicaliser and equality for rewards, voting and benchmarks."""

import re

from data.record import LETTERS, Record

_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d{1,3})?", re.IGNORECASE)
MAX_LENGTH = 1_000  # an answer longer than this is no answer; nothing below ever runs on more


def canonical(answer: str | None, record: Record) -> str | None:
    """One string per meaning, for the type of the record's answer: `10.0` and `10` meet as integers, `(c), A` and `A,C` as letter sets. None where
    the text is no answer of that type. Two answers are equal exactly when their canonical strings are."""
    if answer is None or len(answer) > MAX_LENGTH:
        return None
    if record.answer_type in ("choice", "choices"):
        letters = _letters(answer, record.options or [])
        return None if letters is None or (record.answer_type == "choice" and len(letters) != 1) else ",".join(sorted(letters))
    if record.answer_type == "list":
        return "|".join(_words(part) for part in answer.strip().strip("[]()").split(","))
    if record.answer_type in ("integer", "float"):
        return _number(answer, record)
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
    right = mine == canonical(", ".join(record.answer), record)
    return right, float(right)


def _words(text: str) -> str:
    return " ".join(text.casefold().strip().strip(".").split())


def _letters(text: str, options: list[str]) -> set[str] | None:
    """The set of option letters that a text names, or None. A lone option text counts as its letter where it is unique."""
    bare = _words(text)
    if bare in ("", "none", "none of the above"):
        return set() if bare != "" else None
    matches = [i for i, option in enumerate(options) if _words(option) == bare]
    if len(matches) == 1:
        return {LETTERS[matches[0]]}
    parts = [p.strip("().:[] \t\n") for p in re.split(r",|;|\band\b|\s", text) if p.strip("().:[] \t\n")]
    valid = LETTERS[: len(options)] if options else LETTERS
    if parts and all(len(p) == 1 and p.upper() in valid for p in parts):
        return {p.upper() for p in parts}
    return None


def _number(text: str, record: Record) -> str | None:
    text = text.strip().removesuffix(record.unit or "").strip().rstrip(".")
    found = _NUMBER.fullmatch(text)
    if not found:
        return None
    value = float(found.group().replace(",", ""))
    if record.answer_type == "integer":
        return str(int(value)) if value.is_integer() else None
    digits = 2 if record.precision is None else record.precision
    return f"{round(value, digits) + 0.0:.{digits}f}"
