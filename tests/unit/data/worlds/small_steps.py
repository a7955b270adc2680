"""An oracle for the video world: discs moved in small time steps, with nothing in common with the closed form but the size of a disc and the rule
of an elastic collision."""

import numpy as np

DIAMETER = 0.23  # two radii of 0.115 of the picture


def step_through(
    discs: list[tuple[str, float, float, float, float]], end: float, dt: float = 2e-4
) -> tuple[dict, list[tuple[float, tuple[str, str]]]]:
    """(final position of every disc, [(time, pair of names)] of every collision), positions off by about the distance of a few steps."""
    names = [d[0] for d in discs]
    place = np.array([d[1:3] for d in discs], dtype=np.float64)
    speed = np.array([d[3:5] for d in discs], dtype=np.float64)
    first, second = np.triu_indices(len(discs), 1)
    hits = []
    for k in range(round(end / dt)):
        place += speed * dt
        gap = place[second] - place[first]
        near = np.flatnonzero((gap * gap).sum(1) < DIAMETER**2)
        for p in near:
            i, j = first[p], second[p]
            normal = gap[p] / np.linalg.norm(gap[p])
            closing = (speed[i] - speed[j]) @ normal
            if closing > 0:
                speed[i] -= closing * normal
                speed[j] += closing * normal
                hits.append(((k + 1) * dt, tuple(sorted((names[i], names[j])))))
    return {n: tuple(p) for n, p in zip(names, place.tolist(), strict=True)}, hits
