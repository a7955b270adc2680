"""Weighted majority: the answer whose samples' scores add up to the most; ties go to the one seen first."""

from collections.abc import Sequence

from reasoning.strategies.sampling import SamplingStrategy
from reasoning.strategies.voting import weighted_vote


class WeightedMajority(SamplingStrategy):
    name = "weighted_majority"
    needs_scorer = True

    def choose(self, answers: Sequence[str | None], scores: Sequence[float]) -> int | None:
        if any(score < 0 for score in scores):
            raise ValueError(
                f"weighted_majority adds up scores, and {min(scores):g} is below 0: take a scorer in [0, 1] (not logodds, shortest, vlprm)"
            )
        winner = weighted_vote(answers, scores)
        return None if winner is None else list(answers).index(winner)
