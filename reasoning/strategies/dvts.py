"""Diverse verifier tree search (search-and-learn): n / width trees that never compete, each keeping the best of its `width` children; the answer is
the best end among all of them."""

from reasoning.strategies.beam import BeamConfig
from reasoning.strategies.stepwise import StepStrategy


class DVTS(StepStrategy):
    name = "dvts"
    config_class = BeamConfig

    def shape(self) -> tuple[int, int, int]:
        return self.config.n // self.config.width, 1, self.config.width
