"""Advantages against the worked numbers of the reference (derivations beside them) and their properties."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.advantages import effective_ratio, group_advantages, leave_one_out, three_sigma_filter, virtual_reward, zero_variance


def advantages(*rows, **options):
    return group_advantages(torch.tensor(rows, dtype=torch.float64), **options).numpy()


def test_group_z_score_with_ddof_1():
    # mean 1.125, sample std 0.853913
    np.testing.assert_allclose(advantages([2, 1.5, 1, 0])[0], [1.024575, 0.439104, -0.146368, -1.317311], atol=1e-6)
    np.testing.assert_allclose(advantages([2, 1, 1, 0])[0], [1.224595, 0, 0, -1.224595], atol=1e-6)
    np.testing.assert_allclose(advantages([1.5, 1, 1, 2])[0], [0.261062, -0.783186, -0.783186, 1.305310], atol=1e-6)


def test_mean_only_and_batch_scale():
    rows = [2.0, 1.0], [0.0, 0.5]
    np.testing.assert_allclose(advantages(*rows, scale="none"), [[0.5, -0.5], [-0.25, 0.25]])
    std = np.std([2.0, 1.0, 0.0, 0.5], ddof=1)
    np.testing.assert_allclose(advantages(*rows, scale="batch"), np.array([[0.5, -0.5], [-0.25, 0.25]]) / (std + 1e-4))


def test_leave_one_out():
    # 3 - mean(1, 2) = 1.5; 1 - mean(3, 2) = -1.5; 2 - mean(3, 1) = 0
    np.testing.assert_allclose(leave_one_out(torch.tensor([[3.0, 1.0, 2.0]])), [[1.5, -1.5, 0]])
    assert leave_one_out(torch.tensor([[3.0]])).tolist() == [[0.0]]


def test_virtual_reward():
    # Eight wrong and one virtual 1: mean 1/9, std 1/3, so every rollout gets -1/3.
    np.testing.assert_allclose(virtual_reward(torch.zeros(1, 8, dtype=torch.float64)), np.full((1, 8), -0.333332), atol=1e-6)
    one_right = virtual_reward(torch.tensor([[1.0] + [0.0] * 7], dtype=torch.float64))[0]
    np.testing.assert_allclose(one_right, [1.763830] + [-0.503951] * 7, atol=1e-6)
    assert virtual_reward(torch.ones(1, 8)).tolist() == [[0.0] * 8]


@pytest.mark.parametrize("scale", ["std", "none", "batch"])
def test_a_group_without_variance_gives_exact_zeros(scale):
    # 0.1 is not a binary fraction: its mean over 3 is one rounding off, which a naive z-score turns into a gradient.
    rewards = torch.tensor([[0.1, 0.1, 0.1], [0.3, 0.1, 0.1]])
    result = group_advantages(rewards, scale)
    assert result[0].tolist() == [0.0, 0.0, 0.0]
    assert zero_variance(rewards).tolist() == [True, False]
    assert effective_ratio(result) == 0.5


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.floats(-5, 5), min_size=4, max_size=4), min_size=1, max_size=4), st.floats(-3, 3))
def test_shift_invariance_and_scale_equivariance(rows, shift):
    rewards = torch.tensor(rows, dtype=torch.float64).round(decimals=3)
    torch.testing.assert_close(group_advantages(rewards + round(shift, 3), "none"), group_advantages(rewards, "none"), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(group_advantages(rewards * 2, "none"), group_advantages(rewards, "none") * 2)
    assert group_advantages(rewards).sum(1).abs().max() < 1e-6
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(group_advantages(rewards[:, order]), group_advantages(rewards)[:, order])


def test_three_sigma_filter():
    rewards = torch.tensor([[2.0] * 99 + [-1.0]], dtype=torch.float64).T
    mask = torch.ones_like(rewards)
    # mean 1.97, population std 0.298496: z = +0.1005 and -9.95; the latter is beyond 3.
    kept = three_sigma_filter(rewards, mask)
    np.testing.assert_allclose(kept[:99], 0.100504, atol=1e-6)
    assert kept[99].item() == 0.0
    assert three_sigma_filter(torch.full((4, 2), 5.0), torch.ones(4, 2)).abs().max() == 0


def test_three_sigma_published_form_is_off_centre():
    raw = torch.tensor([[5.0, 5.0, 5.0, 6.0]], dtype=torch.float64)
    ones = torch.ones_like(raw)
    assert three_sigma_filter(raw, ones, "official").abs().max() == 0
    np.testing.assert_allclose(three_sigma_filter(raw, ones)[0], [-0.57735] * 3 + [1.732051], atol=1e-5)
    tail = torch.tensor([[0.0] * 15 + [1.0]], dtype=torch.float64)
    np.testing.assert_allclose(three_sigma_filter(tail, torch.ones_like(tail), "official")[0], [-0.258199] * 15 + [0.0], atol=1e-6)


def test_three_sigma_excludes_padding_from_mean_and_deviation():
    values = torch.tensor([[1.0, 2.0, 1e6], [3.0, 1e6, 1e6]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    kept = three_sigma_filter(values, mask)
    np.testing.assert_allclose(kept[mask.bool()], [-1.224745, 0, 1.224745], atol=1e-5)
    assert kept[~mask.bool()].abs().max() == 0


def test_unknown_scale_is_named():
    with pytest.raises(ValueError, match="'max' is not one of std"):
        group_advantages(torch.zeros(1, 2), "max")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 20), min_size=4, max_size=4), st.floats(0.1, 50))
def test_the_z_score_changes_with_the_scale_of_rewards_only_through_eps(values, scale):
    rewards = torch.tensor([values], dtype=torch.float64)
    torch.testing.assert_close(group_advantages(rewards * scale, eps=0.0), group_advantages(rewards, eps=0.0), atol=1e-9, rtol=1e-9)
    std = rewards.std().item()
    expected = group_advantages(rewards, eps=0.0) * (std * scale / (std * scale + 1e-4) if std else 0.0)
    torch.testing.assert_close(group_advantages(rewards * scale), expected, atol=1e-9, rtol=1e-9)
