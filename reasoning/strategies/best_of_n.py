"""Best-of-n: the sample that the scorer likes best; ties go to the first."""

from collections.abc import Sequence

from reasoning.strategies.sampling import SamplingStrategy
from reasoning.strategies.voting import best_of


class BestOfN(SamplingStrategy):
    name = "best_of_n"
    needs_scorer = True

    def choose(self, answers: Sequence[str | None], scores: Sequence[float]) -> int | None:
        return best_of(answers, scores)
