"""The text world: reading and calculating without any medium, in the words of the other worlds. Base training takes from it how an option's text
leads to its letter and how a list of facts leads to a conclusion, so that the media worlds need to teach only what can be seen and heard.

A level is a number of things to read: level 1 shows two, each level one more. Families: `letter` (which option says this), `letters` (which options
say these), `fact` (one of several facts), `highest` (of several facts), `count` (how often a word stands in a list), `sum` (of two numbers);
`sounds`, `chart` and `grid`: what follows from notes of a clip, a chart or a grid (`text_notes.py`), at the level of the world that they are
taken from.
"""

import dataclasses
import hashlib

import numpy as np

from data.record import LETTERS, Record
from data.worlds import audio, text_notes, vision
from data.worlds.audio_synth import NOTES, TIMBRES
from data.worlds.base import Sample, World
from data.worlds.question import Question
from data.worlds.video_render import COLORS as DISCS
from data.worlds.vision_render import COLORS

# What options of the other worlds are made of: words, places, numbers, pairs.
WORDS = {
    "color": sorted({*COLORS, *DISCS}),
    "sound": sorted({*TIMBRES, *NOTES}),
    "place": [f"{column}{row}" for column in "abcde" for row in range(1, 6)],
    "number": [str(n) for n in range(20)],
    "pair": [f"{a} and {b}" for a in sorted(DISCS) for b in sorted(DISCS) if a < b],
    "short": ["yes", "no", "left", "right", "up", "down", "same", "fast", "slow", "early", "middle", "late"],
}


@dataclasses.dataclass
class Scene:
    """`words` are different from each other; `numbers` belong to them. `noted`: the scene of another world that notes are taken of."""

    family: str
    words: list[str]
    numbers: list[int]
    group: str
    noted: audio.Scene | vision.Scene | None = None


class TextWorld(World):
    name = "text"
    modality = "text"
    levels = (1, 2, 3, 4, 5)
    all_families = ("letter", "letters", "fact", "highest", "count", "sum", "sounds", "chart", "grid")

    def draw(self, level: int, rng: np.random.Generator) -> Scene:
        family = str(rng.choice(self.families))
        if family in NOTED:
            noted = NOTED[family].draw(level, rng)
            return Scene(family, [], [], noted.group, noted)
        kind = "color" if family in ("fact", "highest", "sum") else str(rng.choice(list(WORDS)))
        words = rng.permutation(WORDS[kind])[: level + 1].tolist()
        numbers = rng.integers(1, 10, len(words)).tolist()
        what = repr((family, words, numbers))
        return Scene(family, words, numbers, f"text/{hashlib.blake2b(what.encode(), digest_size=8).hexdigest()}")

    def build(self, scene: Scene, level: int, rng: np.random.Generator) -> Sample | None:
        q = Question(scene.family)
        if scene.noted is not None:
            text_notes.write(scene.noted, q, rng)
            if not q.steps:  # nothing follows from two equal values
                return None
        elif not FAMILIES[scene.family](scene, q, rng):
            return None
        meta = {"level": level, "family": scene.family, "template": f"{q.template}/{level}", "facts": q.facts}
        uid = hashlib.blake2b(f"{scene.group}/{q.text}/{q.options}".encode(), digest_size=8).hexdigest()
        record = Record(f"text-{level}-{uid}", q.text, q.answer, q.answer_type, [], q.options, steps=q.steps, source="world/text", meta=meta)
        return Sample(record, [])


def _letter(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    right = scene.words[0]
    q.text = f"Which option says {right}?"
    q.choose(right, scene.words[1:], rng)
    q.conclude("says", right)
    return True


def _letters(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    """One or more of the options, in the options' order; the question names them in an order of its own."""
    said = scene.words[: int(rng.integers(1, len(scene.words) + 1))]
    q.text = f"Which options say {', '.join(said)}?"
    q.options, q.answer_type = rng.permutation(scene.words).tolist(), "choices"
    q.answer = [LETTERS[i] for i, option in enumerate(q.options) if option in said]
    q.conclude("say", ", ".join(option for option in q.options if option in said))
    return True


def _facts(scene: Scene) -> str:
    return ", ".join(f"{word} {number}" for word, number in zip(scene.words, scene.numbers, strict=True))


def _fact(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    place = int(rng.integers(len(scene.words)))
    q.text = f"{_facts(scene)}. What is the value of {scene.words[place]}?"
    q.see(scene.words[place], scene.numbers[place])
    q.answer, q.answer_type = [str(scene.numbers[place])], "integer"
    return True


def _highest(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    ordered = sorted(zip(scene.numbers, scene.words, strict=True), reverse=True)
    if ordered[0][0] == ordered[1][0]:
        return False
    q.text = f"{_facts(scene)}. Which of these is the highest?"
    q.choose(ordered[0][1], [word for _, word in ordered[1:]], rng)
    for option in q.options:
        q.see(option, scene.numbers[scene.words.index(option)])
    q.conclude("highest", ordered[0][1])
    return True


def _count(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    """Every count from one to the length of the list is equally likely."""
    length, word = len(scene.words) + 1, scene.words[0]
    count = int(rng.integers(1, length + 1))
    listed = rng.permutation([word] * count + rng.choice(scene.words[1:], length - count).tolist()).tolist()
    q.text = f"{', '.join(listed)}. How often does it say {word}?"
    q.conclude("count", count)
    q.answer, q.answer_type = [str(count)], "integer"
    return True


def _sum(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    (c1, v1), (c2, v2) = [(scene.words[i], scene.numbers[i]) for i in rng.permutation(len(scene.words))[:2].tolist()]
    q.text = f"{_facts(scene)}. What is the sum of {c1} and {c2}?"
    parents = [q.see(c1, v1), q.see(c2, v2)]
    q.conclude("sum", v1 + v2, f"{v1} + {v2}", parents)
    q.answer, q.answer_type = [str(v1 + v2)], "integer"
    return True


FAMILIES = {"letter": _letter, "letters": _letters, "fact": _fact, "highest": _highest, "count": _count, "sum": _sum}
# Where notes come from; their scenes keep the groups of the worlds they are taken from, so that no split reads what another one hears or sees.
NOTED = {
    "sounds": audio.AudioWorld(["order", "order", "order", "count", "overlap", "melody"]),
    "chart": vision.VisionWorld(list(vision.CHARTS)),
    "grid": vision.VisionWorld(["puzzle"]),
}
