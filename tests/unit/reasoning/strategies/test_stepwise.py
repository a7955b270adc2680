"""Search step by step on the toy problem, where every branch's worth is known."""

import pytest

from reasoning.scorers.chance import ChanceScorer
from reasoning.scorers.guide import RuleGuide
from reasoning.scorers.oracle import OracleScorer
from reasoning.strategies.base import Budget
from reasoning.strategies.beam import Beam, BeamConfig
from reasoning.strategies.dvts import DVTS
from reasoning.strategies.guided_greedy import GuidedGreedy
from reasoning.strategies.stepwise import StepConfig


def oracle():
    return OracleScorer(OracleScorer.config_class())


SEARCHES = [GuidedGreedy(StepConfig(n=8)), Beam(BeamConfig(n=8, width=4)), DVTS(BeamConfig(n=8, width=4))]


@pytest.mark.parametrize("strategy", SEARCHES, ids=lambda s: s.name)
def test_an_exact_guide_finds_the_way(strategy, policy, record):
    """Eight coins a step: a right one is nearly always there, and the oracle sees it."""
    records = [record(i) for i in range(20)]
    toy = policy()
    results = strategy.run_batch([toy.ask(r) for r in records], toy, oracle())
    assert sum(r.answer == "6" for r in results) >= 19
    blind = strategy.run_batch([toy.ask(r) for r in records], toy, ChanceScorer(ChanceScorer.config_class()))
    assert sum(r.answer == "6" for r in blind) < 12


@pytest.mark.parametrize("strategy", SEARCHES, ids=lambda s: s.name)
def test_one_by_one_as_together_and_the_trace_is_a_tree(strategy, policy, record):
    toy = policy()
    together = strategy.run_batch([toy.ask(record(i)) for i in range(5)], toy, oracle())
    for i, result in enumerate(together):
        alone = strategy.run(record(i), toy, oracle())
        assert alone.completion == result.completion and alone.ledger == result.ledger
        calls = result.trace.calls
        assert [c.call for c in calls] == list(range(len(calls))) and all(c.parent is None or c.parent < c.call for c in calls)
        ended = [c for c in calls if c.generation.finished and c.kept]
        assert any(result.trace.text(c) == result.completion for c in ended)
        assert result.ledger.tokens()["total"] == sum(c.generation.tokens for c in calls)
        assert result.ledger.tokens()["sequential"] <= result.ledger.tokens()["total"]
        assert all(set(row) >= {"parent", "text", "score", "kept"} for row in result.trace.outline()["calls"])


def test_what_each_keeps(policy, record):
    toy = policy()
    for strategy, first, later in [(SEARCHES[0], 8, 8), (SEARCHES[1], 8, 8), (SEARCHES[2], 8, 8)]:
        calls = strategy.run(record(), toy, oracle()).trace.calls
        roots = [c for c in calls if c.parent is None]
        assert len(roots) == first
        assert sum(c.kept for c in roots) == strategy.shape()[0] * strategy.shape()[1]
        children = [c for c in calls if c.parent is not None and calls[c.parent].parent is None]
        assert len(children) == later and {c.parent for c in children} == {c.call for c in roots if c.kept}


def test_a_branch_that_ends_without_an_answer_is_dropped(policy, record):
    class Mute(policy):
        def begin(self, asked):
            stepper = super().begin(asked)
            say = stepper._piece
            stepper._piece = lambda before, rng: "<answer></answer><|end|>" if "</think>" in before and rng.random() < 0.7 else say(before, rng)
            return stepper

    results = SEARCHES[0].run_batch([Mute().ask(record(i)) for i in range(10)], Mute(), oracle())
    assert all(r.answer is not None or not r.finished for r in results) and sum(r.answer is not None for r in results) >= 8
    assert {r.note for r in results if r.answer is None} <= {"no branch came to an answer"}


def test_the_last_round_runs_to_the_end(policy, record):
    result = GuidedGreedy(StepConfig(n=8, max_steps=2)).run(record(), policy(), oracle())
    assert result.answer == "6" and max(len(result.trace.chain(c)) for c in result.trace.calls) == 2


def test_budgets_are_kept(policy, record):
    whole = SEARCHES[0].run(record(), policy(), oracle()).ledger.tokens()["total"]
    for limit in (1, 40, 200, whole - 1):
        result = SEARCHES[0].run(record(), policy(), oracle(), Budget(200, limit))
        tokens = result.ledger.tokens()
        assert tokens["total"] + tokens["scorer_total"] <= limit
        if result.answer is None:
            assert not result.finished and result.completion == "" and "budget" in result.note
    assert SEARCHES[0].run(record(), policy(), oracle(), Budget(200, whole)).answer == "6"
    short = SEARCHES[0].run(record(), policy(), oracle(), Budget(20))
    assert short.answer is None and short.note == "no branch came to an answer"


def test_the_scorers_prompt_alone_may_use_up_the_budget(policy, record):
    class Reads(OracleScorer):
        def begin(self, asked):
            guide = RuleGuide(self.value, asked)
            guide.prompt_tokens = [100] * len(asked)
            return guide

    result = SEARCHES[0].run(record(), policy(), Reads(Reads.config_class()), Budget(200, 60))
    assert result.answer is None and result.ledger.tokens() == {"sequential": 0, "total": 0, "scorer_total": 60}


def test_settings_that_do_not_fit(policy, record):
    with pytest.raises(ValueError, match="not a multiple of width 4"):
        BeamConfig(n=6, width=4)
    with pytest.raises(ValueError, match="'guided_greedy' needs a scorer"):
        SEARCHES[0].run(record(), policy(), None)


def test_a_reward_model_guides_our_own_model(tiny):
    """Random weights: nothing is learned from it but that policy and reward model walk the same tree, each reading every token once."""
    from reasoning.policy import ModelPolicy
    from reasoning.scorers.prm import PRMScorer, PRMScorerConfig

    own, prm = ModelPolicy(tiny.model, tiny.processor), PRMScorer(PRMScorerConfig(), model=tiny.prm, processor=tiny.processor)
    results = Beam(BeamConfig(n=4, width=2, max_steps=3)).run_batch(tiny.asked(2), own, prm, Budget(12))
    for result in results:
        assert all(c.score is not None and 0 <= c.score <= 1 for c in result.trace.calls)
        assert result.answer is None and not result.finished  # such a model never closes an answer
        assert result.ledger.models["prm"].total >= 1
