"""What judges solutions. A scorer is one file with one class and one line in `configs/registry.py`.

Solutions cross from the policy as text, so a scorer may have another tokenizer than the policy; it reads the record's prompt in its own layout.
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from configs.schema import Strict
from reasoning.policy import Asked, Policy
from reasoning.scorers.guide import Guide
from reasoning.trace import Generation


@dataclasses.dataclass
class Scored:
    """Of one item's candidates: one value each (higher is better; None: not to be scored), the scores of their steps, the tokens that the scorer
    read for each; `prompt_tokens` it read once for all of them."""

    values: list[float | None]
    steps: list[list[float]]
    tokens: list[int]
    prompt_tokens: int = 0


class ScorerConfig(Strict):
    """`path`: where a scorer that is a model comes from."""

    path: str | None = None


class Scorer(abc.ABC):
    """`name` is what tables say; `fingerprint` changes with whatever the scores depend on."""

    name: str
    config_class: ClassVar[type[ScorerConfig]] = ScorerConfig
    takes_path: ClassVar[bool] = False

    def __init__(self, config: Any, seed: int = 0):
        self.config, self.seed = config, seed

    @property
    def fingerprint(self) -> str:
        return f"{self.name}/{self.config.model_dump_json()}/{self.seed}"

    def bind(self, policy: Policy) -> None:
        """Hear whose solutions will be judged, before any are."""

    @abc.abstractmethod
    def score(self, asked: Sequence[Asked], solutions: Sequence[Sequence[Generation]]) -> list[Scored]:
        """Judge each item's finished solutions."""

    def cost(self, asked: Sequence[Asked], solutions: Sequence[Sequence[Generation]]) -> list[int]:
        """Tokens that `score` would read for each item."""
        return [0] * len(asked)

    def begin(self, asked: Sequence[Asked]) -> Guide:
        """Follow a search over these items step by step. A scorer that judges whole solutions only is a `ValueError`."""
        raise ValueError(f"scorer {self.name!r} judges whole solutions: it cannot guide a search step by step")
