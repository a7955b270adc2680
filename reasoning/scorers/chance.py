"""A control: scores drawn at random. Whatever it gains is not the scorer's doing."""

from data.worlds.base import generator
from reasoning.policy import Asked
from reasoning.scorers.free import FreeScorer


class ChanceScorer(FreeScorer):
    """Uniform in [0, 1), from (seed, record, sample, text)."""

    name = "random"

    def value(self, asked: Asked, text: str, k: int, tokens: int) -> float:
        return float(generator(self.seed, "random scorer", asked.record.id, k, text).random())
