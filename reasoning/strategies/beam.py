"""Beam search over steps (Snell et al. 2024; search-and-learn): n branches, of which the n / width best go on with `width` children each. Branches
that have ended stay in the beam until better ones push them out."""

from pydantic import Field, model_validator

from reasoning.strategies.stepwise import StepConfig, StepStrategy


class BeamConfig(StepConfig):
    """`n` is a multiple of `width`."""

    width: int = Field(4, ge=1)

    @model_validator(mode="after")
    def divides(self) -> "BeamConfig":
        if self.n % self.width:
            raise ValueError(f"n {self.n} is not a multiple of width {self.width}")
        return self


class Beam(StepStrategy):
    name = "beam"
    config_class = BeamConfig

    def shape(self) -> tuple[int, int, int]:
        return 1, self.config.n // self.config.width, self.config.width
