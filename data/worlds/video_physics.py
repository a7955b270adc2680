"""Equal discs that move on straight lines and collide elastically, solved event by event in closed form (no time steps, so nothing to tune).

Positions are in units of the picture's side, times in units of the clip. Discs may enter and leave the picture; there are no walls.
"""

import bisect
import dataclasses
import math
from itertools import combinations

RADIUS = 0.115
CONTACT = 2 * RADIUS
MAX_EVENTS = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Disc:
    """A disc at (x, y) with velocity (vx, vy)."""

    name: str
    x: float
    y: float
    vx: float
    vy: float

    def at(self, dt: float) -> tuple[float, float]:
        return self.x + self.vx * dt, self.y + self.vy * dt


@dataclasses.dataclass(frozen=True, slots=True)
class Collision:
    """Two discs touch at `time`; `offset` in [0, 1) is how far off-centre (1 would be a graze)."""

    time: float
    pair: tuple[str, ...]
    offset: float


@dataclasses.dataclass(slots=True)
class Motion:
    """Straight stretches of all discs: `starts[k]` is when stretch k begins, `stretches[k]` the discs at that time."""

    starts: list[float]
    stretches: list[list[Disc]]
    collisions: list[Collision]

    def discs_at(self, time: float) -> list[Disc]:
        k = bisect.bisect_right(self.starts, time + 1e-12) - 1
        dt = time - self.starts[k]
        return [Disc(d.name, *d.at(dt), d.vx, d.vy) for d in self.stretches[k]]

    def positions(self, time: float) -> dict[str, tuple[float, float]]:
        k = bisect.bisect_right(self.starts, time + 1e-12) - 1
        return {d.name: d.at(time - self.starts[k]) for d in self.stretches[k]}

    def until(self, time: float) -> list[Collision]:
        return [c for c in self.collisions if c.time <= time]


def contact_time(a: Disc, b: Disc) -> tuple[float, float] | None:
    """(time until the discs touch, offset), or None where they never do or are moving apart."""
    dx, dy, dvx, dvy = b.x - a.x, b.y - a.y, b.vx - a.vx, b.vy - a.vy
    speed2, approach = dvx * dvx + dvy * dvy, dx * dvx + dy * dvy
    if approach >= 0 or speed2 < 1e-12:
        return None
    miss2 = dx * dx + dy * dy - approach * approach / speed2
    if miss2 >= CONTACT * CONTACT:
        return None
    time = (-approach - math.sqrt(max(0.0, speed2 * (CONTACT * CONTACT - miss2)))) / speed2
    return None if time < -1e-9 else (max(0.0, time), math.sqrt(max(0.0, miss2)) / CONTACT)


def bounce(a: Disc, b: Disc) -> tuple[Disc, Disc]:
    """Equal masses exchange the velocity components along the line between their centres."""
    dx, dy = b.x - a.x, b.y - a.y
    length = math.hypot(dx, dy)
    nx, ny = dx / length, dy / length
    push = (a.vx - b.vx) * nx + (a.vy - b.vy) * ny
    return (
        Disc(a.name, a.x, a.y, a.vx - push * nx, a.vy - push * ny),
        Disc(b.name, b.x, b.y, b.vx + push * nx, b.vy + push * ny),
    )


def simulate(discs: list[Disc], end: float) -> Motion | None:
    """The motion from time 0 to `end`, or None where it is chaotic (more than a dozen collisions)."""
    now, motion = 0.0, Motion([0.0], [list(discs)], [])
    while len(motion.collisions) < MAX_EVENTS:
        discs = motion.stretches[-1]
        first = None
        for i, j in combinations(range(len(discs)), 2):
            found = contact_time(discs[i], discs[j])
            if found and (first is None or found[0] < first[0]):
                first = (*found, i, j)
        if first is None or now + first[0] > end:
            return motion
        dt, offset, i, j = first
        moved = [Disc(d.name, *d.at(dt), d.vx, d.vy) for d in discs]
        moved[i], moved[j] = bounce(moved[i], moved[j])
        now += dt
        motion.starts.append(now)
        motion.stretches.append(moved)
        motion.collisions.append(Collision(now, tuple(sorted((discs[i].name, discs[j].name))), offset))
    return None


def clearance(motion: Motion, end: float) -> float:
    """The smallest gap between two discs that pass without touching, between 0 and `end`: a near-miss is a small one."""
    touching = {c.pair for c in motion.until(end)}
    least = math.inf
    for k, stretch in enumerate(motion.stretches):
        start, stop = motion.starts[k], min(end, motion.starts[k + 1] if k + 1 < len(motion.starts) else end)
        for a, b in combinations(stretch, 2):
            if tuple(sorted((a.name, b.name))) not in touching and stop > start:
                least = min(least, _closest(a, b, stop - start) - CONTACT)
    return least


def _closest(a: Disc, b: Disc, span: float) -> float:
    dx, dy, dvx, dvy = b.x - a.x, b.y - a.y, b.vx - a.vx, b.vy - a.vy
    speed2 = dvx * dvx + dvy * dvy
    t = 0.0 if speed2 < 1e-12 else min(max(-(dx * dvx + dy * dvy) / speed2, 0.0), span)
    return math.hypot(dx + dvx * t, dy + dvy * t)
