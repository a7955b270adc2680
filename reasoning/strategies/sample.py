"""One completion, drawn at a temperature."""

from pydantic import Field

from configs.schema import Strict
from reasoning.strategies.greedy import Greedy


class SampleConfig(Strict):
    """One draw."""

    temperature: float = Field(1.0, gt=0)


class Sample(Greedy):
    name = "sample"
    config_class = SampleConfig
