"""CLEVRER's three causal families: why a disc changes its course, what happens next, and what would happen without a disc. The last two are decided
by simulating on or again, never by rule."""

from itertools import combinations

import numpy as np

from data.worlds.question import Question
from data.worlds.video_physics import clearance, simulate
from data.worlds.video_questions import Family, Pair, View, choose_many, look, say, triangle, watch, when
from data.worlds.video_scene import CLIP_END, inside, is_clear

HORIZON = 1.6  # predictions look this far, in clips; the clip ends at 1
LATER_GAP, LATER_GRAZE = 0.04, 0.9


def _explanatory(view: View, q: Question, rng: np.random.Generator) -> bool:
    """Who is responsible for a disc's change of course: the discs that touch it, and nobody else. One or two of them, equally often where the
    scene has room for two."""
    asked = view.names[int(rng.integers(len(view.names)))]
    others = [n for n in view.names if n != asked]
    truth = {n: tuple(sorted((n, asked))) in view.times for n in others}
    if sum(truth.values()) != 1 + int(view.luck * min(len(others) - 1, view.limit, 2)):
        return False
    q.template += f"/{len(truth)}"
    q.text = f"Which discs change the course of the {asked} disc?"
    look([p for p in view.pairs() if asked in p], view, q)
    choose_many(q, truth, "responsible", rng)
    return True


def _predictive(view: View, q: Question, rng: np.random.Generator) -> bool:
    """The one pair that collides after the clip's end, in the picture, with all discs moving on as they do."""
    later = [c for c in view.motion.collisions if 1.0 < c.time <= HORIZON]
    if len(later) != 1 or later[0].offset > LATER_GRAZE or not inside(view.motion, later[0].pair, later[0].time, 0.0):
        return False
    if clearance(view.motion, HORIZON) < LATER_GAP:
        return False
    right = later[0].pair
    others = [p for p in view.pairs() if p != right]
    wrong = [others[i] for i in rng.permutation(len(others))[:2]]
    q.text = "Which of these collide next, after the video ends?"
    q.choose(say(right), [say(p) for p in wrong], rng)
    look([right, *wrong], view, q)
    q.conclude("next", say(right))
    return True


def _counterfactual(view: View, q: Question, rng: np.random.Generator) -> bool:
    """Without a disc that takes part in a collision: do the other two collide (three discs; yes as often as no), or which pairs of three others (one
    of them, or from three collisions on one or two). Pairs with the absent disc are never offered: the question alone would rule them out. From
    level 3 on, half of the answers differ from what happens in the clip, so that reading off the clip is no answer."""
    involved = sorted({name for c in view.seen for name in c.pair})
    for i in rng.permutation(len(involved)).tolist():
        left = [d for d in view.discs if d.name != involved[i]]
        shown = triangle([d.name for d in left], rng) if len(left) > 2 else list(combinations([d.name for d in left], 2))
        without = simulate(left, CLIP_END)
        assert without is not None
        times = {c.pair: c.time for c in without.until(1.0)}
        hits = sum(p in times for p in shown)
        if hits != (int(view.luck * 2) if len(shown) == 1 else 1 + int(view.luck * (view.limit - 1))):
            continue
        differs = any((p in times) != (p in view.times) for p in shown)
        if (view.limit == 1 or differs == int(view.luck * 4) % 2) and is_clear(without, len(view.pairs())):
            _ask_without(involved[i], shown, times, view, q, rng)
            return True
    return False


def _ask_without(gone: str, shown: list[Pair], times: dict[Pair, float], view: View, q: Question, rng: np.random.Generator) -> None:
    watch(view, q)
    for a, b in shown:
        q.conclude(f"without {a} {b}", when(times[a, b]) if (a, b) in times else "no")
    q.meta = {"removed": gone}
    q.template += f"/{len(shown)}"
    if len(shown) == 1:
        yes, no = ("yes", "no") if shown[0] in times else ("no", "yes")
        q.text = f"Without the {gone} disc, do {say(shown[0])} collide?"
        q.choose(yes, [no], rng)
        q.conclude("collide", yes, parents=[len(q.steps) - 1])
    else:
        q.text = f"Without the {gone} disc, which of these collide?"
        choose_many(q, {say(p): p in times for p in shown}, "collide", rng)


FAMILIES = {
    "explanatory": Family(_explanatory),
    "predictive": Family(_predictive, later=HORIZON),
    "counterfactual": Family(_counterfactual),
}
