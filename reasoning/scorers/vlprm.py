"""VL-PRM's released selection rule, for comparison (`VisualPRMv2.py`): p^0.3 / L^0.6, where most selections are decided by length."""

from reasoning.scorers.aggregate import vlprm_reward
from reasoning.scorers.orm import ORMScorer


class VLPRMScorer(ORMScorer):
    """L counts the prompt, its media and the solution. Released code gives every candidate with p <= 0.5 the reward -1 and picks the largest p among
    them where there are no others; p - 1, which lies between, makes the same choices."""

    name = "vlprm"

    def combine(self, scores: list[float], tokens: int) -> float:
        reward = vlprm_reward(scores[-1], tokens)
        return scores[-1] - 1 if reward < 0 else reward
