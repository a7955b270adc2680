"""The descriptive questions of the video world, and how every question sees a scene.

Steps are lines of the dense transcription (a disc's cells at four times, a pair's collision), so that what base training learned to see is what
reasoning starts from. Each family looks at a scene and either fills a `Question` or says that the scene does not suit it. Options are chosen so that
nothing but the video tells them apart: pairs among which one is asked for form a triangle, cells are images of each other under a quarter turn.
"""

import dataclasses
from collections.abc import Callable
from itertools import combinations

import numpy as np

from data.record import LETTERS
from data.worlds.question import Question
from data.worlds.video_physics import Collision, Disc, Motion
from data.worlds.video_render import COLORS, frame_times

LOOKS = (0, 3, 6, 9)  # the frames at which cells are transcribed
WAYS = ("left", "right", "up", "down")
Pair = tuple[str, ...]


@dataclasses.dataclass
class View:
    """A scene as a question sees it: discs in sorted order, their motion, the level's limit on collisions, the number of collisions that
    its family allowed, and the luck that settles balanced answers."""

    discs: list[Disc]
    motion: Motion
    limit: int
    most: int
    luck: float

    def __post_init__(self) -> None:
        self.names = [d.name for d in self.discs]
        self.seen: list[Collision] = self.motion.until(1.0)
        self.times: dict[Pair, float] = {c.pair: c.time for c in self.seen}

    def pairs(self) -> list[Pair]:
        return list(combinations(self.names, 2))


@dataclasses.dataclass(frozen=True)
class Family:
    """A kind of question: the fewest discs it needs, how many collisions its scenes may have (given the level's limit, the number of discs and the
    luck), and for questions about what comes later the time until which the motion is simulated."""

    ask: Callable[[View, Question, np.random.Generator], bool]
    fewest: int = 3
    most: Callable[[int, int, float], int] = lambda limit, discs, luck: limit
    later: float | None = None


def cell(x: float, y: float) -> str:
    """Letter for the column, number for the row of a 5 x 5 grid; `out` where the centre is outside."""
    return f"{'abcde'[int(x * 5)]}{int(y * 5) + 1}" if 0 <= x < 1 and 0 <= y < 1 else "out"


def when(time: float) -> str:
    """A third of the clip in a word."""
    return "early" if time < 1 / 3 else ("middle" if time < 2 / 3 else "late")


def say(pair: Pair) -> str:
    return f"{pair[0]} and {pair[1]}"


def watch(view: View, q: Question) -> None:
    """The whole transcription: every disc, then every pair."""
    see_discs(view.names, view, q)
    see_pairs(view.pairs(), view, q)


def see_discs(names: list[str], view: View, q: Question) -> list[int]:
    looks = [view.motion.positions(t) for t in frame_times()[list(LOOKS)].tolist()]
    return [q.see(name, " ".join(cell(*look[name]) for look in looks)) for name in names]


def see_pairs(pairs: list[Pair], view: View, q: Question) -> list[int]:
    return [q.see(f"{a} {b}", when(view.times[a, b]) if (a, b) in view.times else "no") for a, b in pairs]


def look(pairs: list[Pair], view: View, q: Question) -> list[int]:
    """Sees the discs of these pairs, then the pairs, in sorted order; returns the indices of the pairs' steps."""
    see_discs(sorted({name for pair in pairs for name in pair}), view, q)
    return see_pairs(sorted(pairs), view, q)


def choose_many(q: Question, truth: dict[str, bool], key: str, rng: np.random.Generator) -> None:
    """All options in random order, any number of them right; the last step names the right ones."""
    q.options, q.answer_type = rng.permutation(list(truth)).tolist(), "choices"
    q.answer = [LETTERS[i] for i, option in enumerate(q.options) if truth[option]]
    q.conclude(key, ", ".join(o for o in q.options if truth[o]) or "none")


def triangle(names: list[str], rng: np.random.Generator) -> list[Pair]:
    """The three pairs among three of the discs."""
    return list(combinations(sorted(names[i] for i in rng.permutation(len(names))[:3]), 2))


def _which(view: View, q: Question, rng: np.random.Generator) -> bool:
    """There is exactly one collision, so counting does not help."""
    if len(view.seen) != 1:
        return False
    right = view.seen[0].pair
    others = [p for p in view.pairs() if p != right]
    wrong = [others[i] for i in rng.permutation(len(others))[:2]]
    q.text = "Which of these collide?"
    q.choose(say(right), [say(p) for p in wrong], rng)
    look([right, *wrong], view, q)
    q.conclude("collide", say(right))
    return True


def highest_count(limit: int, discs: int) -> int:
    """The largest number of collisions that a count question offers: four options are enough."""
    return min(limit, discs * (discs - 1) // 2, 3)


def _count(view: View, q: Question, rng: np.random.Generator) -> bool:
    """Each number equally often: `view.most` is the number that luck has picked."""
    if len(view.seen) != view.most:
        return False
    highest = highest_count(view.limit, len(view.discs))
    q.template += f"/{highest}"
    q.text = "How many collisions are there?"
    q.choose(str(view.most), [str(n) for n in range(highest + 1) if n != view.most], rng)
    watch(view, q)
    q.conclude("count", view.most)
    return True


def _pairs(view: View, q: Question, rng: np.random.Generator) -> bool:
    """One or two of three pairs collide, equally often where the level allows two."""
    shown = triangle(view.names, rng)
    if sum(p in view.times for p in shown) != 1 + int(view.luck * min(2, view.most)):
        return False
    q.text = "Which of these collide? Name all."
    look(shown, view, q)
    choose_many(q, {say(p): p in view.times for p in shown}, "collide", rng)
    return True


def _order(view: View, q: Question, rng: np.random.Generator) -> bool:
    """Two of three pairs collide, in different thirds of the clip."""
    if len(view.seen) != 2 or when(view.seen[0].time) == when(view.seen[1].time):
        return False
    names = sorted({name for c in view.seen for name in c.pair})
    if len(names) != 3:
        return False
    shown, right = list(combinations(names, 2)), view.seen[0].pair
    q.text = "Which of these collide first?"
    q.choose(say(right), [say(p) for p in shown if p != right], rng)
    look(shown, view, q)
    q.conclude("first", say(right))
    return True


def _partner(view: View, q: Question, rng: np.random.Generator) -> bool:
    """The disc that another one hits, or hits first. With three discs a colour that is not there is the third option."""
    asked = view.names[int(rng.integers(len(view.names)))]
    hits = [c for c in view.seen if asked in c.pair]
    if not hits or len({when(c.time) for c in hits}) < len(hits):
        return False
    right = next(n for n in hits[0].pair if n != asked)
    others = [n for n in view.names if n not in (asked, right)]
    if len(others) < 2:
        absent = [c for c in COLORS if c not in view.names]
        others.append(absent[int(rng.integers(len(absent)))])
    q.text = f"Which disc does the {asked} disc hit first?"
    q.choose(right, others, rng)
    q.template += f"/{len(others) + 1}"
    look([p for p in view.pairs() if asked in p], view, q)
    q.conclude("partner", right)
    return True


def _place(view: View, q: Question, rng: np.random.Generator) -> bool:
    """Where a disc starts or ends. The four cells are images of each other under a quarter turn of the picture, as likely one as the other."""
    name = view.names[int(rng.integers(len(view.names)))]
    word, time = ("start", 0.0) if view.luck < 0.5 else ("end", 1.0)
    right = cell(*view.motion.positions(time)[name])
    if right in ("out", "c3"):
        return False
    cells, column, row = [], "abcde".index(right[0]), int(right[1]) - 1
    for _ in range(3):
        column, row = 4 - row, column
        cells.append(f"{'abcde'[column]}{row + 1}")
    q.template += f"/{word}"
    q.text = f"Where does the {name} disc {word}?"
    q.choose(right, cells, rng)
    q.conclude(word, right, parents=see_discs([name], view, q))
    return True


def _direction(view: View, q: Question, rng: np.random.Generator) -> bool:
    """Which way a disc moves at first, where that is one way by a clear margin and nothing hits it in the first third."""
    disc = view.discs[int(rng.integers(len(view.discs)))]
    if any(disc.name in c.pair and c.time < 1 / 3 for c in view.seen):
        return False
    across, along = abs(disc.vx), abs(disc.vy)
    if min(across, along) > 0.5 * max(across, along):
        return False
    right = WAYS[int(disc.vx > 0)] if across > along else WAYS[2 + int(disc.vy > 0)]
    q.text = f"Which way does the {disc.name} disc move first?"
    q.choose(right, [w for w in WAYS if w != right], rng)
    q.conclude("direction", right, parents=see_discs([disc.name], view, q))
    return True


def _enter(view: View, q: Question, rng: np.random.Generator) -> bool:
    """The one disc that starts outside the picture, or that ends there."""
    word, time = ("enters", 0.0) if view.luck < 0.5 else ("leaves", 1.0)
    outside = [name for name, place in view.motion.positions(time).items() if cell(*place) == "out"]
    if len(outside) != 1:
        return False
    q.template += f"/{word}/{len(view.names)}"
    q.text = f"Which disc {word} the video?"
    q.choose(outside[0], [n for n in view.names if n != outside[0]], rng)
    see_discs(view.names, view, q)
    q.conclude(word, outside[0])
    return True


def _exist(view: View, q: Question, rng: np.random.Generator) -> bool:
    """Half of the time the colour that is asked for is there."""
    there = view.luck < 0.5
    names = view.names if there else [c for c in COLORS if c not in view.names]
    asked = names[int(rng.integers(len(names)))]
    q.text = f"Is there a {asked} disc?"
    q.choose("yes" if there else "no", ["no" if there else "yes"], rng)
    see_discs(view.names, view, q)
    q.conclude(f"exist {asked}", "yes" if there else "no")
    return True


FAMILIES = {
    "which": Family(_which, most=lambda limit, discs, luck: 1),
    "count": Family(_count, fewest=2, most=lambda limit, discs, luck: int(luck * (highest_count(limit, discs) + 1))),
    "pairs": Family(_pairs),
    "order": Family(_order, most=lambda limit, discs, luck: 2),
    "partner": Family(_partner),
    "place": Family(_place, fewest=1),
    "direction": Family(_direction, fewest=1),
    "enter": Family(_enter, fewest=2),
    "exist": Family(_exist, fewest=1),
}
