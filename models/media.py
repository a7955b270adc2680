"""What a decoded medium is; the only decoder, frame sampler and resampler of the project. Travels with every release."""

import dataclasses
from typing import Literal

import numpy as np


@dataclasses.dataclass(slots=True)
class Media:
    """A decoded medium.

    audio: `array` float32 [samples], mono, in [-1, 1], `rate` in Hz. image: `array` uint8 [H, W, 3]. video: `array` uint8 [frames, H, W, 3], `rate`
    the mean sampling rate in frames per second and `times` the timestamp of each frame in seconds.
    """

    kind: Literal["audio", "image", "video"]
    array: np.ndarray
    rate: float | None = None
    times: np.ndarray | None = None
