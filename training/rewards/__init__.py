"""What a rollout earns. Each reward is one small function `(Rollout, **options) -> float`; `algebra.py` weighs, gates and sums them and survives
them.

`multi_choice` and `format_reward` are also plain functions on text, because the published runs that we compare with used them so.
"""

from training.rewards.format import format_reward
from training.rewards.multi_choice import multi_choice
from training.rewards.rollout import Rollout

__all__ = ["Rollout", "format_reward", "multi_choice"]
