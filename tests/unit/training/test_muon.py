"""Our float32 Muon against torch's bfloat16 one, and what orthogonalising means."""

import pytest
import torch

from training.muon import Muon, orthogonalise


def test_singular_values_come_out_near_one():
    batch = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(batch))
    assert values.min() > 0.6 and values.max() < 1.3  # the quintic's known band
    torch.testing.assert_close(orthogonalise(batch.mT), orthogonalise(batch).mT)


def test_same_update_as_torch_up_to_bfloat16():
    g = torch.Generator().manual_seed(1)
    start = [torch.randn(shape, generator=g) for shape in ((16, 16), (32, 16), (16, 32), (16, 16))]
    mine, theirs = ([torch.nn.Parameter(p.clone()) for p in start] for _ in range(2))
    pair = (Muon(mine, lr=0.02, momentum=0.95, weight_decay=0.1), torch.optim.Muon(theirs, lr=0.02, momentum=0.95, weight_decay=0.1))
    for _ in range(4):
        for a, b in zip(mine, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=g)
            b.grad = a.grad.clone()
        for optimizer in pair:
            optimizer.step()
    for a, b, s in zip(mine, theirs, start, strict=True):
        moved = (a - s).norm()
        assert (a - b).norm() < 0.02 * moved


def test_only_matrices():
    with pytest.raises(ValueError, match="matrices only"):
        Muon([torch.nn.Parameter(torch.zeros(3))])
