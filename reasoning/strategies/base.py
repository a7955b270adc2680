"""What a test-time strategy is: `run(record, policy, scorer, budget) -> Result`, and the same over many records at once.

A strategy is one file with one class and one line in `configs/registry.py`. It has a typed `Config`, says in `needs_scorer` whether it is of any
use without one, and implements `solve`, the form over many items: they share batches, and each one's result does not depend on the others.
"""

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

from configs.schema import Strict
from data.record import Record
from reasoning.ledger import Ledger
from reasoning.policy import Asked, Policy
from reasoning.scorers.base import Scorer
from reasoning.trace import Trace


@dataclasses.dataclass(frozen=True, slots=True)
class Budget:
    """`max_new_tokens`: of one completion. `total_tokens`: of a whole search, the policy's and the scorer's; what does not fit is cut off, and what
    is cut off is no answer."""

    max_new_tokens: int = 200
    total_tokens: float = math.inf

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or not self.total_tokens >= 1:
            raise ValueError(f"a budget of {self.max_new_tokens} tokens a completion and {self.total_tokens:g} in all leaves nothing to generate")


@dataclasses.dataclass
class Result:
    """`answer` is canonical, None where the search came to none; `completion` the text that stands for it (end token included), empty where nothing
    was finished. `error` says why an item could not be asked; `note` which fallback was taken."""

    answer: str | None
    completion: str
    trace: Trace
    ledger: Ledger
    finished: bool = True
    error: str | None = None
    note: str = ""


class Strategy(abc.ABC):
    """`config` has at least a `temperature`. `samples` is the number that stands in tables: completions, or branches kept side by side."""

    name: ClassVar[str]
    config_class: ClassVar[type[Strict]]
    needs_scorer: ClassVar[bool] = False

    def __init__(self, config: Any):
        self.config = config

    @property
    def samples(self) -> int:
        return getattr(self.config, "n", 1)

    def check_scorer(self, scorer: Scorer | None) -> None:
        """A strategy that is of no use without a scorer and has none is a `ValueError`."""
        if self.needs_scorer and scorer is None:
            raise ValueError(f"strategy {self.name!r} needs a scorer: scorer=prm:DIR, or one of the others (python -m eval list)")

    def run(self, record: Record, policy: Policy, scorer: Scorer | None = None, budget: Budget | None = None) -> Result:
        """One record from its files to an answer."""
        return self.run_batch([policy.ask(record)], policy, scorer, budget)[0]

    def run_batch(self, asked: Sequence[Asked], policy: Policy, scorer: Scorer | None = None, budget: Budget | None = None) -> list[Result]:
        """One result per item, in order. Items that the policy cannot take come back with `error`."""
        self.check_scorer(scorer)
        if scorer is not None:
            scorer.bind(policy)
        problems = [policy.problem(item) for item in asked]
        fine = [item for item, problem in zip(asked, problems, strict=True) if problem is None]
        solved = iter(self.solve(fine, policy, scorer, budget or Budget()) if fine else [])
        return [next(solved) if problem is None else Result(None, "", Trace(), Ledger(), False, problem) for problem in problems]

    @abc.abstractmethod
    def solve(self, asked: Sequence[Asked], policy: Policy, scorer: Scorer | None, budget: Budget) -> list[Result]:
        """One result per item that the policy can take."""
