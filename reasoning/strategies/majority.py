"""Self-consistency (Wang et al. 2023): the answer that most samples come to, equal by `data.answers`; ties go to the one seen first."""

from collections.abc import Sequence

from reasoning.strategies.sampling import SamplingStrategy
from reasoning.strategies.voting import majority_vote


class Majority(SamplingStrategy):
    name = "majority"

    def choose(self, answers: Sequence[str | None], scores: Sequence[float]) -> int | None:
        winner = majority_vote(answers)
        return None if winner is None else list(answers).index(winner)
