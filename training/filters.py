"""What is learned from: filters take advantages [B, G] to advantages [B, G], with zeros where nothing shall be learned. They run in the order of the
recipe, behind the advantage rule; a group left with zeros alone is dropped or drawn again by `dynamic_sampling`.

Each is a function `(advantages [B, G], rewards [B, G], lengths [B, G] in tokens, **options)`.
"""

import torch
from torch import Tensor

from training.advantages import three_sigma_filter


def three_sigma(advantages: Tensor, rewards: Tensor, lengths: Tensor, rule: str = "corrected") -> Tensor:
    """StableReinforce (arXiv 2505.02835): standardised over all tokens of the batch, outliers to 0. See `training/advantages.py`."""
    rows, counts = advantages.flatten(), lengths.flatten().to(advantages.device)
    positions = torch.arange(max(1, int(counts.max())), device=advantages.device)
    mask = positions < counts.clamp(min=1)[:, None]  # a completion has one token at least: its end
    return three_sigma_filter(rows[:, None].expand(mask.shape), mask, rule)[:, 0].view_as(advantages)


def reward_band(advantages: Tensor, rewards: Tensor, lengths: Tensor, low: float = 0.01, high: float = 0.99) -> Tensor:
    """DAPO's online filter as EasyR1 has it: only groups whose mean reward lies between `low` and `high` count."""
    mean = rewards.to(advantages).mean(1, keepdim=True)
    return torch.where((mean > low) & (mean < high), advantages, 0)
