"""The questions of the video world. Each takes discs and motion, fills a `Question` and returns whether the scene suits it.

Steps are lines of the dense transcription (a disc's cells at four times, a pair's collision), so that what base training learned to see is what
reasoning starts from.
"""

from itertools import combinations

import numpy as np

from data.worlds.question import Question
from data.worlds.video_physics import Disc, Motion, clearance, simulate
from data.worlds.video_render import frame_times

LOOKS = (0, 3, 6, 9)  # the frames at which cells are transcribed
FEWEST = {"which": 3, "pairs": 3, "order": 3, "explanatory": 3, "counterfactual": 3, "count": 2, "predictive": 3}  # discs
HORIZON = 1.6


def cell(x: float, y: float) -> str:
    """Letter for the column, number for the row of a 5 x 5 grid; `out` where the centre is outside."""
    return f"{'abcde'[int(x * 5)]}{int(y * 5) + 1}" if 0 <= x < 1 and 0 <= y < 1 else "out"


def when(time: float) -> str:
    """A third of the clip in a word."""
    return "early" if time < 1 / 3 else ("middle" if time < 2 / 3 else "late")


def pair_key(pair: tuple[str, ...]) -> str:
    return f"{pair[0]} {pair[1]}"


def all_pairs(motion: Motion) -> list[tuple[str, ...]]:
    return list(combinations(sorted(d.name for d in motion.stretches[0]), 2))


def watch(motion: Motion, q: Question) -> None:
    """The whole transcription: every disc, then every pair."""
    for name in sorted(d.name for d in motion.stretches[0]):
        see_disc(name, motion, q)
    see_pairs(all_pairs(motion), motion, q)


def see_disc(name: str, motion: Motion, q: Question) -> int:
    times = frame_times()
    return q.see(name, " ".join(cell(*motion.positions(times[i])[name]) for i in LOOKS))


def see_pairs(pairs: list[tuple[str, ...]], motion: Motion, q: Question) -> dict[tuple[str, ...], int]:
    times = {c.pair: c.time for c in motion.until(1.0)}
    return {pair: q.see(pair_key(pair), when(times[pair]) if pair in times else "no") for pair in pairs}


def _say(pair: tuple[str, ...]) -> str:
    return f"{pair[0]} and {pair[1]}"


def _choose_many(q: Question, truth: dict[str, bool], rng: np.random.Generator) -> bool:
    """Options in random order with every right letter as the answer. The size of the answer is drawn first, so that no set of letters is the
    likeliest."""
    right, wrong = [t for t, ok in truth.items() if ok], [t for t, ok in truth.items() if not ok]
    if not right or not wrong:
        return False
    options = rng.permutation([*right, *wrong]).tolist()
    q.options, q.answer_type = options, "choices"
    q.answer = ["ABCDEF"[i] for i, option in enumerate(options) if truth[option]]
    return True


def _which(discs: list[Disc], motion: Motion, q: Question, rng: np.random.Generator) -> bool:
    """Exactly one pair of three collides: counting does not help."""
    hits = {c.pair for c in motion.until(1.0)}
    pairs = all_pairs(motion)
    right = [p for p in pairs if p in hits]
    if len(right) != 1:
        return False
    wrong = [p for p in pairs if p not in hits]
    picked = [wrong[i] for i in rng.choice(len(wrong), 2, replace=False)]
    q.text = "Which of these collide?"
    q.choose(_say(right[0]), [_say(p) for p in picked], rng)
    _think(q, motion, sorted([right[0], *picked]))
    q.conclude("collide", _say(right[0]))
    return True


def _think(q: Question, motion: Motion, pairs: list[tuple[str, ...]]) -> None:
    for name in sorted({n for p in pairs for n in p}):
        see_disc(name, motion, q)
    see_pairs(pairs, motion, q)


def _count(discs: list[Disc], motion: Motion, q: Question, rng: np.random.Generator) -> bool:
    count, most = len(motion.until(1.0)), 2 if len(discs) < 4 else 3
    most = min(most, len(all_pairs(motion)))
    if rng.integers(most + 1) != count:  # each count equally often
        return False
    q.template += f"/{most}"
    q.text = "How many collisions are there?"
    watch(motion, q)
    q.conclude("count", count)
    q.choose(str(count), [str(n) for n in range(most + 1) if n != count], rng)
    return True


def _pairs(discs: list[Disc], motion: Motion, q: Question, rng: np.random.Generator) -> bool:
    """Several answers may be right. Three pairs are shown, holding as many right ones as a draw says."""
    hits = {c.pair for c in motion.until(1.0)}
    pairs = all_pairs(motion)
    right, wrong = [p for p in pairs if p in hits], [p for p in pairs if p not in hits]
    wanted = int(rng.choice([1, 2], p=[0.5, 0.5]))
    if len(right) < wanted or len(wrong) < 3 - wanted:
        return False
    shown = [right[i] for i in rng.choice(len(right), wanted, replace=False)] + [wrong[i] for i in rng.choice(len(wrong), 3 - wanted, replace=False)]
    q.text = "Which of these collide? Name all."
    _think(q, motion, sorted(shown))
    if not _choose_many(q, {_say(p): p in hits for p in shown}, rng):
        return False
    q.conclude("collide", ", ".join(o for o, letter in zip(q.options, "ABC", strict=True) if letter in q.answer))
    return True


def _order(discs: list[Disc], motion: Motion, q: Question, rng: np.random.Generator) -> bool:
    seen = motion.until(1.0)
    if len(seen) < 2 or when(seen[0].time) == when(seen[1].time):
        return False
    pairs = sorted({c.pair for c in seen})
    others = [p for p in all_pairs(motion) if p not in pairs]
    q.text = "Which of these collide first?"
    wrong = [p for p in pairs if p != seen[0].pair] + [others[i] for i in rng.permutation(len(others))]
    q.choose(_say(seen[0].pair), [_say(p) for p in wrong[:2]], rng)
    _think(q, motion, sorted([seen[0].pair, *wrong[:2]]))
    q.conclude("first", _say(seen[0].pair))
    return len(wrong) >= 2


def _place(discs: list[Disc], motion: Motion, q: Question, rng: np.random.Generator) -> bool:
    """Where a disc starts or ends, as one of four cells that other discs or its own path visit."""
    disc = discs[int(rng.integers(len(discs)))]
    word, time = ("start", 0.0) if rng.random() < 0.5 else ("end", 1.0)
    right = cell(*motion.positions(time)[disc.name])
    if right == "out":
        return False
    cells = [f"{c}{r}" for c in "abcde" for r in range(1, 6) if f"{c}{r}" != right]
    q.template += f"/{word}"
    q.text = f"Where does the {disc.name} disc {word}?"
    q.choose(right, rng.choice(cells, 3, replace=False).tolist(), rng)
    seen = see_disc(disc.name, motion, q)
    q.conclude(word, right, parents=[seen])
    return True


def _explanatory(discs: list[Disc], motion: Motion, q: Question, rng: np.random.Generator) -> bool:
    """Who is responsible for a disc's change of course: the discs that touched it, and nobody else."""
    hits = {c.pair for c in motion.until(1.0)}
    names = sorted(d.name for d in discs)
    asked = str(rng.choice(names))
    truth = {n: tuple(sorted((n, asked))) in hits for n in names if n != asked}
    q.template += f"/{len(truth)}"
    q.text = f"Which discs change the course of the {asked} disc?"
    _think(q, motion, sorted(tuple(sorted((n, asked))) for n in truth))
    if not _choose_many(q, truth, rng) or (len(q.answer) == 1 and len(truth) == 2 and rng.random() < 0.3):
        return False
    q.conclude("responsible", ", ".join(n for n in truth if truth[n]))
    return True


def _predictive(discs: list[Disc], motion: Motion, q: Question, rng: np.random.Generator) -> bool:
    """Which pair collides after the clip's end, with all discs still moving as they did."""
    later = {c.pair for c in motion.collisions if 1.0 < c.time <= HORIZON}
    if len(later) != 1 or clearance(motion, HORIZON) < 0.04:
        return False
    right = next(iter(later))
    wrong = [p for p in all_pairs(motion) if p != right]
    picked = [wrong[i] for i in rng.choice(len(wrong), 2, replace=False)]
    q.text = "Which of these collide next, after the video ends?"
    q.choose(_say(right), [_say(p) for p in picked], rng)
    _think(q, motion, sorted([right, *picked]))
    q.conclude("next", _say(right))
    return True


def _counterfactual(discs: list[Disc], motion: Motion, q: Question, rng: np.random.Generator) -> bool:
    """Without one disc, which of the others collide during the clip? At least one right and one wrong option, and the scene is one that the disc
    matters to."""
    gone = str(rng.choice([d.name for d in discs]))
    without = simulate([d for d in discs if d.name != gone], HORIZON)
    if without is None or clearance(without, 1.0) < 0.04 or any(c.offset > 0.9 for c in without.until(1.0)):
        return False
    hits = {c.pair for c in without.until(1.0)}
    pairs = all_pairs(motion)
    truth = {_say(p): p in hits for p in pairs if gone not in p}
    extra = [p for p in pairs if gone in p]
    truth |= {_say(extra[i]): False for i in rng.choice(len(extra), min(len(extra), max(0, 3 - len(truth))), replace=False)}
    q.template += f"/{len(truth)}"
    q.text = f"Without the {gone} disc, which of these collide?"
    watch(motion, q)
    if not _choose_many(q, truth, rng):
        return False
    q.conclude("collide", ", ".join(o for o, letter in zip(q.options, "ABCDEF", strict=False) if letter in q.answer))
    q.meta = {"removed": gone}
    return True


FAMILIES = {
    "which": _which, "count": _count, "pairs": _pairs, "order": _order, "place": _place, "explanatory": _explanatory, "predictive": _predictive,
    "counterfactual": _counterfactual,
}  # fmt: skip
