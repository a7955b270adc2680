"""The process reward model: one pass, no label in the context, a loss that is what it says."""

import math

import pytest
import torch

from data import protocol
from data.solutions import mark_steps
from models.configuration import FocalConfig
from models.modeling import FocalModel
from models.prm import FocalPRM, step_loss

STEP = 60


def policy():
    torch.manual_seed(0)
    llm = {
        "model_type": "qwen3", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "tie_word_embeddings": True,
    }  # fmt: skip
    return FocalModel(FocalConfig(llm=llm, streams={}))


def test_it_starts_from_the_policy_and_is_undecided():
    model = policy()
    prm = FocalPRM.from_policy(model, STEP).eval()
    ids = torch.tensor([[1, 2, STEP, 3, STEP], [4, STEP, 0, 0, 0]])
    mask = (ids != 0).long()
    assert prm.step_scores(ids, mask) == [[0.5, 0.5], [0.5]]
    torch.testing.assert_close(prm.hidden_states(ids, mask), model.eval().hidden_states(ids, mask))


def test_later_steps_cannot_reach_back_and_padding_does_not_matter():
    prm = FocalPRM.from_policy(policy(), STEP).eval()
    torch.nn.init.normal_(prm.judge.weight)
    one = prm.step_logits(torch.tensor([[1, 2, STEP, 3, 4, STEP]]))
    other = prm.step_logits(torch.tensor([[1, 2, STEP, 9, 9, STEP]]))
    torch.testing.assert_close(one[0], other[0], rtol=0, atol=1e-6)
    assert not torch.allclose(one[1], other[1])
    padded = prm.step_logits(torch.tensor([[1, 2, STEP, 3, 4, STEP, 0], [5, STEP, 6, 6, 6, 6, 6]]), torch.tensor([[1] * 6 + [0], [1] * 7]))
    torch.testing.assert_close(padded[:2], one, rtol=1e-5, atol=1e-5)


def test_a_checkpoint_keeps_its_head(tmp_path):
    prm = FocalPRM.from_policy(policy(), STEP).eval()
    torch.nn.init.normal_(prm.judge.weight)
    prm.save_pretrained(tmp_path)
    again = FocalPRM.from_pretrained(tmp_path).eval()
    ids = torch.tensor([[1, 2, STEP]])
    assert torch.equal(prm.step_logits(ids), again.step_logits(ids))


def test_a_placeholder_is_needed():
    with pytest.raises(ValueError, match="step_token_id"):
        FocalPRM(policy().config)


def test_soft_cross_entropy():
    # q = .25 against p = .25: -(.25 ln .25 + .75 ln .75) = .562335, and the gradient there is zero.
    logits = torch.tensor([[math.log(0.75), math.log(0.25)]], requires_grad=True)
    loss = step_loss(logits, torch.tensor([0.25]))
    assert loss.item() == pytest.approx(0.562335, abs=1e-6)
    loss.backward()
    assert logits.grad.abs().max() < 1e-7


def test_unmeasured_steps_take_no_part_and_wrong_ones_can_weigh_more():
    logits = torch.tensor([[0.0, 0.0], [5.0, -5.0], [0.0, 2.0]])
    targets = torch.tensor([1.0, float("nan"), 0.0])
    right, wrong = math.log(2), math.log(1 + math.exp(2))
    assert step_loss(logits, targets).item() == pytest.approx((right + wrong) / 2, rel=1e-6)
    assert step_loss(logits, targets, balance=3.0).item() == pytest.approx((right + 3 * wrong) / 4, rel=1e-6)
    assert step_loss(logits, torch.full((3,), float("nan"))).item() == 0.0


def test_steps_are_marked_and_text_cannot_pose_as_a_mark():
    text = f"<think>a: 1\nb: <|step|> 2</think><answer>3{protocol.STEP}</answer>"
    assert mark_steps(protocol.parse(text)) == "<think>a: 1<|step|>\nb: < |step|> 2<|step|></think><answer>3< |step|></answer><|step|>"
    assert mark_steps(protocol.parse("<think></think><answer>3</answer>")) == "<think></think><answer>3</answer><|step|>"
    with pytest.raises(ValueError, match="no solution"):
        mark_steps(protocol.parse("<think>a: 1</think>"))
