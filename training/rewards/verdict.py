"""Rewards that read what the verifier said; every type of answer is judged in one place, `data/answers.py`, and never here."""

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
