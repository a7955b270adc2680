"""The audio world: sequences and overlaps of synthesised events, and short melodies.

A level is a length: level 1 has two events, each level one more. An event has a timbre, a pitch (high or low) and a loudness (loud or soft).
Families: `order, neighbour, count, attribute, compare, overlap` on events, `melody` on notes, and `perceive`, the dense transcription in order of
time.
"""

import dataclasses
import hashlib

import numpy as np

from data.record import MediaRef, Record
from data.worlds import audio_synth as synth
from data.worlds.base import Sample, World
from data.worlds.question import Question
from models.media import Media

SLOT = int(0.42 * synth.RATE)  # samples from one onset to the next at medium tempo
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")
ALL_NOTES = tuple(synth.NOTES)


@dataclasses.dataclass(frozen=True)
class Event:
    timbre: str
    pitch: str = "low"
    loudness: str = "loud"

    @property
    def words(self) -> str:
        return f"{self.timbre} {self.manner}"

    @property
    def manner(self) -> str:
        return f"{self.pitch} {self.loudness}"


@dataclasses.dataclass
class Scene:
    family: str
    slots: list[tuple[Event, ...]]  # two events in a slot sound together
    notes: list[str]
    fast: bool
    group: str


class AudioWorld(World):
    name = "audio"
    modality = "audio"
    levels = (1, 2, 3, 4, 5, 6)
    all_families = ("order", "neighbour", "count", "attribute", "compare", "overlap", "melody", "perceive")

    def draw(self, level: int, rng: np.random.Generator) -> Scene:
        family = str(rng.choice(self.families))
        kind = str(rng.choice(["events", "overlap", "melody"], p=[0.65, 0.15, 0.2])) if family == "perceive" else family
        count, fast = level + 1, bool(rng.random() < 0.5)
        notes: list[str] = []
        slots: list[tuple[Event, ...]] = []
        if kind == "melody":
            notes = [ALL_NOTES[i] for i in rng.integers(0, len(ALL_NOTES), count)]
        else:
            repeats = kind == "count" or (kind == "events" and rng.random() < 0.4)
            slots = _events(count, repeats, rng)
            if kind == "overlap":
                place = int(rng.integers(count))
                other = str(rng.choice([t for t in synth.TIMBRES if t not in {e.timbre for s in slots for e in s}]))
                slots[place] = (Event(slots[place][0].timbre), Event(other))
        what = repr((slots, notes, fast if notes else None))
        return Scene(family, slots, notes, fast, f"audio/{hashlib.blake2b(what.encode(), digest_size=8).hexdigest()}")

    def build(self, scene: Scene, level: int, rng: np.random.Generator) -> Sample | None:
        q = Question(scene.family)
        if scene.family == "perceive":
            q.text, q.answer = "Describe the sound.", ["melody" if scene.notes else "sounds"]
            listen(scene, q)
        elif not FAMILIES[scene.family](scene, q, rng):
            return None
        facts = Question("")
        listen(scene, facts)
        meta = {"level": level, "family": scene.family, "template": f"{q.template}/{level}", "facts": facts.facts | q.facts} | _mmau(scene, level)
        uid = hashlib.blake2b(f"{scene.group}/{q.text}/{q.options}/{scene.family}".encode(), digest_size=8).hexdigest()
        medium = MediaRef("audio", f"world://audio/{level}/{uid}")
        record = Record(f"audio-{level}-{uid}", q.text, q.answer, q.answer_type, [medium], q.options, steps=q.steps, source="world/audio", meta=meta)
        return Sample(record, [Media("audio", _sound(scene, rng), synth.RATE)])


def _events(count: int, repeats: bool, rng: np.random.Generator) -> list[tuple[Event, ...]]:
    if repeats:
        few = rng.choice(synth.TIMBRES, min(count, 3), replace=False)
        timbres = rng.choice(few, count, p=rng.dirichlet(np.ones(len(few)))).tolist()
    else:
        timbres = rng.choice(synth.TIMBRES, count, replace=False).tolist()
    return [(Event(str(t), str(rng.choice(["low", "high"])), str(rng.choice(["soft", "loud"]))),) for t in timbres]


def _sound(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The clip: events at jittered onsets over a faint noise floor."""
    slots: list = scene.notes or scene.slots
    step = SLOT if not scene.notes else int((0.3 if scene.fast else 0.45) * synth.RATE)
    lead = int(rng.integers(0, synth.RATE // 10))
    wave = rng.standard_normal(lead + step * len(slots) + synth.RATE // 10).astype(np.float32) * 0.001
    for i, slot in enumerate(slots):
        start = lead + i * step
        if isinstance(slot, str):
            part = synth.note(slot, int(step * 0.9))
            wave[start : start + part.size] += 0.5 * part
            continue
        for e in slot:
            length = 4000 + 400 * int(rng.integers(0, 5))  # few lengths, so that rendered events are reused
            part = synth.event(e.timbre, e.pitch == "high", length)
            onset = start + int(rng.integers(0, max(1, step - length)))
            wave[onset : onset + part.size] += synth.LOUDNESS[e.loudness] / len(slot) * part
    return synth.quantise(wave)


def listen(scene: Scene, q: Question, kept: dict[int, tuple[str, object]] | None = None) -> list[int]:
    """All that can be heard, in order of time; with `kept` (by place, from 0) as in `Question.note`."""
    if scene.notes:
        return q.note([*((str(i), note) for i, note in enumerate(scene.notes, 1)), ("tempo", "fast" if scene.fast else "slow")])
    heard = [(str(i), s[0].words if len(s) == 1 else f"{s[0].timbre} and {s[1].timbre}") for i, s in enumerate(scene.slots, 1)]
    return q.note(heard, {str(place + 1): line for place, line in (kept or {}).items()})


def _names(scene: Scene) -> list[str]:
    return [s[0].timbre for s in scene.slots]


def _order(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    names, place = _names(scene), int(rng.integers(len(scene.slots)))
    q.text = f"Which sound is the {ORDINALS[place]}?"
    seen = listen(scene, q)
    q.conclude(ORDINALS[place], names[place], parents=[seen[place]])
    q.answer = [names[place]]
    return True


def _neighbour(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    names, place = _names(scene), int(rng.integers(len(scene.slots) - 1))
    after = bool(rng.random() < 0.5)
    asked, right = (names[place], names[place + 1]) if after else (names[place + 1], names[place])
    word = "after" if after else "before"
    q.template += f"/{word}"
    q.text = f"Which sound comes right {word} the {asked}?"
    listen(scene, q)
    q.conclude(f"{word} {asked}", right)
    others = [t for t in synth.TIMBRES if t not in (asked, right)]
    heard = [t for t in others if t in names][:2]  # what was heard elsewhere makes the best wrong options
    rest = [t for t in rng.permutation(others).tolist() if t not in heard]
    q.choose(right, (heard + rest)[:3], rng)
    return True


def _count(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    names = _names(scene)
    wanted = int(rng.integers(1, min(len(names), 5) + 1))
    timbre = next((t for t in dict.fromkeys(names) if names.count(t) == wanted), None)
    if timbre is None:
        return False
    q.text = f"How often does the {timbre} sound?"
    found = [place for place, name in enumerate(names) if name == timbre]
    tally = listen(scene, q, {place: (f"{timbre} {i}", place + 1) for i, place in enumerate(found, 1)})
    q.conclude(f"count {timbre}", wanted, parents=tally)
    wrong = rng.choice([n for n in range(1, 6) if n != wanted], 3, replace=False).tolist()
    q.choose(str(wanted), [str(n) for n in wrong], rng)
    return True


def _attribute(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    pitch, loudness = str(rng.choice(["low", "high"])), str(rng.choice(["soft", "loud"]))
    fits = [place for place, s in enumerate(scene.slots) if (s[0].pitch, s[0].loudness) == (pitch, loudness)]
    if len(fits) != 1:
        return False
    name = scene.slots[fits[0]][0].timbre
    q.text = f"Which sound is {pitch} and {loudness}?"
    listen(scene, q, {fits[0]: (f"{pitch} {loudness}", name)})
    q.answer = [name]
    return True


def _compare(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    i, j = rng.choice(len(scene.slots), 2, replace=False).tolist()
    a, b = scene.slots[i][0], scene.slots[j][0]
    what = str(rng.choice(["louder", "higher"]))
    first, second = (a.loudness == "loud", b.loudness == "loud") if what == "louder" else (a.pitch == "high", b.pitch == "high")
    if a.timbre == b.timbre or (first == second and rng.random() < 0.5):  # the three answers come equally often
        return False
    right = "same" if first == second else (a.timbre if first else b.timbre)
    q.template += f"/{what}"
    q.text = f"Which is {what}, the {a.timbre} or the {b.timbre}?"
    q.conclude(what, right, parents=listen(scene, q, {i: (a.timbre, a.manner), j: (b.timbre, b.manner)}))
    q.choose(right, [o for o in (a.timbre, b.timbre, "same") if o != right], rng)
    return True


def _overlap(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    pair = next(s for s in scene.slots if len(s) == 2)
    asked, right = (pair[0], pair[1]) if rng.random() < 0.5 else (pair[1], pair[0])
    q.text = f"Which sound plays together with the {asked.timbre}?"
    listen(scene, q)
    q.conclude(f"together {asked.timbre}", right.timbre)
    q.answer = [right.timbre]
    return True


def _melody(scene: Scene, q: Question, rng: np.random.Generator) -> bool:
    pitches = [ALL_NOTES.index(n) for n in scene.notes]
    kind = str(rng.choice(["note", "interval", "tempo", "direction"]))
    q.template += f"/{kind}"
    if kind == "note":
        place = int(rng.integers(len(pitches)))
        q.text = f"What is the {ORDINALS[place]} note?"
        seen = listen(scene, q)
        q.conclude(ORDINALS[place], scene.notes[place], parents=[seen[place]])
        q.answer = [scene.notes[place]]
    elif kind == "tempo":
        q.text = "Is the melody fast or slow?"
        listen(scene, q)
        right = "fast" if scene.fast else "slow"
        q.choose(right, ["slow" if scene.fast else "fast"], rng)
    elif kind == "direction":
        if pitches[0] == pitches[-1]:
            return False
        q.text = "Does the melody end higher or lower than it starts?"
        listen(scene, q)
        right = "higher" if pitches[-1] > pitches[0] else "lower"
        q.conclude("end", right)
        q.choose(right, ["lower" if right == "higher" else "higher"], rng)
    else:
        gap = abs(pitches[-1] - pitches[0])
        # Small intervals are more frequent: keep each with the inverse of its frequency among two uniform notes.
        if rng.random() > 1 / (len(ALL_NOTES) - gap) * (2 if gap == 0 else 1):
            return False
        q.text = "How many steps lie between the first and the last note?"
        listen(scene, q)
        q.conclude("steps", gap)
        q.answer, q.answer_type = [str(gap)], "integer"
    return True


FAMILIES = {
    "order": _order, "neighbour": _neighbour, "count": _count, "attribute": _attribute, "compare": _compare, "overlap": _overlap, "melody": _melody,
}  # fmt: skip


def _mmau(scene: Scene, level: int) -> dict:
    """The fields that MMAU breaks its scores down by."""
    sub = {
        "order": "Temporal Event Reasoning", "neighbour": "Temporal Event Reasoning", "count": "Event-Based Sound Reasoning",
        "compare": "Acoustic Source Inference", "attribute": "Sound-Based Event Recognition", "overlap": "Acoustic Scene Reasoning",
        "melody": "Melodic Structure Interpretation",
    }  # fmt: skip
    return {
        "task": "music" if scene.notes else "sound",
        "difficulty": "easy" if level <= 2 else ("medium" if level <= 4 else "hard"),
        "category": "Information Extraction" if scene.family in ("attribute", "perceive") else "Reasoning",
        "sub-category": sub.get(scene.family, "Sound-Based Event Recognition"),
    }
