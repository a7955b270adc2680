"""How a policy thinks at test time."""

from reasoning.strategies.voting import best_of, majority_vote, weighted_vote

__all__ = ["best_of", "majority_vote", "weighted_vote"]
