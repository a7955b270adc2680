"""The fair rival of a scorer: a majority over as many samples as best-of-n with that scorer pays for, its tokens included."""

from collections.abc import Sequence

from reasoning.policy import Asked, Policy
from reasoning.scorers.base import Scorer
from reasoning.strategies.base import Budget, Result
from reasoning.strategies.majority import Majority
from reasoning.strategies.sampling import SamplingStrategy, within
from reasoning.trace import Trace, answer_of

MOST = 64  # times n: where samples cost next to nothing, no budget is ever used up


class MajoritySameTokens(SamplingStrategy):
    """`n` is best-of-n's; more samples than that are voted over. An item's budget is what best-of-n costs on this very item; samples that exceed it
    are cut off. The scorer is asked for its costs, not for scores."""

    name = "majority_same_tokens"
    needs_scorer = True

    def choose(self, answers: Sequence[str | None], scores: Sequence[float]) -> int | None:
        return Majority.choose(self, answers, scores)  # type: ignore[arg-type]

    def solve(self, asked: Sequence[Asked], policy: Policy, scorer: Scorer | None, budget: Budget) -> list[Result]:
        assert scorer is not None
        n, heat, longest = self.config.n, self.config.temperature, budget.max_new_tokens
        first = policy.sample(asked, [range(n)] * len(asked), heat, longest)
        answered = [[g for g in drawn if answer_of(item.record, g.text, g.finished) is not None] for item, drawn in zip(asked, first, strict=True)]
        costs = scorer.cost(asked, answered)
        limits = [min(budget.total_tokens, sum(g.tokens for g in drawn) + cost) for drawn, cost in zip(first, costs, strict=True)]
        drawn = [list(generations) for generations in first]
        while short := [i for i, limit in enumerate(limits) if sum(g.tokens for g in drawn[i]) < limit and len(drawn[i]) < MOST * n]:
            # Until every item's budget is used up. All draw equally many, the mean of what they lack, so that they share batches.
            count = max(1, round(sum(lacking(drawn[i], limits[i]) for i in short) / len(short)))
            more = [range(len(drawn[i]), len(drawn[i]) + count) for i in short]
            fresh = policy.sample([asked[i] for i in short], more, heat, longest)
            for i, generations in zip(short, fresh, strict=True):
                drawn[i] += generations
        return [self._voted(item, policy, generations, limit) for item, generations, limit in zip(asked, drawn, limits, strict=True)]

    def _voted(self, item: Asked, policy: Policy, generations: list, limit: float) -> Result:
        trace = Trace()
        for g in generations:
            answer = answer_of(item.record, g.text, g.finished)
            trace.add(item.record.id, g, policy.name, self.config.temperature, spans=policy.spans(item), answer=answer)
        trace.calls = [call for call, _, _ in within(trace.calls, None, limit)]
        return self._result(policy.prompt_tokens(item), trace, None, policy.name, None, limit)


def lacking(drawn: list, limit: float) -> float:
    """How many more samples the limit leaves room for, at their mean length so far."""
    spent = sum(g.tokens for g in drawn)
    return (limit - spent) / max(1.0, spent / len(drawn))
