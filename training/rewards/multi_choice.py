"""Soft credit for questions with several right options (TW-GRPO): |S| / |T| where the chosen set S lies inside the truth T, else 0.

One wrong letter forfeits everything, so guessing all options earns nothing, while half an answer earns half. Two parsers are kept apart:
`official` is the published one (case-sensitive, splits on commas only), `robust` reads what a person would (`(a) and C.`).
"""

import re

from data import answers, protocol
from data.record import LETTERS, Record
from training.rewards.rollout import Rollout

_OFFICIAL_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def multi_choice(completion: str, solution: str, rule: str = "robust") -> float:
    """Credit in [0, 1] of a completion against a solution such as `<answer>A,C</answer>` or `A,C`.

    `official` reproduces `src/open_r1/grpo.py` of the TW-GRPO release. Its first step, math-verify on the whole completion, is left out: a
    solution made of letters does not parse as mathematics, so that step never decides. Empty against empty is 1 there.
    """
    if rule == "official":
        chosen, truth = _official_letters(completion), _official_letters(solution)
        return len(chosen) / len(truth) if truth and chosen <= truth else 0.0
    if rule != "robust":
        raise ValueError(f"multi-choice rule {rule!r} is not one of official, robust")
    truth_text = protocol.parse(solution).answer or solution
    truth = answers.canonical(truth_text, _letters_record([]))
    if truth is None:
        raise ValueError(f"solution {solution!r} names no option letters")
    answer = protocol.parse(completion).answer
    return answers.grade(answer, _letters_record([letter for letter in truth.split(",") if letter]))[1]


def soft_choice(rollout: Rollout, rule: str = "robust") -> float:
    """`multi_choice` as a reward on records."""
    if rule == "official":
        return multi_choice(rollout.completion, ",".join(rollout.record.answer), rule)
    return rollout.verdict.partial


def _official_letters(text: str) -> set[str]:
    found = _OFFICIAL_ANSWER.search(text)
    inside = found[1] if found else text
    return {part.strip() for part in inside.replace(" ", "").split(",")}


def _letters_record(answer: list[str]) -> Record:
    return Record("letters", "letters", answer, "choices", options=list(LETTERS))
