"""Projectors: shapes and counts they promise, neighbours they merge, padding they ignore."""

import pytest
import torch

from models.projector import (
    LinearConfig,
    LinearProjector,
    MergeConfig,
    MergeProjector,
    MLPConfig,
    MLPProjector,
    ResamplerConfig,
    ResamplerProjector,
)

ALL = {
    "linear": (LinearProjector, LinearConfig(), 16),
    "mlp": (MLPProjector, MLPConfig(hidden_factor=0.5), 16),
    "time": (MergeProjector, MergeConfig(factor=3), 6),  # ceil(16 / 3)
    "grid": (MergeProjector, MergeConfig(factor=2, grid=True), 4),
    "resampler": (ResamplerProjector, ResamplerConfig(queries=5, heads=2), 5),
}


@pytest.mark.parametrize("name", ALL)
def test_promised_counts_and_gradients(name):
    kind, config, expected = ALL[name]
    torch.manual_seed(0)
    projector = kind(config, 6, 8)
    tokens, counts = projector(torch.randn(2, 16, 6), torch.tensor([16, 16]))
    assert tokens.shape == (2, expected, 8) and counts.tolist() == [expected] * 2 == [config.num_tokens(16)] * 2
    tokens.square().sum().backward()
    # A softmax does not see a bias on its keys: that of the resampler's key half has no gradient.
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) and float(p.grad.norm()) > 0 for p in projector.parameters())


@pytest.mark.parametrize("name", ["linear", "mlp", "time", "resampler"])
def test_padding_changes_nothing(name):
    kind, config, _ = ALL[name]
    torch.manual_seed(0)
    projector = kind(config, 6, 8)
    tokens = torch.randn(1, 7, 6)
    padded = torch.cat([tokens, torch.full((1, 9, 6), 50.0)], 1)
    alone, counts = projector(tokens, torch.tensor([7]))
    beside, same = projector(padded, torch.tensor([7]))
    assert counts.tolist() == same.tolist() == [config.num_tokens(7)]
    assert torch.allclose(beside[:, : int(counts[0])], alone, atol=1e-5)


def test_pixel_shuffle_takes_two_by_two_neighbours():
    """Tokens 0…15 of a 4 x 4 grid, projected by a sum: the first merged token is 0 + 1 + 4 + 5 = 10, the last 10 + 11 + 14 + 15 = 50."""
    projector = MergeProjector(MergeConfig(grid=True), 1, 1)
    with torch.no_grad():
        projector.proj.weight.fill_(1)
        projector.proj.bias.zero_()
    merged, _ = projector(torch.arange(16.0).view(1, 16, 1), torch.tensor([16]))
    assert merged.flatten().tolist() == [10, 18, 42, 50]


def test_time_merge_pads_the_last_with_zeros():
    projector = MergeProjector(MergeConfig(factor=2), 1, 1)
    with torch.no_grad():
        projector.proj.weight.fill_(1)
        projector.proj.bias.zero_()
    merged, counts = projector(torch.tensor([[[1.0], [2], [3], [9]]]), torch.tensor([3]))
    assert merged.flatten().tolist() == [3, 3] and counts.tolist() == [2]  # 1 + 2, 3 + nothing


def test_impossible_grids_are_named():
    for tokens in (15, 9):
        with pytest.raises(ValueError, match=f"{tokens} tokens are no square grid"):
            MergeConfig(grid=True).num_tokens(tokens)


def test_pengi_sizes():
    """Mellow's projection 768 -> 576: an up matrix of 442,368 and a down matrix of 331,776 weights; ours adds its biases."""
    weights = dict(MLPProjector(MLPConfig(), 768, 576).named_parameters())
    assert (weights["up.weight"].numel(), weights["down.weight"].numel()) == (442_368, 331_776)
