"""Notes of what is heard or seen, in the words of the other worlds, and what follows from them: dense practice in looking things up.

One question a clip teaches one look-up; a small model needs some hundred thousand of them before it can find, in what it has just written down, what
stands behind a word, before it, or nowhere. So each note is followed by up to `MOST` conclusions, in the very words in which the steps of the media
worlds draw them, and in random order, so that none can be known from its place.
"""

import itertools

import numpy as np

from data.worlds import audio, vision
from data.worlds.question import Question
from data.worlds.vision_render import COLORS

MOST = 12
Line = tuple[str, str]  # key and value of a step


def write(scene: audio.Scene | vision.Scene, q: Question, rng: np.random.Generator) -> None:
    """The notes of a scene as the question, conclusions from them as its steps."""
    seen = Question("")
    if isinstance(scene, audio.Scene):
        audio.listen(scene, seen)
        lines = _heard(scene)
    else:
        for key, value in vision.named(scene):
            seen.see(key, value)
        lines = _grid(vision.named(scene), rng) if scene.kind == "puzzle" else _chart(scene.values)
    q.text = "\n".join(["Notes:", *(step.text for step in seen.steps)])  # line by line, as a thought has them
    for i in rng.permutation(len(lines))[:MOST].tolist():
        for key, value in lines[i]:
            q.conclude(key, value, parents=[])
    q.answer = ["notes"]


def _heard(scene: audio.Scene) -> list[list[Line]]:
    """What follows from a list of notes or events: of events that sound together, which with which; of those that are named once, who is before and
    behind."""
    if scene.notes:
        return [[(word, note)] for word, note in zip(audio.ORDINALS, scene.notes, strict=False)]
    slots, events = scene.slots, [slot[0] for slot in scene.slots]
    if pair := next((slot for slot in slots if len(slot) == 2), None):
        ordinals = [[(audio.ORDINALS[i], slot[0].timbre)] for i, slot in enumerate(slots) if len(slot) == 1]
        return [[(f"together {a.timbre}", b.timbre)] for a, b in (pair, pair[::-1])] + ordinals
    names = [e.timbre for e in events]
    alone = [names.count(name) == 1 for name in names]
    pairs = list(itertools.pairwise(range(len(names))))
    return [[(f"after {names[i]}", names[j])] for i, j in pairs if alone[i]] + [[(f"before {names[j]}", names[i])] for i, j in pairs if alone[j]]


def _chart(values: list[tuple[str, int]]) -> list[list[Line]]:
    """What follows from a chart's values: which is the highest and the lowest; of different ones, their order. (What stands behind a colour is not
    asked: two hundred thousand such look-ups taught a model of this size nothing.)"""
    ordered = sorted(values, key=lambda cv: cv[1])
    names = [color for color, _ in ordered]
    lines = [[("highest", names[-1])]] if ordered[-1][1] > ordered[-2][1] else []
    lines += [[("lowest", names[0])]] if ordered[0][1] < ordered[1][1] else []
    return lines + ([[("order", " ".join(names))]] if len({value for _, value in values}) == len(values) else [])


def _grid(cells: list[tuple[str, object]], rng: np.random.Generator) -> list[list[Line]]:
    """What follows from a grid of colours: three of its cells; the missing one; or which colours there are and which not."""
    colors = [str(color) for _, color in cells]
    lines = [[(cells[i][0], colors[i])] for i in rng.permutation(len(cells))[:3].tolist()]
    if "?" in colors:
        return [*lines, vision.missing_color(colors)]
    there = list(dict.fromkeys(colors))
    absent = rng.permutation([c for c in COLORS if c not in there])[: len(there)].tolist()
    return lines + [[(f"exist {c}", "yes" if c in there else "no")] for c in [*there, *absent]]
