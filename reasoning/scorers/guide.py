"""How a scorer follows a search step by step: rows continue rows of the call before, as the policy's do."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

from reasoning.policy import Asked


@dataclasses.dataclass(slots=True)
class Judged:
    """Of one branch: its value up to here (higher is better), the scores of its steps so far, and the tokens that were read for it now."""

    value: float
    steps: list[float]
    tokens: int = 0


class Guide(Protocol):
    """`prompt_tokens`: what was read once per item before the first step."""

    prompt_tokens: list[int]

    def judge(self, parents: Sequence[int], texts: Sequence[str]) -> list[Judged]:
        """Row i continues row `parents[i]` (at first: of the items) and reads `texts[i]` in full from its beginning."""


UNDECIDED = 0.5  # of a branch that has no step yet


class RuleGuide:
    """For scorers that read no tokens: each branch is judged by its text, `rule(item, text, k, length)`."""

    def __init__(self, rule: Callable[[Asked, str, int, int], float], asked: Sequence[Asked]):
        self.rule, self.rows, self.prompt_tokens = rule, list(asked), [0] * len(asked)

    def judge(self, parents: Sequence[int], texts: Sequence[str]) -> list[Judged]:
        self.rows = [self.rows[p] for p in parents]
        return [Judged(self.rule(item, text, 0, len(text)), []) for item, text in zip(self.rows, texts, strict=True)]
