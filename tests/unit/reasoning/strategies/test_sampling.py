"""Strategies over whole samples: the worked rows of voting through canonical answers, budgets, what is no answer, costs that are compared."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoning.scorers.aggregate import aggregate
from reasoning.scorers.base import Scored, Scorer, ScorerConfig
from reasoning.scorers.oracle import OracleScorer
from reasoning.scorers.shortest import ShortestScorer
from reasoning.strategies.base import Budget
from reasoning.strategies.best_of_n import BestOfN
from reasoning.strategies.greedy import Greedy, GreedyConfig
from reasoning.strategies.majority import Majority
from reasoning.strategies.majority_same_tokens import MajoritySameTokens
from reasoning.strategies.sample import Sample, SampleConfig
from reasoning.strategies.sampling import SamplingConfig
from reasoning.strategies.weighted_majority import WeightedMajority
from tests.unit.reasoning.toy import END, ToyPolicy, solution, toy

RAW, SCORES = ["10", "12", "12", "10.0", "7"], [0.9, 0.4, 0.45, 0.3, 0.95]
TEXTS = [f"<think>a: 1</think><answer>{a}</answer>{END}" for a in RAW]


class Given(Scorer):
    """Scores that are written down: one per sample number; `prompt` and `each` tokens are read for the prompt and for each candidate."""

    name = "given"

    def __init__(self, scores, prompt=0, each=0):
        super().__init__(ScorerConfig())
        self.scores, self.prompt, self.each = scores, prompt, each

    def score(self, asked, solutions):
        return [Scored([self.scores[g.k] for g in row], [[] for _ in row], [self.each] * len(row), self.prompt if row else 0) for row in solutions]

    def cost(self, asked, solutions):
        return [self.prompt * bool(row) + self.each * len(row) for row in solutions]


def run(strategy, texts=TEXTS, scorer=None, budget=None, n=5):
    return strategy(SamplingConfig(n=n)).run(toy(), ToyPolicy({"toy-0": texts}), scorer, budget)


def test_worked_rows_of_voting():
    assert run(Majority).answer == "10"  # 10 and 10.0 are one answer; it ties with 12 and was seen first
    assert run(WeightedMajority, scorer=Given(SCORES)).answer == "10"  # 1.2 against .95 and .85
    assert run(BestOfN, scorer=Given(SCORES)).answer == "7"
    assert {run(s, n=1, scorer=Given(SCORES)).answer for s in (Majority, WeightedMajority, BestOfN)} == {"10"}


def test_the_completion_is_the_first_that_says_the_answer():
    assert run(Majority).completion == TEXTS[0] and run(BestOfN, scorer=Given(SCORES)).completion == TEXTS[4]
    trace = run(BestOfN, scorer=Given(SCORES)).trace
    assert [c.kept for c in trace.calls] == [False] * 4 + [True] and [c.score for c in trace.calls] == SCORES
    assert [c.answer for c in trace.calls] == ["10", "12", "12", "10", "7"]


def test_the_oracle_is_pass_at_n():
    oracle = OracleScorer(OracleScorer.config_class())
    policy = ToyPolicy(luck=0.3)
    for i in range(12):
        result = BestOfN(SamplingConfig(n=6)).run(toy(i), policy, oracle)
        assert (result.answer == "6") == any(c.answer == "6" for c in result.trace.calls)


def test_what_is_no_answer_has_no_vote():
    cut = "<think>a: 1</think><answer>9</answer>"  # complete to look at, but it did not end by itself
    texts = [cut, cut, "", "no delimiter", TEXTS[0]]
    assert run(Majority, texts).answer == "10"
    nothing = run(Majority, ["", "<think>", f"words{END}"], n=3)
    assert nothing.answer is None and nothing.completion == f"words{END}" and nothing.note == "no completion has an answer that can be chosen"
    never = run(Majority, [cut], n=2)
    assert never.answer is None and not never.finished and never.note == "no completion ended within the budget"
    unscored = run(BestOfN, TEXTS, Given([None, 0.2, 0.1, None, None]))
    assert unscored.answer == "12"
    with pytest.raises(ValueError, match="NaN"):
        run(BestOfN, TEXTS, Given([math.nan] * 5))


def test_greedy_and_sample():
    policy = ToyPolicy({"toy-0": TEXTS})
    greedy = Greedy(GreedyConfig()).run(toy(), policy)
    assert greedy.answer == "10" and greedy.ledger.tokens() == {"sequential": len(TEXTS[0]), "total": len(TEXTS[0]), "scorer_total": 0}
    assert Sample(SampleConfig(temperature=0.5)).run(toy(), policy).answer == "10"
    for wrong in (lambda: GreedyConfig(temperature=1.0), lambda: SampleConfig(temperature=0), lambda: SamplingConfig(n=0)):
        with pytest.raises(ValueError, match=r"temperature|n\n"):
            wrong()


def test_a_budget_cuts_off_what_does_not_fit():
    size = len(TEXTS[0])
    two = run(Majority, budget=Budget(200, 2 * len(TEXTS[0]) + 3))
    assert two.answer == "10" and two.ledger.tokens()["total"] == 2 * size + 3  # the third sample was begun
    small = run(Majority, budget=Budget(200, size - 1))
    assert small.answer is None and small.ledger.tokens()["total"] == size - 1 and not small.finished
    with_scorer = run(BestOfN, scorer=Given(SCORES, prompt=30, each=10), budget=Budget(200, 30 + 2 * (size + 10)))
    assert with_scorer.answer == "10" and with_scorer.ledger.tokens()["scorer_total"] == 50
    for wrong in ((0, 10), (10, 0), (10, math.nan)):
        with pytest.raises(ValueError, match="leaves nothing to generate"):
            Budget(*wrong)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 8), st.booleans())
def test_no_budget_is_ever_exceeded(limit, n, scored):
    scorer = Given([0.5] * 9, prompt=20, each=7)
    result = (BestOfN if scored else Majority)(SamplingConfig(n=n)).run(toy(), ToyPolicy(), scorer, Budget(200, limit))
    tokens = result.ledger.tokens()
    assert tokens["total"] + tokens["scorer_total"] <= limit
    whole = BestOfN(SamplingConfig(n=n)).run(toy(), ToyPolicy(), scorer).ledger.tokens()
    if limit >= whole["total"] + whole["scorer_total"]:
        assert result.answer is not None


def test_majority_at_the_same_tokens_draws_what_the_scorer_costs():
    policy, scorer = ToyPolicy(), Given([0.5] * 100, prompt=100, each=30)
    best = BestOfN(SamplingConfig(n=4)).run_batch([policy.ask(toy(i)) for i in range(6)], policy, scorer)
    fair = MajoritySameTokens(SamplingConfig(n=4)).run_batch([policy.ask(toy(i)) for i in range(6)], policy, scorer)
    for b, f in zip(best, fair, strict=True):
        cost = b.ledger.tokens()
        assert f.ledger.tokens() == {"sequential": f.ledger.tokens()["sequential"], "total": cost["total"] + cost["scorer_total"], "scorer_total": 0}
        assert len(f.trace.calls) > 4 and [c.generation.k for c in f.trace.calls] == list(range(len(f.trace.calls)))
    free = MajoritySameTokens(SamplingConfig(n=4)).run(toy(), policy, Given([0.5] * 100))
    assert free.completion == Majority(SamplingConfig(n=4)).run(toy(), policy).completion and len(free.trace.calls) == 4


def test_scores_below_zero_are_not_added_up():
    with pytest.raises(ValueError, match="below 0"):
        run(WeightedMajority, scorer=ShortestScorer(ShortestScorer.config_class()))
    short = run(BestOfN, [TEXTS[1] + " ", TEXTS[4], solution(1, 2, 3)], ShortestScorer(ShortestScorer.config_class()), n=3)
    assert short.answer == "7"


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=5), min_size=1, max_size=6), st.sampled_from(["min", "prod", "mean", "geo", "last"]))
@settings(max_examples=40, deadline=None)
def test_best_of_n_takes_the_largest_aggregate(rows, how):
    scores = [aggregate(row, how) for row in rows]
    texts = [f"<think>a: 1</think><answer>{i}</answer>{END}" for i in range(len(rows))]
    assert run(BestOfN, texts, Given(scores), n=len(rows)).answer == str(scores.index(max(scores)))
