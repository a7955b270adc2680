"""The video world: coloured discs that move, collide, enter and leave; questions in CLEVRER's four families, the last two decided by simulating
again.

A level is a number of discs and a limit on collisions: level 1 has two discs and one collision, level 6 four discs and three. Descriptive
families: `which, count, pairs, order, partner, place, direction, enter, exist`; then `explanatory`, `predictive`, `counterfactual`; and `perceive`,
the dense transcription: each disc in sorted order with its cell at four times, then each pair with the time of its collision or `no`. Families
that need three discs have three at every level.
"""

import dataclasses
import hashlib

import numpy as np

from data.record import MediaRef, Record
from data.worlds import video_causal, video_questions
from data.worlds.base import Sample, World, split_of
from data.worlds.question import Question
from data.worlds.video_questions import View, watch
from data.worlds.video_render import COLORS, FPS, frame_times, frames
from data.worlds.video_scene import draw_discs, group_of
from models.media import Media

DISCS = {1: (2,), 2: (2, 3), 3: (3,), 4: (3, 4), 5: (4,), 6: (4,)}
MOST = {1: 1, 2: 1, 3: 2, 4: 2, 5: 2, 6: 3}  # collisions in the clip
ASK = video_questions.FAMILIES | video_causal.FAMILIES
TRIES = 200


@dataclasses.dataclass
class Scene:
    """What is settled before anything is simulated. `luck`, from [0, 1), settles the answer where a family must balance it (how many collisions,
    yes or no): it stays while scenes are drawn again, so that rarer answers do not get rarer. `group` settles the split and becomes the group
    of the scene that is found in it."""

    family: str
    names: list[str]
    luck: float
    group: str


class VideoWorld(World):
    name = "video"
    modality = "video"
    levels = (1, 2, 3, 4, 5, 6)
    all_families = (*ASK, "perceive")

    def draw(self, level: int, rng: np.random.Generator) -> Scene:
        family = self.families[int(rng.integers(len(self.families)))]
        choices = (1, 2, 2, 2) if family == "perceive" and level == 1 else DISCS[level]
        count = max(choices[int(rng.integers(len(choices)))], ASK[family].fewest if family in ASK else 1)
        names = sorted(list(COLORS)[i] for i in rng.permutation(len(COLORS))[:count])
        return Scene(family, names, float(rng.random()), f"video/{rng.bytes(8).hex()}")

    def build(self, scene: Scene, level: int, rng: np.random.Generator) -> Sample | None:
        split = split_of(scene.group)
        family = ASK.get(scene.family)
        most = family.most(MOST[level], len(scene.names), scene.luck) if family else MOST[level]
        for _ in range(TRIES):
            found = draw_discs(scene.names, most, split, rng, family.later if family else None)
            if found is None:
                continue
            view, q = View(*found, MOST[level], most, scene.luck), Question(scene.family)
            if family.ask(view, q, rng) if family else _perceive(view, q):
                scene.group = group_of(view.discs)
                return Sample(_record(view, q, level, scene.group), [Media("video", frames(view.motion), FPS, _seconds())])
        return None


def _perceive(view: View, q: Question) -> bool:
    """The whole transcription. Of the scenes without a collision only a third are kept; a lone disc has none."""
    count = len(view.seen)
    if count == 0 and len(view.discs) > 1 and view.luck > 0.35:
        return False
    q.text, q.answer, q.answer_type = "Describe the video.", [str(count)], "integer"
    watch(view, q)
    return True


def _record(view: View, q: Question, level: int, group: str) -> Record:
    facts, family = Question(""), q.template.partition("/")[0]
    watch(view, facts)
    meta = {
        "level": level, "family": family, "question_type": family if family in video_causal.FAMILIES else "descriptive",
        "template": q.template, "true_count": len(view.seen), "facts": facts.facts | q.facts,
        "discs": [list(dataclasses.astuple(d)) for d in view.discs],
    }  # fmt: skip
    uid = hashlib.blake2b(f"{view.discs}/{q.text}/{q.options}".encode(), digest_size=8).hexdigest()
    record = Record(f"video-{level}-{uid}", q.text, q.answer, q.answer_type, [MediaRef("video", f"world://video/{level}/{uid}")], q.options)
    record.steps, record.source, record.group, record.meta = q.steps, "world/video", group, meta | q.meta
    return record


def _seconds() -> np.ndarray:
    """The timestamp of each frame: frame k of n is shown at k / FPS."""
    return frame_times() * (len(frame_times()) - 1) / FPS
