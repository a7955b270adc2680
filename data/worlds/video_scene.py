"""Scenes for the video world: discs are added one after another, each drawn again until the motion so far can be told by eye."""

import hashlib
import math

import numpy as np

from data.worlds.base import split_of
from data.worlds.video_physics import CONTACT, Disc, Motion, clearance, simulate

START_GAP, PASS_GAP = 0.3, 0.05  # between centres at the start; between rims when two discs pass each other
APART, LAST, WORD_MARGIN = 0.12, 0.88, 0.02  # of the clip: between collisions, the last one, and around the borders of `early`, `middle`, `late`
GRAZE = 0.85
CLIP_END = 1.1  # how far a motion is simulated where only the clip is asked about: a little further, to keep collisions clear of its end
REDRAWS, LAST_REDRAWS = 12, 80  # the last disc has to suit a rare split, or a collision to come


def draw_disc(name: str, x: float, y: float, side: float, tx: float, ty: float, speed: float) -> Disc:
    """Six numbers from [0, 1) -> a disc that starts anywhere, in three of ten cases just outside, and heads for the middle of the picture. The
    distribution is the same seen from all four sides, which keeps questions about places and directions balanced."""
    x, y = 0.02 + 0.96 * x, 0.02 + 0.96 * y
    if side < 0.3:
        x, y = ((-0.1, y), (1.1, y), (x, -0.1), (x, 1.1))[int(side / 0.075)]
    heading, speed = math.atan2(0.25 + 0.5 * ty - y, 0.25 + 0.5 * tx - x), 0.45 + 0.55 * speed
    return Disc(name, x, y, speed * math.cos(heading), speed * math.sin(heading))


def group_of(discs: list[Disc]) -> str:
    """Equal for scenes that look alike: colours, starting cells and headings (16 directions), before anything is simulated."""
    coarse = sorted((d.name, int(d.x * 5), int(d.y * 5), int(math.atan2(d.vy, d.vx) * 8 / math.pi)) for d in discs)
    return f"video/{hashlib.blake2b(repr(coarse).encode(), digest_size=8).hexdigest()}"


def draw_discs(names: list[str], most: int, split: str, rng: np.random.Generator, later: float | None = None) -> tuple[list[Disc], Motion] | None:
    """Discs of these names (in sorted order) that have at most `most` collisions in the clip and a group of this split, with their motion; None
    where one of them found no place. With `later`, the motion reaches that far, and the last disc is drawn so that it may collide between the
    clip's end and then; discs are slower, so that some are still there. The order of adding is random, so no colour differs from another."""
    discs: list[Disc] = []
    motion = None
    for place, i in enumerate(rng.permutation(len(names)).tolist(), 1):
        last = place == len(names)
        if last and later and motion and not any(inside(motion, (d.name,), 1.2, 0.05) for d in discs):
            return None  # whoever is left will be gone
        for numbers in rng.random((LAST_REDRAWS if last and (later or split != "train") else REDRAWS, 6)).tolist():
            if last and later and motion:
                disc = aim_disc(names[i], motion, later, *numbers)
            else:
                numbers[5] *= 0.4 if later else 1.0
                disc = draw_disc(names[i], *numbers)
            if disc is None or any((disc.x - d.x) ** 2 + (disc.y - d.y) ** 2 < START_GAP * START_GAP for d in discs):
                continue
            trial = sorted([*discs, disc], key=lambda d: d.name)
            if last and split_of(group_of(trial)) != split:
                continue
            found = simulate(trial, later or CLIP_END)
            if found is not None and is_clear(found, most):
                discs, motion = trial, found
                break
        else:
            return None
    assert motion is not None
    return discs, motion


def aim_disc(name: str, motion: Motion, until: float, who: float, at: float, offset: float, heading: float, speed: float, _: float) -> Disc | None:
    """Numbers from [0, 1) -> a disc that collides with one of the others, in the picture, between the clip's end and `until`, if nothing stops
    either; None where it would have to start outside the picture."""
    time, speed = CLIP_END + (until - CLIP_END) * at, 0.35 + 0.4 * speed
    discs = [d for d in motion.discs_at(time) if 0 < d.x < 1 and 0 < d.y < 1]
    if not discs:
        return None
    other = discs[int(who * len(discs))]
    vx, vy = speed * math.cos(2 * math.pi * heading), speed * math.sin(2 * math.pi * heading)
    side = math.atan2(other.vy - vy, other.vx - vx) + math.asin(GRAZE * (2 * offset - 1))  # the side that it comes from, off-centre by `offset`
    x, y = other.x + CONTACT * math.cos(side), other.y + CONTACT * math.sin(side)
    start = Disc(name, x - vx * time, y - vy * time, vx, vy)
    if not all(0 < v < 1 for v in (x, y)) or not all(0.02 < v < 0.98 for v in (start.x, start.y)):
        return None
    return start


def is_clear(motion: Motion, most: int) -> bool:
    """At most `most` collisions in the clip, no pair twice, and nothing that the eye could take either way: no grazes, near-misses, collisions
    outside the picture, right after one another, close to the clip's ends or on the border between two time words."""
    seen = motion.until(1.0)
    if len(seen) > most or len({c.pair for c in seen}) < len(seen):
        return False
    before = 0.0
    for c in seen:
        if c.time - before < APART or c.time > LAST or c.offset > GRAZE or min(abs(c.time - 1 / 3), abs(c.time - 2 / 3)) < WORD_MARGIN:
            return False
        if not inside(motion, c.pair, c.time, 0.08):
            return False
        before = c.time
    if any(1.0 < c.time < 1.08 for c in motion.collisions):
        return False
    return clearance(motion, 1.0) > PASS_GAP


def inside(motion: Motion, names: tuple[str, ...], time: float, margin: float) -> bool:
    """Are the centres of these discs in the picture at this time, at least `margin` from its sides?"""
    places = motion.positions(time)
    return all(margin < v < 1 - margin for name in names for v in places[name])
