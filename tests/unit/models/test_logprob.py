"""Everything over the vocabulary in chunks: equal to the plain computation, in value and gradient, whatever the chunk."""

import numpy as np
import pytest
import torch

from models import logprob


def problem(positions=7, width=5, vocab=11, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    hidden = torch.randn(positions, width, generator=rng, dtype=dtype, requires_grad=True)
    head = torch.randn(vocab, width, generator=rng, dtype=dtype, requires_grad=True)
    return hidden, head, torch.randint(vocab, (positions,), generator=rng)


def by_numpy(hidden, head, labels, temperature=1.0):
    logits = hidden.detach().numpy() @ head.detach().numpy().T / temperature
    logits = logits - logits.max(1, keepdims=True)
    norm = np.log(np.exp(logits).sum(1))
    probabilities = np.exp(logits - norm[:, None])
    logps = logits[np.arange(len(labels)), labels.numpy()] - norm
    return logps, -(probabilities * np.log(probabilities)).sum(1)


@pytest.mark.parametrize("elements", [1 << 24, 33, 11])  # one chunk, chunks of three positions (the last of one), chunks of one
def test_cross_entropy_and_its_gradients(monkeypatch, elements):
    monkeypatch.setattr(logprob, "CHUNK_ELEMENTS", elements)
    hidden, head, labels = problem()
    loss = logprob.cross_entropy(hidden, head, labels)
    assert loss.item() == pytest.approx(-by_numpy(hidden, head, labels)[0].sum(), rel=1e-12)
    found = torch.autograd.grad(loss, (hidden, head))
    plain = torch.nn.functional.cross_entropy(hidden @ head.T, labels, reduction="sum")
    for ours, expected in zip(found, torch.autograd.grad(plain, (hidden, head)), strict=True):
        assert torch.allclose(ours, expected, rtol=1e-12)


@pytest.mark.parametrize("elements", [1 << 24, 22])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_chosen_logps_and_entropy(monkeypatch, elements, temperature):
    monkeypatch.setattr(logprob, "CHUNK_ELEMENTS", elements)
    hidden, head, chosen = problem()
    logps, entropy, norm = logprob.chosen_logps(hidden, head, chosen, temperature)
    expected, expected_entropy = by_numpy(hidden, head, chosen, temperature)
    assert np.allclose(logps.detach().numpy(), expected) and np.allclose(entropy.numpy(), expected_entropy)
    assert torch.allclose(norm, torch.logsumexp(hidden @ head.T / temperature, -1).detach())
    assert logps.requires_grad and not entropy.requires_grad and not norm.requires_grad
    torch.autograd.gradcheck(lambda h, w: logprob.chosen_logps(h, w, chosen, temperature)[0], (hidden, head))


def test_uniform_by_hand():
    """A zero head: every token has probability 1/8, so the log-probability is -ln 8 and the entropy ln 8."""
    hidden, head = torch.randn(3, 4), torch.zeros(8, 4)
    logps, entropy, _ = logprob.chosen_logps(hidden, head, torch.tensor([0, 3, 7]))
    assert torch.allclose(logps, torch.full((3,), -float(np.log(8)))) and torch.allclose(entropy, -logps)
    assert logprob.cross_entropy(hidden, head, torch.tensor([1, 1, 1])).item() == pytest.approx(3 * np.log(8))


def test_no_positions_and_bfloat16():
    hidden, head, _ = problem(dtype=torch.float32)
    assert logprob.cross_entropy(hidden[:0], head, torch.empty(0, dtype=torch.long)).item() == 0
    logps, _, _ = logprob.chosen_logps(hidden.bfloat16(), head.bfloat16(), torch.zeros(7, dtype=torch.long))
    assert logps.dtype == torch.float32  # the log-sum-exp is never in half precision


def test_full_logits_are_never_held(monkeypatch):
    """The widest tensor that forward and backward make has no more elements than a chunk allows."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            largest.append(max((t.numel() for t in (out if isinstance(out, (tuple, list)) else [out]) if isinstance(t, torch.Tensor)), default=0))
            return out

    monkeypatch.setattr(logprob, "CHUNK_ELEMENTS", 4 * 500)
    hidden, head, labels = problem(64, 3, 500)
    with Watch():
        logprob.cross_entropy(hidden, head, labels).backward()
    assert max(largest) <= 4 * 500 < 64 * 500
