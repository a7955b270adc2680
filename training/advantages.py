"""From the rewards of a group of rollouts to their advantages. Shape legend: B prompts, G rollouts each, N = B * G rows, T positions.

Every rule but `plain_reward` gives exact zeros where a group has nothing to tell (its largest reward equals its smallest): subtracting a rounded
mean would leave noise of the size of one rounding, and a division by a tiny standard deviation would blow it up into a gradient.
"""

import torch
from torch import Tensor

SCALES = ("std", "none", "batch")


def group_advantages(rewards: Tensor, scale: str = "std", eps: float = 1e-4) -> Tensor:
    """Advantages [B, G] of rewards [B, G]: reward minus the group's mean, over a standard deviation (ddof 1) plus eps.

    `scale` is `std` (the group's: GRPO), `none` (Dr. GRPO) or `batch` (one standard deviation over all rewards). At least float32; float64 stays.
    """
    if scale not in SCALES:
        raise ValueError(f"advantage scale {scale!r} is not one of {', '.join(SCALES)}")
    rewards = _wide(rewards)
    centred = rewards - rewards.mean(1, keepdim=True)
    if scale == "std":
        centred = centred / (_std(rewards) + eps)
    elif scale == "batch":
        centred = centred / (_std(rewards.reshape(1, -1)) + eps)
    return torch.where(zero_variance(rewards)[:, None], 0, centred)


def leave_one_out(rewards: Tensor) -> Tensor:
    """RLOO: reward minus the mean of the other rollouts of its group, [B, G] -> [B, G]. A lone rollout has no baseline: 0."""
    rewards = _wide(rewards)
    size = rewards.shape[1]
    if size < 2:
        return torch.zeros_like(rewards)
    advantages = (rewards * size - rewards.sum(1, keepdim=True)) / (size - 1)
    return torch.where(zero_variance(rewards)[:, None], 0, advantages)


def virtual_reward(rewards: Tensor, max_reward: float = 1.0, k: int = 1, eps: float = 1e-6) -> Tensor:
    """NGRPO (arXiv 2509.18851): mean and standard deviation count k virtual rollouts that earned `max_reward`, so that an all-wrong group still
    pushes its rollouts down and an all-right one gives zeros. [B, G] -> [B, G]."""
    rewards = _wide(rewards)
    extended = torch.cat([rewards, rewards.new_full((rewards.shape[0], k), max_reward)], 1)
    advantages = (rewards - extended.mean(1, keepdim=True)) / (_std(extended) + eps)
    return torch.where(zero_variance(extended)[:, None], 0, advantages)


def plain_reward(rewards: Tensor) -> Tensor:
    """REINFORCE: the reward itself, [B, G] -> [B, G]; `three_sigma` among the filters then standardises it over the batch (StableReinforce)."""
    return _wide(rewards)


def three_sigma_filter(rewards: Tensor, mask: Tensor, rule: str = "corrected") -> Tensor:
    """StableReinforce's advantages [N, T] from returns [N, T] and mask [N, T]: standardised over the active tokens of the batch (population
    standard deviation), outliers set to 0.

    `corrected` drops standardised values beyond 3. `official` is the released code, whose bounds are the mean of the *raw* values plus or minus
    3, applied to the standardised ones: with a raw mean of 5 it drops everything. It also adds 1e-8 after the division and drops values beyond 10.
    """
    if rule not in ("corrected", "official"):
        raise ValueError(f"3-sigma rule {rule!r} is not one of corrected, official")
    active = mask.bool()
    values = _wide(rewards)
    if not active.any():
        return torch.zeros_like(values)
    mean = values[active].mean()
    std = values[active].var(unbiased=False).clamp(min=1e-8).sqrt()
    standard = (values - mean) / std
    if rule == "official":
        standard = standard + 1e-8
        keep = (standard >= mean - 3) & (standard <= mean + 3) & (standard.abs() <= 10)
    else:
        keep = (standard.abs() <= 3) & (values[active].max() > values[active].min())
    return torch.where(keep & active, standard, 0)


def zero_variance(rewards: Tensor) -> Tensor:
    """Which groups [B] of rewards [B, G] have nothing to tell."""
    return rewards.amax(1) == rewards.amin(1)


def effective_ratio(advantages: Tensor) -> float:
    """Share of groups of advantages [B, G] with a non-zero one: what a step really learns from."""
    return (advantages != 0).any(1).float().mean().item()


def _std(rewards: Tensor) -> Tensor:
    """Sample standard deviation (ddof 1) along the last axis, kept; 0 for a single value."""
    return rewards.std(1, keepdim=True) if rewards.shape[1] > 1 else torch.zeros_like(rewards)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
