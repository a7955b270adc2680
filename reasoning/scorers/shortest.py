"""A control: the shorter, the better. What it gains is length, not judgement."""

from reasoning.policy import Asked
from reasoning.scorers.free import FreeScorer


class ShortestScorer(FreeScorer):
    """Minus the number of tokens; of characters, along a search."""

    name = "shortest"

    def value(self, asked: Asked, text: str, k: int, tokens: int) -> float:
        return -float(tokens)
