"""The video world: coloured discs that move, collide, enter and leave; questions in CLEVRER's four families, the last two decided by simulating
again.

A level is a number of discs and of collisions: level 1 has one or two discs, level 6 four. Families: descriptive (`which, count, pairs, order,
place`), `explanatory`, `predictive`, `counterfactual`, and `perceive`, the dense transcription: each disc in sorted order with its cell at four
times, then each pair with the time of its collision or `no`.
"""

import dataclasses
import hashlib
import itertools
import math
from itertools import combinations

import numpy as np

from data.record import MediaRef, Record
from data.worlds import video_questions as ask
from data.worlds.base import Sample, World
from data.worlds.question import Question
from data.worlds.video_physics import Disc, Motion, clearance, simulate
from data.worlds.video_render import COLORS, FPS, frame_times, frames
from models.media import Media

HORIZON = 1.6  # predictions look this far; the clip ends at 1
DISCS = {1: (2,), 2: (2, 3), 3: (3,), 4: (3, 4), 5: (4,), 6: (4,)}
NEED_COLLISION = ("which", "pairs", "order", "explanatory")


@dataclasses.dataclass
class Scene:
    family: str
    discs: list[Disc]
    group: str


class VideoWorld(World):
    name = "video"
    modality = "video"
    levels = (1, 2, 3, 4, 5, 6)
    all_families = ("which", "count", "pairs", "order", "place", "explanatory", "predictive", "counterfactual", "perceive")

    def draw(self, level: int, rng: np.random.Generator) -> Scene:
        family = self.families[int(rng.integers(len(self.families)))]
        choices = (1, *DISCS[level]) if family == "perceive" and level == 1 else DISCS[level]
        count = max(choices[int(rng.integers(len(choices)))], ask.FEWEST.get(family, 1))
        names = [list(COLORS)[i] for i in rng.permutation(len(COLORS))[:count]]
        discs = [_disc(name, *numbers) for name, numbers in zip(sorted(names), rng.random((count, 6)).tolist(), strict=True)]
        coarse = [(d.name, int(d.x * 5), int(d.y * 5), int(math.atan2(d.vy, d.vx) * 8 / math.pi)) for d in discs]
        return Scene(family, discs, f"video/{hashlib.blake2b(repr(coarse).encode(), digest_size=8).hexdigest()}")

    def build(self, scene: Scene, level: int, rng: np.random.Generator) -> Sample | None:
        discs = scene.discs
        if any(math.hypot(a.x - b.x, a.y - b.y) < 0.3 for a, b in combinations(discs, 2)):
            return None
        motion = simulate(discs, HORIZON)
        if motion is None or not _clear(motion, 2 if scene.family == "order" else (1, 1, 2, 2, 3, 3)[level - 1]):
            return None
        if scene.family in NEED_COLLISION and not motion.until(1.0):
            return None
        q = Question(scene.family)
        if scene.family == "perceive":
            q.text, q.answer, q.answer_type = "Describe the video.", [str(len(motion.until(1.0)))], "integer"
            if rng.random() > (1.0 if motion.until(1.0) else 0.35):
                return None
            ask.watch(motion, q)
        elif not ask.FAMILIES[scene.family](discs, motion, q, rng):
            return None
        facts = Question("")
        ask.watch(motion, facts)
        count = len(motion.until(1.0))
        meta = {"level": level, "family": scene.family, "template": f"{q.template}/{level}", "true_count": count, "facts": facts.facts | q.facts}
        meta |= {"discs": [dataclasses.astuple(d) for d in discs]}
        uid = hashlib.blake2b(f"{scene.group}/{discs}/{q.text}/{q.options}/{scene.family}".encode(), digest_size=8).hexdigest()
        medium = MediaRef("video", f"world://video/{level}/{uid}")
        record = Record(
            f"video-{level}-{uid}", q.text, q.answer, q.answer_type, [medium], q.options, steps=q.steps, source="world/video", meta=meta | q.meta
        )
        return Sample(record, [Media("video", frames(motion), FPS, frame_times() * (len(frame_times()) - 1) / FPS)])


def _disc(name: str, x: float, y: float, side: float, tx: float, ty: float, speed: float) -> Disc:
    """Six numbers from [0, 1) -> a disc that starts anywhere, in three of ten cases just outside, and heads for the middle of the picture."""
    x, y = 0.02 + 0.96 * x, 0.02 + 0.96 * y
    if side < 0.3:
        x, y = ((-0.1, y), (1.1, y), (x, -0.1), (x, 1.1))[int(side / 0.075)]
    heading, speed = math.atan2(0.25 + 0.5 * ty - y, 0.25 + 0.5 * tx - x), 0.45 + 0.55 * speed
    return Disc(name, x, y, speed * math.cos(heading), speed * math.sin(heading))


def _clear(motion: Motion, most: int) -> bool:
    """At most `most` collisions, and none that cannot be seen: no grazes, near-misses, collisions outside the picture, at the very ends, or right
    after one another."""
    seen = motion.until(1.0)
    if len(seen) > most or len({c.pair for c in seen}) < len(seen):
        return False
    times = [0.0, *(c.time for c in seen)]
    if any(b - a < 0.12 for a, b in itertools.pairwise(times)) or (seen and seen[-1].time > 0.88):
        return False
    for c in seen:
        places = motion.positions(c.time)
        if c.offset > 0.85 or any(not 0.08 < v < 0.92 for name in c.pair for v in places[name]):
            return False
    later = [c for c in motion.collisions if c.time > 1.0]
    if any(c.time < 1.08 or c.offset > 0.9 for c in later):
        return False
    return clearance(motion, 1.0) > 0.05
