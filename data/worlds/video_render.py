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


def frames(motion: Motion) -> np.ndarray:
    """uint8 [FRAMES, SIZE, SIZE, 3] with one-pixel soft edges."""
    where = [motion.positions(t) for t in frame_times()]
    pixel = (np.arange(SIZE) + 0.5) / SIZE
    picture = np.broadcast_to(np.array(GROUND, np.float32), (FRAMES, SIZE, SIZE, 3)).copy()
    for name in where[0]:
        xy = np.array([w[name] for w in where])
        distance = np.hypot(pixel[None, None, :] - xy[:, 0, None, None], pixel[None, :, None] - xy[:, 1, None, None])
        cover = np.clip((RADIUS - distance) * SIZE + 0.5, 0, 1)[..., None].astype(np.float32)
        picture += cover * (np.array(COLORS[name], np.float32) - picture)
    return np.round(picture).astype(np.uint8)
