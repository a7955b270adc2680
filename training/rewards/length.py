"""Length terms. Lengths are tokens of the completion, its end token included."""

from training.rewards.rollout import Rollout


def length_bonus(rollout: Rollout, low: int = 320, high: int = 512, least_right: int = 2) -> float:
    """Video-R1's bonus: 1 for a right answer of low to high tokens, else 0; only in groups with at least `least_right` right answers."""
    right = sum(other.verdict.answer_ok for other in rollout.group or [rollout])
    return float(rollout.verdict.answer_ok and low <= rollout.num_tokens <= high and right >= least_right)


def overlong_penalty(rollout: Rollout, limit: int, buffer: int) -> float:
    """DAPO's soft punishment in [-1, 0]: 0 up to limit - buffer tokens, then linear down to -1 at the limit, -1 beyond it."""
    if buffer <= 0 or limit <= buffer:
        raise ValueError(f"overlong_penalty needs 0 < buffer < limit, not buffer={buffer}, limit={limit}")
    return -min(1.0, max(0.0, (rollout.num_tokens - (limit - buffer)) / buffer))
