"""The vision world in MathVista's own files: `testmini.json`, a dictionary keyed by pid with the official fields, and png files in `images/`."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data.media import write_media
from data.record import Record, answer_text
from data.worlds.base import Sample

FILE, FOLDER = "testmini.json", "images"
METADATA = ("source", "category", "task", "context", "grade", "skills")


def to_mathvista(samples: Iterable[Sample], folder: str | Path) -> Path:
    """Write samples of the vision world below `folder`, numbered from 1; returns the JSON file. `ValueError` where a sample is of another world or
    holds no picture."""
    folder = Path(folder)
    rows: dict[str, dict[str, Any]] = {}
    for number, sample in enumerate(samples, 1):
        record, pid = sample.record, str(number)
        if record.source != "world/vision" or len(sample.media) != 1:
            raise ValueError(f"record {record.id!r}: not an item of the vision world with its picture; MathVista's files can hold nothing else")
        file = write_media(folder / FOLDER / pid, sample.media[0])
        height, width = sample.media[0].array.shape[:2]
        rows[pid] = {
            "question": record.question, "image": f"{FOLDER}/{file.name}", "choices": record.options, "unit": record.unit,
            "precision": record.precision, **_answer(record), "pid": pid,
            "metadata": {
                "split": "testmini", "language": record.meta["language"], "img_width": width, "img_height": height,
                **{key: record.meta[key] for key in METADATA},
            },
        }  # fmt: skip
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return path


def _answer(record: Record) -> dict[str, str]:
    """MathVista's answer with its two types: a choice is a text of its choices, a list is written as Python writes one."""
    if record.answer_type == "choice":
        return {"answer": answer_text(record)[0], "question_type": "multi_choice", "answer_type": "text"}
    answer = str(record.answer) if record.answer_type == "list" else record.answer[0]
    return {"answer": answer, "question_type": "free_form", "answer_type": record.answer_type}
