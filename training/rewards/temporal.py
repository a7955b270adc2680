"""T-GRPO's temporal contrast (Video-R1): a right answer earns more where the ordered frames did the work.

Beside the G rollouts on ordered frames, some rollouts see the same frames shuffled. If the ordered ones are at least `margin` times as accurate,
each ordered rollout that is right gets `bonus`. The shuffled rollouts are never trained on.
"""

from collections.abc import Sequence

from training.rewards.rollout import Rollout


def temporal_bonus(
    ordered: Sequence[float], shuffled: Sequence[float], bonus: float = 0.3, margin: float = 0.8, threshold: float = 0.1
) -> list[float]:
    """The bonus of each ordered rollout from the accuracies in [0, 1] of both groups; zeros where there is no shuffled rollout to compare with."""
    if not ordered or not shuffled:
        return [0.0] * len(ordered)
    helps = sum(ordered) / len(ordered) >= margin * sum(shuffled) / len(shuffled)
    return [bonus if helps and accuracy > threshold else 0.0 for accuracy in ordered]


def temporal(rollout: Rollout, margin: float = 0.8) -> float:
    """`temporal_bonus` as a reward: 1 or 0, so that its weight in the recipe is the bonus (0.3 as published). Needs `shuffled_frames`."""
    ordered = [float(other.verdict.answer_ok) for other in rollout.group]
    mine = temporal_bonus([float(rollout.verdict.answer_ok)], [0.0], 1.0)[0]
    return mine * max(temporal_bonus(ordered, [float(v.answer_ok) for v in rollout.shuffled], 1.0, margin), default=0.0)
