"""Question-answer inversion (TW-GRPO's QAI): a question with one right option becomes its negation, with any number of right ones.

`What did the boy do?` A. sat B. ran C. slept (A) becomes `What didn't the boy do?` with sat and some of the others, and the others as the
answer. Dropping a random number of the others keeps a model from learning to answer all letters but one.

Against the published script: seeded; refuses (None) where no rule fires instead of inverting the answers of an unchanged question; keeps the
question's case; keeps where the item came from. Negating `why` makes distractors "right" that are no reasons: such items say `semantic: false`
in their provenance.
"""

import dataclasses
import re

from data.record import LETTERS, Record
from data.worlds.base import generator

_AUXILIARIES = ("did", "does", "do", "is", "are", "was", "were", "would", "could", "should", "has", "have", "had")
_SECOND_WORD = re.compile(r"^(\w+)\s+(" + "|".join(_AUXILIARIES) + r")\b", re.IGNORECASE)
# Whole phrases first: they are more specific than the auxiliary in second place.
_PHRASES = (
    ("able", re.compile(r"^(\w+\s+\w+\s+(?:\w+\s+){0,6}?)able to\b", re.IGNORECASE), r"\1unable to"),
    ("will", re.compile(r"^(\w+)\s+will\b", re.IGNORECASE), r"\1 won't"),
    ("happened", re.compile(r"^(what)\s+happened\b", re.IGNORECASE), r"\1 didn't happen"),
)


def negate(question: str) -> tuple[str, str] | None:
    """(the negated question, the name of the rule that fired), or None where none does. Already negated questions are left alone."""
    if re.search(r"n't\b|\bnot\b|\bunable\b", question, re.IGNORECASE):
        return None
    for name, pattern, replacement in _PHRASES:
        negated, count = pattern.subn(replacement, question, count=1)
        if count:
            return negated, name
    found = _SECOND_WORD.match(question)
    if not found:
        return None
    return question[: found.end(2)] + "n't" + question[found.end(2) :], found[2].lower()


def invert(record: Record, seed: object = 0) -> Record | None:
    """The inverted record (`choices`, new id and letters), or None where the record has no single right option, fewer than two options, or no rule
    fires. Same record and seed, same result; the gold option is always kept and never in the answer; the answer is never empty."""
    if record.answer_type != "choice" or len(record.options or []) < 2:
        return None
    negated = negate(record.question)
    if negated is None:
        return None
    question, rule = negated
    rng = generator(seed, "inversion", record.id)
    gold = LETTERS.index(record.answer[0])
    others = [i for i in range(len(record.options)) if i != gold]
    right = rng.choice(others, size=int(rng.integers(1, len(others) + 1)), replace=False).tolist()
    order = rng.permutation([gold, *right]).tolist()
    return dataclasses.replace(
        record,
        id=f"{record.id}/inverted",
        question=question,
        options=[record.options[i] for i in order],
        answer=[LETTERS[place] for place, i in enumerate(order) if i != gold],
        answer_type="choices",
        steps=None,  # the steps lead to the answer of the question that was asked before
        meta={**record.meta, "inversion": {"source_id": record.id, "rule": rule, "semantic": not question.lower().startswith("why")}},
    ).validate()
