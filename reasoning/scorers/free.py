"""The base of scorers that read no tokens: a rule over one solution at a time."""

import abc
from collections.abc import Sequence

from reasoning.policy import Asked
from reasoning.scorers.base import Scored, Scorer
from reasoning.scorers.guide import Guide, RuleGuide
from reasoning.trace import Generation


class FreeScorer(Scorer):
    """Implements `score` by `value`."""

    @abc.abstractmethod
    def value(self, asked: Asked, text: str, k: int, tokens: int) -> float:
        """The score of a solution, or of a part of one: `text` up to here, `tokens` long."""

    def begin(self, asked: Sequence[Asked]) -> Guide:
        return RuleGuide(self.value, asked)

    def score(self, asked: Sequence[Asked], solutions: Sequence[Sequence[Generation]]) -> list[Scored]:
        scored = []
        for item, generations in zip(asked, solutions, strict=True):
            values: list[float | None] = [self.value(item, g.text, g.k, g.tokens) for g in generations]
            scored.append(Scored(values, [[] for _ in generations], [0] * len(generations)))
        return scored
