"""Drawing for the video world: discs of distinct colours on a plain ground, a few small frames."""

import numpy as np

from data.worlds.video_physics import RADIUS, Motion

SIZE, FRAMES, FPS = 32, 10, 5.0
COLORS = {
    "red": (225, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 235),
    "yellow": (240, 205, 30),
    "purple": (160, 50, 200),
    "white": (250, 250, 250),
}
GROUND = (70, 70, 70)


def frame_times() -> np.ndarray:
    """Clip time of each frame, from 0 to 1."""
    return np.linspace(0.0, 1.0, FRAMES)


def frames(motion: Motion, size: int = SIZE) -> np.ndarray:
    """uint8 [FRAMES, size, size, 3] with one-pixel soft edges. Discs never overlap, so their covers add up."""
    names = [d.name for d in motion.stretches[0]]
    where = [motion.positions(t) for t in frame_times().tolist()]
    xy = np.array([[w[name] for name in names] for w in where], dtype=np.float32)[..., None] * size  # [F, D, 2, 1]
    square = (np.arange(size, dtype=np.float32) + 0.5 - xy) ** 2  # [F, D, 2, size]
    distance = np.sqrt(square[:, :, 1, :, None] + square[:, :, 0, None, :])  # [F, D, row, column]
    cover = np.clip(np.float32(RADIUS * size + 0.5) - distance, 0, 1)
    tint = np.array([COLORS[name] for name in names], dtype=np.float32) - np.float32(GROUND)
    picture = np.moveaxis(cover, 1, -1) @ tint + np.float32(GROUND)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)
