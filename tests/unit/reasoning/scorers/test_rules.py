"""Scorers without a model of their own: the ceiling, the controls, and the policy as its own judge."""

import pytest
import torch

from data import protocol
from reasoning.policy import ModelPolicy
from reasoning.scorers.chance import ChanceScorer
from reasoning.scorers.oracle import OracleScorer
from reasoning.scorers.self_judge import SelfJudgeConfig, SelfJudgeScorer
from reasoning.scorers.shortest import ShortestScorer
from reasoning.trace import Generation
from tests.unit.reasoning.toy import ToyPolicy, solution, toy


def generations(*texts):
    return [Generation(k, k, text, len(text), True) for k, text in enumerate(texts)]


def test_the_oracle_reads_gold_and_the_facts():
    policy, oracle = ToyPolicy(), OracleScorer(OracleScorer.config_class())
    asked = [policy.ask(toy())]
    texts = (solution(1, 2, 3), solution(1, 2, 4), solution(9, 9, 9, answer="6.0"))
    assert oracle.score(asked, [generations(*texts)])[0].values == [1.0, 0.0, 1.0]
    guide = oracle.begin(asked)
    judged = guide.judge([0, 0, 0], ["<think>a: 1\n", "<think>a: 2\n", "<think>\n"])
    assert [j.value for j in judged] == [1.0, 0.0, 1.0]
    assert [j.value for j in guide.judge([2, 0], [texts[1], texts[0]])] == [0.0, 1.0]


def test_controls_know_nothing_and_cost_nothing():
    policy = ToyPolicy()
    asked, texts = [policy.ask(toy(i)) for i in range(2)], generations(solution(1, 2, 3), solution(1, 2, 30))
    chance = ChanceScorer(ChanceScorer.config_class(), seed=1)
    found = chance.score(asked, [texts, texts])
    assert found[0].values != found[1].values and all(0 <= v < 1 for row in found for v in row.values)
    assert chance.score(asked[:1], [texts])[0].values == found[0].values
    assert ChanceScorer(ChanceScorer.config_class(), seed=2).score(asked[:1], [texts])[0].values != found[0].values
    assert chance.fingerprint != ChanceScorer(ChanceScorer.config_class(), seed=2).fingerprint
    short = ShortestScorer(ShortestScorer.config_class()).score(asked, [texts, texts])[0]
    assert short.values[0] > short.values[1] and short.tokens == [0, 0] and short.prompt_tokens == 0
    assert chance.cost(asked, [texts, texts]) == [0, 0]


def test_the_policy_judges_itself_as_one_plain_pass_would(tiny):
    judge = SelfJudgeScorer(SelfJudgeConfig())
    judge.bind(ModelPolicy(tiny.model, tiny.processor))
    item = tiny.asked(1)[0]
    texts = ("<think>a: 1\nb: 2</think><answer>6</answer>", "<think>a: 1\nb: 5</think><answer>6</answer>", "<think>")
    found = judge.score([item], [generations(*texts)])[0]
    before, behind = judge.layout(item)
    letters = [tiny.processor.tokenizer(x, add_special_tokens=False)["input_ids"][0] for x in "AB"]
    for text, steps in zip(texts[:2], found.steps, strict=False):
        parts = judge.parts(text)
        assert len(steps) == len(parts) == 3
        for i, score in enumerate(steps):
            whole = tiny.processor.encode(before, item.media, "".join(parts[: i + 1]) + behind)
            batch = dict(tiny.processor.collate([whole], "right"))
            batch.pop("labels")
            with torch.no_grad():
                logits = tiny.model(**batch).logits[0, -1, letters]
            assert score == pytest.approx(float(logits.softmax(-1)[0]), abs=1e-5)
    assert found.values[0] == min(found.steps[0]) and found.values[2] is None
    # The shared step is read once, and its question is asked once.
    assert judge.cost([item], [generations(*texts)]) == [found.prompt_tokens + sum(found.tokens)]
    assert found.steps[0][0] == found.steps[1][0]


def test_as_a_whole_it_is_asked_once(tiny):
    judge = SelfJudgeScorer(SelfJudgeConfig(mode="whole"))
    judge.bind(ModelPolicy(tiny.model, tiny.processor))
    found = judge.score(tiny.asked(1), [generations("<think>a: 1\nb: 2</think><answer>6</answer>")])[0]
    assert len(found.steps[0]) == 1 and judge.name == "self_judge_whole" and 0 < found.values[0] < 1
    assert protocol.STEP not in "".join(judge.parts("<think>a: <|step|></think><answer>6</answer>"))


def test_only_our_own_model_can_judge_itself():
    with pytest.raises(ValueError, match="ToyPolicy does not give"):
        SelfJudgeScorer(SelfJudgeConfig()).bind(ToyPolicy())
