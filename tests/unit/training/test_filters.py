"""Filters between advantages and what is learned from."""

import numpy as np
import torch

from training.advantages import group_advantages, plain_reward
from training.filters import reward_band, three_sigma


def test_three_sigma_over_the_tokens_of_the_batch():
    # 99 tokens of reward 2 in three rollouts and one of -1: mean 1.97, population std 0.298496, z = 0.1005 and -9.95, which is beyond 3.
    rewards = torch.tensor([[2.0, 2.0], [2.0, -1.0]], dtype=torch.float64)
    lengths = torch.tensor([[33, 33], [33, 1]])
    kept = three_sigma(plain_reward(rewards), rewards, lengths)
    np.testing.assert_allclose(kept, [[0.100504, 0.100504], [0.100504, 0.0]], atol=1e-6)


def test_three_sigma_as_published_drops_what_is_not_near_the_raw_mean():
    rewards = torch.tensor([[5.0, 5.0, 5.0, 6.0]], dtype=torch.float64)
    ones = torch.ones_like(rewards, dtype=torch.long)
    assert three_sigma(rewards, rewards, ones, rule="official").abs().max() == 0
    np.testing.assert_allclose(three_sigma(rewards, rewards, ones)[0], [-0.57735] * 3 + [1.732051], atol=1e-5)


def test_three_sigma_of_equal_rewards_is_zero():
    rewards = torch.full((2, 3), 1.5)
    assert three_sigma(rewards, rewards, torch.full((2, 3), 7)).abs().max() == 0


def test_reward_band_keeps_groups_of_middling_difficulty():
    rewards = torch.tensor([[0.0, 0.0, 0.0, 0.02], [0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.97]])
    advantages = group_advantages(rewards)
    kept = reward_band(advantages, rewards, torch.ones(3, 4))
    assert kept[1].equal(advantages[1])  # mean 0.25
    assert kept[0].abs().max() == 0  # mean 0.005
    assert kept[2].abs().max() == 0  # mean 0.9925
    assert reward_band(advantages, rewards, torch.ones(3, 4), low=0.3)[1].abs().max() == 0
