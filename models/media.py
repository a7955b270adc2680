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


@dataclasses.dataclass(frozen=True)
class MediaSpec:
    """At what rates and within which limits files are decoded."""

    sample_rate: int = 16_000
    max_seconds: float = 30.0
    num_frames: int = 10
    frame_size: int | None = None
    max_pixels: int = 50_000_000
    max_bytes: int = 500_000_000


def decode(path: str, kind: str, spec: MediaSpec, start_s: float | None = None, end_s: float | None = None) -> Media:
    raise NotImplementedError
