"""Search over steps. One engine, three settings: how many trees a question gets, how many branches a tree keeps, how many children a branch has.

Each round every kept branch grows `width` children by one step; the scorer reads the new steps; each tree keeps its best. A branch that ends without
an answer is dropped; the last round runs to the end of the completion. What has not ended then, or does not fit the budget, is no answer.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from configs.schema import Strict
from data.worlds.base import generator
from reasoning.ledger import Ledger
from reasoning.policy import MAX_ROWS, Asked, Policy
from reasoning.scorers.base import Scorer
from reasoning.scorers.guide import Judged
from reasoning.stepping import ended_step
from reasoning.strategies.base import Budget, Result, Strategy
from reasoning.strategies.voting import best_of
from reasoning.trace import Call, Generation, Trace, answer_of


class StepConfig(Strict):
    """`n`: branches side by side. `max_steps`: rounds, the last of which runs to the end."""

    n: int = Field(8, ge=1)
    temperature: float = Field(1.0, gt=0)
    max_steps: int = Field(40, ge=1)


@dataclasses.dataclass
class Branch:
    """A node of a tree: its call, the row it stands on, its text and tokens from the beginning."""

    call: Call | None
    row: int
    text: str = ""
    tokens: int = 0

    @property
    def ended(self) -> bool:
        return self.call is not None and self.call.generation.finished


@dataclasses.dataclass
class Search:
    """The state of one item."""

    asked: Asked
    trace: Trace
    trees: list[list[Branch]]
    generated: int = 0
    sequential: int = 0
    read: int = 0
    stopped: bool = False

    def charge(self, written: int, read: int, limit: float) -> bool:
        """Book tokens up to the limit; False, and the end of the search, where they do not all fit."""
        room = limit - self.generated - self.read
        self.generated += int(min(written, room))
        self.read += int(min(read, max(0, room - written)))
        self.stopped |= written + read >= room
        return written + read <= room

    def growing(self) -> list[tuple[int, Branch]]:
        if self.stopped:
            return []
        return [(t, branch) for t, tree in enumerate(self.trees) for branch in tree if not branch.ended]


class StepStrategy(Strategy):
    """`shape()` is (trees, branches kept per tree, children per branch)."""

    needs_scorer = True
    config_class: ClassVar[type[Strict]] = StepConfig

    def shape(self) -> tuple[int, int, int]:
        raise NotImplementedError

    def solve(self, asked: Sequence[Asked], policy: Policy, scorer: Scorer | None, budget: Budget) -> list[Result]:
        assert scorer is not None
        trees, keep, width = self.shape()
        size = max(1, MAX_ROWS // (trees * keep * width))
        results: list[Result] = []
        for start in range(0, len(asked), size):
            results += self._solve(asked[start : start + size], policy, scorer, budget)
        return results

    def _solve(self, asked: Sequence[Asked], policy: Policy, scorer: Scorer, budget: Budget) -> list[Result]:
        trees, _, _ = self.shape()
        stepper, guide = policy.begin(asked), scorer.begin(asked)
        searches = [Search(item, Trace(), [[Branch(None, i)] for _ in range(trees)]) for i, item in enumerate(asked)]
        for search, tokens in zip(searches, guide.prompt_tokens, strict=True):
            search.charge(0, tokens, budget.total_tokens)
        for turn in range(self.config.max_steps):
            grown = self._children(searches)
            if not grown:
                break
            last = turn == self.config.max_steps - 1
            room = [max(1, budget.max_new_tokens - branch.tokens) for _, _, branch in grown]
            ks, seeds = self._numbers(grown, policy)
            parents = [branch.row for _, _, branch in grown]
            made = stepper.grow(parents, ks, seeds, self.config.temperature, max(room), whole=last)
            texts = [branch.text + g.text for (_, _, branch), g in zip(grown, made, strict=True)]
            judged = guide.judge(parents, texts)
            self._advance(searches, grown, made, texts, judged, policy, room, budget, last)
        return [self._result(search, policy, scorer) for search in searches]

    def _children(self, searches: Sequence[Search]) -> list[tuple[Search, int, Branch]]:
        """Every child to grow: (item, tree, parent). A tree that has one branch only, its root, gives it the children of all that it may keep."""
        _, keep, width = self.shape()
        grown = []
        for search in searches:
            for t, branch in search.growing():
                count = width * keep if branch.call is None else width
                grown += [(search, t, branch)] * count
        return grown

    def _numbers(self, grown: Sequence[tuple[Search, int, Branch]], policy: Policy) -> tuple[list[int], list[int]]:
        """Each child's number within its item, and its seed, which follows from that alone."""
        ks: list[int] = []
        counts: dict[int, int] = {}
        for search, _, _ in grown:
            at = counts.setdefault(id(search), len(search.trace.calls))
            ks.append(at)
            counts[id(search)] = at + 1
        seeds = [
            int(generator(policy.seed, "step", search.asked.record.id, k).integers(1 << 62)) for (search, _, _), k in zip(grown, ks, strict=True)
        ]
        return ks, seeds

    def _advance(
        self, searches: Sequence[Search], grown: Sequence[tuple[Search, int, Branch]], made: Sequence[Generation], texts: Sequence[str],
        judged: Sequence[Judged], policy: Policy, room: Sequence[int], budget: Budget, last: bool,
    ) -> None:  # fmt: skip
        """Book the children, and keep the best of each tree."""
        _, keep, _ = self.shape()
        fresh: dict[tuple[int, int], list[Branch]] = {}
        rounds: dict[int, int] = {}
        for row, ((search, t, parent), g, text, verdict, left) in enumerate(zip(grown, made, texts, judged, room, strict=True)):
            answer = answer_of(search.asked.record, text, g.finished)
            spans = policy.spans(search.asked) if parent.call is None else []
            call = search.trace.add(
                search.asked.record.id, g, policy.name, self.config.temperature, parent=None if parent.call is None else parent.call.call,
                spans=spans, answer=answer, scores=verdict.steps, score=verdict.value,
            )  # fmt: skip
            whole = search.charge(min(g.tokens, left), verdict.tokens, budget.total_tokens)
            rounds[id(search)] = max(rounds.get(id(search), 0), min(g.tokens, left))
            alive = answer is not None if g.finished else ended_step(g.text) and not last
            if alive and whole and g.tokens <= left:
                fresh.setdefault((id(search), t), []).append(Branch(call, row, text, parent.tokens + g.tokens))
        for search in searches:
            search.sequential += rounds.get(id(search), 0)
            for t, tree in enumerate(search.trees):
                if any(not branch.ended for branch in tree):
                    pool = [branch for branch in tree if branch.ended] + fresh.get((id(search), t), [])
                    pool.sort(key=lambda b: -value(b))
                    search.trees[t] = pool[:keep]
                    for branch in search.trees[t]:
                        assert branch.call is not None
                        branch.call.kept = True

    def _result(self, search: Search, policy: Policy, scorer: Scorer) -> Result:
        ledger = Ledger()
        ledger.charge(policy.name, "policy", prompt=policy.prompt_tokens(search.asked), generated=search.generated, sequential=search.sequential)
        ledger.charge(scorer.name, "scorer", generated=search.read)
        ended = [branch.call for branch in self.leaves(search) if branch.ended and branch.call is not None]
        chosen = best_of([call.answer for call in ended], [0.0 if call.score is None else call.score for call in ended])
        if chosen is None:
            note = "the budget was used up before a branch ended" if search.stopped else "no branch came to an answer"
            return Result(None, "", search.trace, ledger, finished=False, note=note)
        return Result(ended[chosen].answer, search.trace.text(ended[chosen]), search.trace, ledger)

    def leaves(self, search: Search) -> list[Branch]:
        """The branches among which the answer is chosen."""
        return [branch for tree in search.trees for branch in tree]


def value(branch: Branch) -> float:
    assert branch.call is not None and branch.call.score is not None
    return branch.call.score
