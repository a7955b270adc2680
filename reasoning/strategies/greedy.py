"""The likeliest token at every place."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from configs.schema import Strict
from reasoning.strategies.sampling import SamplingStrategy


class GreedyConfig(Strict):
    """Nothing to choose."""

    temperature: float = Field(0.0, ge=0, le=0)


class Greedy(SamplingStrategy):
    name = "greedy"
    config_class: ClassVar[type[Strict]] = GreedyConfig

    def choose(self, answers: Sequence[str | None], scores: Sequence[float]) -> int | None:
        return 0 if answers and answers[0] is not None else None
