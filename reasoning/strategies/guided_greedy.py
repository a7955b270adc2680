"""Guided greedy search (VL-PRM): n next steps, the best is kept, and so on to the end."""

from reasoning.strategies.stepwise import StepStrategy


class GuidedGreedy(StepStrategy):
    name = "guided_greedy"

    def shape(self) -> tuple[int, int, int]:
        return 1, 1, self.config.n
