"""What judges a solution: step scores and how they become one number."""

from reasoning.scorers.aggregate import aggregate

__all__ = ["aggregate"]
