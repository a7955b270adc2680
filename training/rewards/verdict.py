"""Rewards that read what the verifier said; every type of answer is judged in one place, `data/answers.py`, and never here."""

from data import protocol
from training.rewards.rollout import Rollout


def answer(rollout: Rollout) -> float:
    """1 for the right answer, else 0 (numbers, words, letters: strict)."""
    return float(rollout.verdict.answer_ok)


def process(rollout: Rollout) -> float:
    """Share of the steps that the verifier found true, in [0, 1]; 0 without steps."""
    return rollout.verdict.process_accuracy


def no_error(rollout: Rollout) -> float:
    """1 where at least one step is verified and none is wrong."""
    return float(rollout.verdict.first_error is None and "ok" in rollout.verdict.steps)


def exact_text(rollout: Rollout, ignore_case: bool = False) -> float:
    """1 where the answer is the gold text, letter by letter after an outer strip: for transcriptions, where `answer` is too kind (it reads numbers
    and mathematics by value and words without case)."""
    said, gold = protocol.parse(rollout.completion).answer, ", ".join(rollout.record.answer).strip()
    if said is None:
        return 0.0
    return float(said.casefold() == gold.casefold() if ignore_case else said == gold)
