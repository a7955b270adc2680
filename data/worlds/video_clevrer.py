"""The video world in CLEVRER's own files: mp4 videos, one annotation per video, one question file per split.

Layout and keys follow the data set's README (data.csail.mit.edu/clevrer): `videos/train/video_00000-01000/video_00000.mp4`,
`annotations/train/annotation_00000-01000/annotation_00000.json`, `questions/train.json`; scenes are numbered from 0 (train), 10000 (validation) and
15000 (test). Descriptive questions have one word as their answer, the others have choices that are each correct or wrong, none of them too.
Programs use the official modules in postfix order, and one of our own, `query_cell`.

Deviations: locations are in units of the picture's side (x right, y down, z 0), velocities per second; a video has as many frames as the world
renders; the test split keeps its answers; every question carries the id of the record that it was made from.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data.media import write_media
from data.record import LETTERS, Record, answer_text
from data.worlds.base import Sample
from data.worlds.video_physics import Disc, Motion, simulate
from data.worlds.video_render import COLORS, FPS, FRAMES, frame_times

SPLITS = {"train": ("train", 0), "dev": ("validation", 10_000), "test": ("test", 15_000)}
SECONDS = (FRAMES - 1) / FPS


def to_clevrer(samples: Iterable[Sample], folder: str | Path) -> list[Path]:
    """Write samples of the video world below `folder`; returns the question files. Samples of one scene share its video. `ValueError` where a sample
    is of another world or holds no frames."""
    folder = Path(folder)
    scenes: dict[str, dict[str, dict[str, Any]]] = {}
    for sample in samples:
        record = sample.record
        if record.source != "world/video" or len(sample.media) != 1:
            raise ValueError(f"record {record.id!r}: not an item of the video world with its frames; CLEVRER's files can hold nothing else")
        split, first = SPLITS[record.split or "train"]
        known = scenes.setdefault(split, {})
        key = json.dumps(record.meta["discs"])
        if key not in known:
            index = first + len(known)
            known[key] = {"scene_index": index, "video_filename": f"video_{index:05d}.mp4", "questions": []}
            write_media(_place(folder, "video", split, index), sample.media[0])
            _write(_place(folder, "annotation", split, index).with_suffix(".json"), annotation(record, index))
        scene = known[key]
        for question in questions(record):
            scene["questions"].append({"question_id": len(scene["questions"]), **question, "record_id": record.id})
    return [_write(folder / "questions" / f"{split}.json", list(known.values())) for split, known in scenes.items()]


def annotation(record: Record, index: int) -> dict[str, Any]:
    """What CLEVRER annotates of a video: properties, trajectories and collisions, from simulating the record's discs again."""
    discs = [Disc(*d) for d in record.meta["discs"]]
    motion = simulate(discs, 1.0)
    assert motion is not None
    numbers = {d.name: i for i, d in enumerate(discs)}
    return {
        "scene_index": index,
        "video_filename": f"video_{index:05d}.mp4",
        "object_property": [{"object_id": i, "color": d.name, "material": "rubber", "shape": "sphere"} for i, d in enumerate(discs)],
        "motion_trajectory": [
            {"frame_id": frame, "objects": [_state(d, numbers[d.name]) for d in motion.discs_at(time)]}
            for frame, time in enumerate(frame_times().tolist())
        ],
        "collision": [_collision(motion, c.time, c.pair, numbers) for c in motion.until(1.0)],
    }


def _state(disc: Disc, number: int) -> dict[str, Any]:
    inside = 0 <= disc.x < 1 and 0 <= disc.y < 1
    velocity = [disc.vx / SECONDS, disc.vy / SECONDS, 0.0]
    still = {"orientation": [0.0, 0.0, 0.0], "angular_velocity": [0.0, 0.0, 0.0]}
    return {"object_id": number, "location": [disc.x, disc.y, 0.0], "velocity": velocity, "inside_camera_view": inside} | still


def _collision(motion: Motion, time: float, pair: tuple[str, str], numbers: dict[str, int]) -> dict[str, Any]:
    """The frame nearest to the collision, and the point of contact: half-way between two equal discs."""
    (ax, ay), (bx, by) = (motion.positions(time)[name] for name in pair)
    return {"object_ids": [numbers[n] for n in pair], "frame_id": round(time * (FRAMES - 1)), "location": [(ax + bx) / 2, (ay + by) / 2, 0.0]}


def questions(record: Record) -> list[dict[str, Any]]:
    """CLEVRER's questions for a record: one with choices for a causal family, else one or more that a single word answers."""
    kind = record.meta["question_type"]
    if kind == "descriptive":
        return [{"question": text, "question_type": kind, "program": program, "answer": answer} for text, program, answer in _descriptive(record)]
    texts, right = record.options or [], set(record.answer)
    question = record.question
    truth = {text: LETTERS[i] in right for i, text in enumerate(texts)}
    if record.answer_type == "choice" and texts[0] in ("yes", "no"):  # one pair: it is the only choice, correct or wrong
        _, _, asked = question.partition(", do ")
        question, truth = f"{question.partition(',')[0]}, which of these collide?", {asked.removesuffix(" collide?"): answer_text(record) == ["yes"]}
    choices = [
        {"choice_id": i, "choice": text, "program": _choice_program(kind, text), "answer": "correct" if ok else "wrong"}
        for i, (text, ok) in enumerate(truth.items())
    ]
    return [{"question": question, "question_type": kind, "program": _program(record), "choices": choices}]


def _descriptive(record: Record) -> list[tuple[str, list[str], str]]:
    """(question, program, one word). Questions whose options name pairs are asked anew, so that one word answers them."""
    family, answer = record.meta["family"], answer_text(record)[0]
    if family == "perceive":
        return [("How many collisions are there?", ["events", "objects", "filter_collision", "count"], answer)]
    if family == "pairs":
        return [_exists(option, LETTERS[i] in record.answer) for i, option in enumerate(record.options or [])]
    if family == "which":
        one, other = answer.split(" and ")
        return [(f"Which disc does the {one} disc collide with?", _partner(one), other)]
    if family == "order":
        first = set(answer.split(" and "))
        hits = [key for key, value in record.meta["facts"].items() if value in ("early", "middle", "late")]
        (shared,) = set.intersection(*(set(key.split()) for key in hits))
        (other,) = first - {shared}
        return [(f"Which disc collides with the {shared} disc first?", _partner(shared), other)]
    return [(record.question, _program(record), answer)]


def _exists(pair: str, there: bool) -> tuple[str, list[str], str]:
    return f"Do the {pair} discs collide?", [*_events_of("events", pair), "exist"], "yes" if there else "no"


def _object(color: str) -> list[str]:
    return ["objects", color, "filter_color", "unique"]


def _events_of(events: str, pair: str) -> list[str]:
    one, other = pair.split(" and ")
    return [events, *_object(one), "filter_collision", *_object(other), "filter_collision"]


def _partner(color: str) -> list[str]:
    return ["events", *_object(color), "filter_collision", "first", "filter_order", *_object(color), "query_collision_partner", "query_color"]


def _program(record: Record) -> list[str]:
    """The question's program; for a question with choices, what runs after the choice's own."""
    family = record.meta["family"]
    named = [word for word in record.question.replace(",", "").split() if word in COLORS]
    programs = {
        "count": ["events", "objects", "filter_collision", "count"],
        "predictive": ["unseen_events", "belong_to"],
        "enter": ["events", "objects", "filter_in" if "enters" in record.question else "filter_out", "unique", "query_object", "query_color"],
    }
    if family in programs:
        return programs[family]
    color = named[0]
    return {
        "exist": ["objects", color, "filter_color", "exist"],
        "partner": _partner(color),
        "direction": [*_object(color), "events", "filter_start", "query_frame", "query_direction"],
        "place": ["events", "filter_start" if "start" in record.question else "filter_end", "query_frame", *_object(color), "query_cell"],
        "explanatory": ["events", *_object(color), "filter_collision", "belong_to"],
        "counterfactual": [*_object(color), "counterfact_events", "belong_to"],
    }[family]


def _choice_program(kind: str, text: str) -> list[str]:
    return _object(text) if kind == "explanatory" else [*_events_of("all_events", text), "unique"]


def _place(folder: Path, kind: str, split: str, index: int) -> Path:
    low = index // 1000 * 1000
    return folder / f"{kind}s" / split / f"{kind}_{low:05d}-{low + 1000:05d}" / f"{kind}_{index:05d}"


def _write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
