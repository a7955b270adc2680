"""MMAU's published matching rule (github.com/Sakshi113/MMAU, evaluation.py), its faults included.

Pure functions, frozen: only the benchmarks that publish this rule (MMAU, MMAR) import them. A prediction and an answer are *sets* of words: right
is a prediction that holds every word of the answer and no word of a wrong option (words shared with the answer aside). So order is ignored
("first A, second B" equals "first B, second A"), a bare option letter is wrong, and so is naming a wrong option in order to reject it.
"""

import functools
import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+")


@functools.lru_cache(maxsize=65_536)
def _short_words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))


def words(text: str) -> frozenset[str]:
    """The set of maximal runs of word characters (Unicode; the underscore is one), in lower case."""
    return _short_words(text) if len(text) < 200 else frozenset(_WORD.findall(text.lower()))


def official_match(prediction: str, answer: str, choices: Sequence[str]) -> bool:
    """Whether the published script counts the prediction as right."""
    said, gold = words(prediction), words(answer)
    if not said or not gold <= said:
        return False
    return not any(said & (wrong - gold) for wrong in map(words, choices) if wrong != gold)
