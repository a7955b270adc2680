"""Strategies that draw whole completions: n samples, perhaps scored, and a rule that chooses among those that came to an answer."""

import abc
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from configs.schema import Strict
from reasoning.ledger import Ledger
from reasoning.policy import Asked, Policy
from reasoning.scorers.base import Scored, Scorer
from reasoning.strategies.base import Budget, Result, Strategy
from reasoning.trace import Call, Trace, answer_of


class SamplingConfig(Strict):
    """`n` completions at `temperature`."""

    n: int = Field(8, ge=1)
    temperature: float = Field(1.0, gt=0)


class SamplingStrategy(Strategy):
    """Draws, scores where there is a scorer, leaves out what has no answer or no score, and calls `choose` with the rest."""

    config_class: ClassVar[type[Strict]] = SamplingConfig

    @abc.abstractmethod
    def choose(self, answers: Sequence[str | None], scores: Sequence[float]) -> int | None:
        """Index of the sample to answer with, from canonical answers (None: not a candidate) and their scores (0 without a scorer)."""

    def solve(self, asked: Sequence[Asked], policy: Policy, scorer: Scorer | None, budget: Budget) -> list[Result]:
        numbers = list(range(self.samples))
        drawn = policy.sample(asked, [numbers] * len(asked), self.config.temperature, budget.max_new_tokens)
        traces = [Trace() for _ in asked]
        for item, trace, generations in zip(asked, traces, drawn, strict=True):
            spans = policy.spans(item)
            for g in generations:
                answer = answer_of(item.record, g.text, g.finished)
                trace.add(item.record.id, g, policy.name, self.config.temperature, spans=spans, answer=answer)
        scored: list[Scored | None] = [None] * len(asked)
        if scorer is not None and self.needs_scorer:
            scored = list(scorer.score(asked, [[c.generation for c in t.calls if c.answer is not None] for t in traces]))
        return [
            self._result(policy.prompt_tokens(item), trace, judged, policy.name, scorer, budget.total_tokens)
            for item, trace, judged in zip(asked, traces, scored, strict=True)
        ]

    def _result(self, prompt_tokens: int, trace: Trace, judged: Scored | None, model: str, scorer: Scorer | None, limit: float) -> Result:
        if judged is not None:
            candidates = [c for c in trace.calls if c.answer is not None]
            for call, value, steps in zip(candidates, judged.values, judged.steps, strict=True):
                call.score, call.scores = value, steps
        ledger = Ledger()
        inside = within(trace.calls, judged, limit)
        ledger.charge(
            model, "policy", prompt=prompt_tokens, generated=sum(n for _, n, _ in inside), sequential=max((n for _, n, _ in inside), default=0)
        )
        if judged is not None and scorer is not None:
            read = sum(n for _, _, n in inside)
            ledger.charge(scorer.name, "scorer", prompt=min(judged.prompt_tokens, read), generated=max(0, read - judged.prompt_tokens))
        whole = [call for call, n, _ in inside if n == call.generation.tokens]
        answers = [call.answer if judged is None or call.score is not None else None for call in whole]
        chosen = self.choose(answers, [0.0 if call.score is None else call.score for call in whole])
        if chosen is None:
            return unanswered(trace, whole, ledger)
        whole[chosen].kept = True
        return Result(whole[chosen].answer, whole[chosen].generation.text, trace, ledger)


def within(calls: Sequence[Call], judged: Scored | None, limit: float) -> list[tuple[Call, int, int]]:
    """(call, tokens generated, tokens read by the scorer) of the samples that a limit on all tokens lets in, in order; the last one may be cut
    short: then fewer tokens are generated than it has."""
    spent = 0.0
    inside: list[tuple[Call, int, int]] = []
    costs = iter(judged.tokens if judged is not None else [])
    for call in calls:
        tokens = call.generation.tokens
        read = 0
        if judged is not None and call.answer is not None:
            read = next(costs) + (judged.prompt_tokens if not any(r for _, _, r in inside) else 0)
        if spent + tokens + read > limit:
            if limit > spent:
                inside.append((call, min(int(limit - spent), max(0, tokens - 1)), 0))
            break
        inside.append((call, tokens, read))
        spent += tokens + read
    return inside


def unanswered(trace: Trace, calls: Sequence[Call], ledger: Ledger) -> Result:
    """No candidate: the first completion that ended (unparsable, or not to be scored) stands for the search, so that the log shows
    why; where none ended, a lone completion stands for itself, and a search for nothing."""
    ended = next((call for call in calls if call.generation.finished), None)
    if ended is None:
        text = calls[0].generation.text if len(trace.calls) == len(calls) == 1 else ""
        return Result(None, text, trace, ledger, finished=False, note="no completion ended within the budget")
    ended.kept = True
    return Result(None, ended.generation.text, trace, ledger, note="no completion has an answer that can be chosen")
