"""CLEVRER's question files with their videos and, where wanted, annotations (arXiv 1910.01442; also what `data/worlds/video_clevrer.py` writes).

A descriptive question has one word as its answer. The others have choices that are each correct or wrong: they become lettered options in the order
of `choice_id`, and the answer is the letters of the correct ones, which may be none.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.media import confine
from data.record import LETTERS, AnswerType, MediaRef, Record, read_json

FAMILIES = ("descriptive", "explanatory", "predictive", "counterfactual")
SPLITS = ((10_000, "train"), (15_000, "dev"))  # scenes below these numbers; the rest is test


class ClevrerReader:
    """Records of a question file, in its order.

    `video_root` and `annotation_root` confine the files that are used (default: the folder above `questions/`, else the file's own); videos are
    found in it as they are unpacked (`video_train/video_00000-01000/`), as rendered (`videos/train/video_00000-01000/`) or flat. `annotations`: the
    objects, and the collisions by frame, go into `meta`. `families`: only these kinds of question.
    """

    def __init__(
        self, path: str | Path, video_root: str | Path | None = None, annotation_root: str | Path | None = None, annotations: bool = False,
        families: list[str] | None = None,
    ):  # fmt: skip
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"no CLEVRER question file at {self.path}")
        home = self.path.parent.parent if self.path.parent.name == "questions" else self.path.parent
        self.video_root, self.annotation_root = Path(video_root or home), Path(annotation_root or home)
        self.annotations, self.families = annotations, tuple(families or FAMILIES)
        if unknown := sorted(set(self.families) - set(FAMILIES)):
            raise ValueError(f"clevrer: unknown family {unknown[0]!r} (known: {', '.join(FAMILIES)})")

    def __iter__(self) -> Iterator[Record]:
        scenes = read_json(self.path)
        if not isinstance(scenes, list):
            raise ValueError(f"{self.path}: CLEVRER is a list of scenes, not {type(scenes).__name__}")
        seen: set[str] = set()
        for number, scene in enumerate(scenes, 1):
            try:
                for record in self._scene(scene):
                    if record.id in seen:
                        raise ValueError(f"the question {record.id!r} comes twice")
                    seen.add(record.id)
                    yield record
            except KeyError as error:
                raise ValueError(f"{self.path}, scene {number}: {error} is missing") from None
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"{self.path}, scene {number}: {error}") from None

    def _scene(self, scene: dict[str, Any]) -> Iterator[Record]:
        index = scene["scene_index"]
        if type(index) is not int or index < 0:
            raise ValueError(f"scene_index {index!r} is no number of a scene")
        name = scene.get("video_filename") or f"video_{index:05d}.mp4"
        video = MediaRef("video", str(find_file(self.video_root, "video", self.path.stem, name, index)))
        split = next((name for end, name in SPLITS if index < end), "test")
        meta = self._annotation(index) if self.annotations else {}
        for question in scene["questions"]:
            if question["question_type"] not in FAMILIES:
                raise ValueError(f"question {question['question_id']}: unknown question_type {question['question_type']!r}")
            if question["question_type"] in self.families:
                yield self._record(index, question, Record("", "", [], "text", [video], source="clevrer", split=split, meta=meta))

    @staticmethod
    def _record(index: int, question: dict[str, Any], like: Record) -> Record:
        """`like` holds what the records of a scene share."""
        id, choices = f"clevrer/{index}-{question['question_id']}", sorted(question.get("choices") or [], key=lambda c: c["choice_id"])
        meta = {**like.meta, "family": question["question_type"], "program": list(question.get("program") or [])}
        kind: AnswerType = "text"
        if choices:
            if withheld := [c["choice_id"] for c in choices if c.get("answer") not in ("correct", "wrong")]:
                raise ValueError(f"question {id!r}: choice {withheld[0]} is neither correct nor wrong (withheld answers cannot be read as gold)")
            meta["choice_ids"] = [c["choice_id"] for c in choices]
            answer, kind = [LETTERS[i] for i, c in enumerate(choices) if c["answer"] == "correct"], "choices"
        else:
            answer = [str(question.get("answer") or "").strip()]
            if not answer[0]:
                raise ValueError(f"question {id!r} has no answer (withheld answers cannot be read as gold)")
            kind = "integer" if answer[0].isdecimal() else kind
        options = [c["choice"] for c in choices] or None
        return Record(
            id,
            question["question"],
            answer,
            kind,
            list(like.media),
            options,
            source=like.source,
            split=like.split,
            group=f"clevrer/{index}",
            meta=meta,
        ).validate()

    def _annotation(self, index: int) -> dict[str, Any]:
        """`objects`: colour, material and shape by object number; `collisions`: frame and object numbers, in order."""
        path = find_file(self.annotation_root, "annotation", self.path.stem, f"annotation_{index:05d}.json", index)
        if not path.is_file():
            raise ValueError(f"no annotation at {path}")
        note = read_json(path)
        objects = {str(o["object_id"]): f"{o['color']} {o['material']} {o['shape']}" for o in note["object_property"]}
        collisions = [{"frame": c["frame_id"], "objects": list(c["object_ids"])} for c in note["collision"]]
        return {"objects": objects, "collisions": sorted(collisions, key=lambda c: c["frame"])}


def find_file(root: Path, kind: str, split: str, name: str, index: int) -> Path:
    """Where a scene's `video` or `annotation` of this name is below `root`: as unpacked, as rendered, or flat; the first place it could be where it
    is nowhere. A name that leads out of `root` is a `ValueError`."""
    low = index // 1000 * 1000
    folder = f"{kind}_{low:05d}-{low + 1000:05d}"
    places = [f"{kind}s/{split}/{folder}", f"{kind}_{split}/{folder}", folder, f"{kind}s/{split}", f"{kind}_{split}", "."]
    paths = [confine(f"{place}/{name}", root) for place in places]
    return next((path for path in paths if path.is_file()), paths[0])
