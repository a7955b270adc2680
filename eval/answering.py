"""Who answers: prompts and media in, completions out, by any of the registered strategies."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from reasoning.build import build_strategy
from reasoning.policy import Asked, ModelPolicy, Policy
from reasoning.pool import PooledPolicy, PooledScorer
from reasoning.scorers.base import Scored, Scorer
from reasoning.strategies.base import Budget, Result, Strategy
from reasoning.strategies.sampling import SamplingStrategy

__all__ = ["Answered", "Answerer", "Asked", "ModelAnswerer", "build_answerer"]


@dataclasses.dataclass(slots=True)
class Answered:
    """One completion with its end token, where it came to one. Tokens: generated along the longest chain, over all samples, and by or for a
    scorer. `error` says why an item could not be asked."""

    completion: str
    sequential: int = 0
    total: int = 0
    scorer_total: int = 0
    finished: bool = True
    error: str | None = None
    trace: dict[str, Any] | None = None


class Answerer(Protocol):
    """`settings`: everything its completions depend on but the weights: at least strategy, scorer, samples, temperature, max_new_tokens."""

    settings: dict[str, Any]

    def chat(self, user_turn: str) -> str:
        """The user turn as the model's whole prompt."""

    def answer(self, asked: Sequence[Asked]) -> list[Answered]:
        """One answer per item, in order; the same items give the same answers."""


class ModelAnswerer:
    """A policy that thinks by a strategy."""

    def __init__(self, policy: Policy, strategy: Strategy, scorer: Scorer | None, *, max_new_tokens: int = 200, seed: int = 0):
        self.policy, self.strategy, self.scorer, self.budget = policy, strategy, scorer, Budget(max_new_tokens)
        self.settings = {
            "strategy": strategy.name, "scorer": None if scorer is None else scorer.name, "samples": strategy.samples,
            "temperature": float(strategy.config.temperature), "max_new_tokens": max_new_tokens, "seed": seed,
        }  # fmt: skip
        if scorer is not None:
            self.settings["scorer_fingerprint"] = scorer.fingerprint
        if rest := {k: v for k, v in strategy.config.model_dump().items() if k not in ("n", "temperature")}:
            self.settings["options"] = rest

    def chat(self, user_turn: str) -> str:
        return self.policy.chat(user_turn)

    def answer(self, asked: Sequence[Asked]) -> list[Answered]:
        kept = {"file": self.policy.path.name} if isinstance(self.policy, PooledPolicy) else {}
        results = self.strategy.run_batch(asked, self.policy, self.scorer, self.budget)
        return [answered(result, kept if self.strategy.samples > 1 else None) for result in results]


def answered(result: Result, kept: dict[str, str] | None) -> Answered:
    """A result as the rows of an evaluation hold it; a search leaves its outline, and the name of the `file` that its samples are in."""
    note = {"note": result.note} if result.note else {}
    trace = None if kept is None or result.error is not None else result.trace.outline(texts=not kept) | kept | note
    return Answered(result.completion, **result.ledger.tokens(), finished=result.finished, error=result.error, trace=trace)


def build_answerer(
    strategy: dict[str, Any], model: Any, processor: Any, *, max_new_tokens: int, seed: int, run_dir: Path | None = None,
    samples: tuple[Path, str] | None = None, fingerprint: str = "", memory: dict[Any, Scored] | None = None,
) -> Answerer:  # fmt: skip
    """The answerer of a recipe's strategy line: `{name: greedy}`, `{name: best_of_n, n: 8, scorer: prm}`, or any other registered strategy. A scorer
    without a path is the last process reward model of `run_dir`. `samples` (folder, stem) is where whole samples are kept, so that strategies share
    them; `fingerprint` says which weights they are of; what scorers said is shared in `memory`. A policy may stand in for the model."""
    made, scorer = build_strategy(strategy, run_dir, seed)
    if scorer is not None and memory is not None:
        scorer = PooledScorer(scorer, memory)
    policy: Policy = model if hasattr(model, "sample") else ModelPolicy(model, processor, seed=seed, fingerprint=fingerprint)
    if samples is not None and isinstance(made, SamplingStrategy) and made.config.temperature > 0:
        policy = PooledPolicy(policy, *samples, made.config.temperature, max_new_tokens, [seed])
    return ModelAnswerer(policy, made, scorer, max_new_tokens=max_new_tokens, seed=seed)
