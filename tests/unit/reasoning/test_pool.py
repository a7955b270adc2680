"""What a scorer said is asked of it once, and means and costs the same to everyone who asks."""

from reasoning.pool import PooledScorer
from reasoning.scorers.base import Scored, Scorer, ScorerConfig
from reasoning.strategies.best_of_n import BestOfN
from reasoning.strategies.weighted_majority import WeightedMajority
from tests.unit.reasoning.toy import ToyPolicy, toy


class Counter(Scorer):
    """Values a candidate by its length, reads a token a character, and counts the items that it was asked about."""

    name = "counter"

    def __init__(self, seed=0):
        super().__init__(ScorerConfig(), seed)
        self.asked = 0

    def score(self, asked, solutions):
        self.asked += len(asked)
        return [Scored([float(len(g.text)) + g.k / 10 for g in mine], [[] for _ in mine], [len(g.text) for g in mine], 3) for mine in solutions]

    def cost(self, asked, solutions):
        return [7] * len(asked)


def results(scorer, n=4):
    asked = [ToyPolicy().ask(toy(i)) for i in range(5)]
    return [
        strategy(strategy.config_class(n=n)).run_batch(asked, ToyPolicy(seed=1), scorer)
        for strategy in (BestOfN, WeightedMajority)
    ]  # fmt: skip


def told(results):
    return [[(r.answer, r.completion, r.ledger.tokens(), [c.score for c in r.trace.calls]) for r in of_one] for of_one in results]


def test_two_strategies_hear_a_scorer_once_and_pay_as_if_they_had_been_alone():
    alone, shared, memory = Counter(), Counter(), {}
    pooled = PooledScorer(shared, memory)
    assert told(results(pooled)) == told(results(alone))
    assert (alone.asked, shared.asked, len(memory)) == (10, 5, 5)
    assert (pooled.name, pooled.fingerprint, pooled.cost([1, 2], [])) == ("counter", alone.fingerprint, [7, 7])


def test_other_candidates_and_other_scorers_are_asked_again():
    first, second, memory = Counter(), Counter(seed=1), {}
    results(PooledScorer(first, memory))
    results(PooledScorer(first, memory), n=3)
    assert first.asked == 10
    results(PooledScorer(second, memory))  # another fingerprint
    assert second.asked == 5


def test_the_same_question_twice_in_a_batch_is_asked_once():
    scorer, memory = Counter(), {}
    policy = ToyPolicy(seed=1)
    asked = [policy.ask(toy(0)), policy.ask(toy(0))]
    one, two = BestOfN(BestOfN.config_class(n=2)).run_batch(asked, policy, PooledScorer(scorer, memory))
    assert scorer.asked == 1 and one.answer == two.answer
