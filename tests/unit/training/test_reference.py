"""The reference of the KL term: what it computes, and that the policy comes back to the bit."""

import copy

import pytest
import torch

from models.configuration import FocalConfig
from models.lora import add_lora
from models.modeling import FocalModel
from training.reference import Reference

IDS = torch.tensor([[1, 5, 9, 3]])


def model(lora=False):
    torch.manual_seed(0)
    llm = {
        "model_type": "qwen3", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 8, "tie_word_embeddings": True,
    }  # fmt: skip
    built = FocalModel(FocalConfig(llm=llm, streams={}))
    if lora:
        add_lora(built, {"rank": 2, "alpha": 4.0, "dropout": 0.5, "targets": ["q_proj"], "parts": ["llm"]})
    return built


def move(built):
    """Train a little: every trained parameter changes."""
    with torch.no_grad():
        for i, p in enumerate(p for p in built.parameters() if p.requires_grad):
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))


def hidden(built):
    return built.hidden_states(IDS)


@pytest.mark.parametrize("lora", [False, True])
def test_start_is_the_policy_at_the_start(lora):
    policy = model(lora)
    if lora:
        move(policy)  # adapters that an earlier stage has trained
    frozen = copy.deepcopy(policy).eval()
    reference = Reference(policy)
    move(policy)
    policy.train()
    before = {n: p.detach().clone() for n, p in policy.named_parameters()}
    with reference.active():
        assert not policy.training and not torch.is_grad_enabled()
        assert torch.equal(hidden(policy), hidden(frozen))
    assert policy.training and torch.is_grad_enabled()
    assert all(torch.equal(p, before[n]) for n, p in policy.named_parameters())
    assert not torch.equal(hidden(policy.eval()), hidden(frozen))
    if lora:
        assert all("lora_" in name for name in reference.kept)  # not a second model


def test_base_is_the_model_below_the_adapters():
    plain = model().eval()
    policy = model(lora=True)
    move(policy)
    learns = {n: p.requires_grad for n, p in policy.named_parameters()}
    reference = Reference(policy, "base")
    assert reference.kept == {}
    with reference.active():
        torch.testing.assert_close(hidden(policy), hidden(plain), rtol=0, atol=0)
    assert {n: p.requires_grad for n, p in policy.named_parameters()} == learns
    assert not torch.equal(hidden(policy.eval()), hidden(plain))


def test_the_policy_comes_back_after_an_error():
    policy = model()
    reference = Reference(policy)
    move(policy)
    before = {n: p.detach().clone() for n, p in policy.named_parameters()}
    with pytest.raises(RuntimeError, match="in the middle"), reference.active():
        raise RuntimeError("in the middle")
    assert all(torch.equal(p, before[n]) for n, p in policy.named_parameters())


def test_base_needs_adapters():
    with pytest.raises(ValueError, match="this model has none"):
        Reference(model(), "base")
