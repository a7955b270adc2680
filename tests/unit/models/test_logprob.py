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
    monkeypatch.setattr(logprob, "CHUNK_POSITIONS", 1)
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
    monkeypatch.setattr(logprob, "CHUNK_POSITIONS", 1)
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
    monkeypatch.setattr(logprob, "CHUNK_POSITIONS", 1)
    hidden, head, labels = problem(64, 3, 500)
    with Watch():
        logprob.cross_entropy(hidden, head, labels).backward()
    assert max(largest) <= 4 * 500 < 64 * 500


@pytest.mark.parametrize("elements", [1 << 24, 22])
def test_backward_twice_and_only_what_is_asked_for(monkeypatch, elements):
    """A second backward pass gives the same; a frozen head or frozen hidden states get no gradient."""
    monkeypatch.setattr(logprob, "CHUNK_ELEMENTS", elements)
    monkeypatch.setattr(logprob, "CHUNK_POSITIONS", 1)
    hidden, head, chosen = problem()
    total = logprob.chosen_logps(hidden, head, chosen)[0].sum()
    first = torch.autograd.grad(total, (hidden, head), retain_graph=True)
    for once, again in zip(first, torch.autograd.grad(total, (hidden, head)), strict=True):
        assert torch.allclose(once, again, rtol=1e-12)
    frozen = logprob.chosen_logps(hidden, head.detach(), chosen)[0].sum()
    assert torch.allclose(torch.autograd.grad(frozen, hidden)[0], first[0], rtol=1e-12)
    frozen = logprob.cross_entropy(hidden.detach(), head, chosen)
    assert torch.allclose(torch.autograd.grad(frozen, head)[0], -first[1], rtol=1e-12)


def test_under_autocast_as_without_but_in_bfloat16():
    hidden, head, chosen = problem(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logps, _, _ = logprob.chosen_logps(hidden, head, chosen)
    rounded = [x.detach().bfloat16().requires_grad_() for x in (hidden, head)]
    expected, _, _ = logprob.chosen_logps(*rounded, chosen)
    assert logps.dtype == torch.float32 and torch.equal(logps, expected)
    for found, wanted in zip(torch.autograd.grad(logps.sum(), (hidden, head)), torch.autograd.grad(expected.sum(), rounded), strict=True):
        assert found.dtype == torch.float32 and torch.equal(found, wanted.float())
