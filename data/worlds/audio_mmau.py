"""The audio world in MMAU's own files: one list of records with the eleven official keys, and wav files beside it.

MMAU asks with choices only, so a question that the world leaves open gets three wrong ones of the same kind (timbres, notes, numbers), the same
ones each time it is written.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data.media import write_media
from data.record import Record, answer_text
from data.worlds.audio_synth import NOTES, TIMBRES
from data.worlds.base import Sample, generator

FILE, FOLDER = "mmau-test-mini.json", "test-mini-audios"
CHOICES = 4
KINDS = (tuple(TIMBRES), tuple(NOTES), tuple(map(str, range(10))))


def to_mmau(samples: Iterable[Sample], folder: str | Path) -> Path:
    """Write samples of the audio world below `folder`; returns the JSON file. `ValueError` where a sample is of another world, holds no sound, or
    asks what no choice can answer (`perceive`)."""
    folder = Path(folder)
    rows: list[dict[str, Any]] = []
    for sample in samples:
        record = sample.record
        if record.source != "world/audio" or len(sample.media) != 1:
            raise ValueError(f"record {record.id!r}: not an item of the audio world with its sound; MMAU's files can hold nothing else")
        choices, answer = _choices(record)
        file = write_media(folder / FOLDER / record.id, sample.media[0])
        rows.append(
            {
                "id": record.id, "audio_id": f"./{FOLDER}/{file.name}", "question": record.question, "choices": choices, "answer": answer,
                "dataset": "Focal", "task": record.meta["task"], "split": record.split or "test", "category": record.meta["category"],
                "sub-category": record.meta["sub-category"], "difficulty": record.meta["difficulty"],
            }
        )  # fmt: skip
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    return path


def _choices(record: Record) -> tuple[list[str], str]:
    """(choices in order, the right one)."""
    (answer,) = answer_text(record)
    if record.options is not None:
        return list(record.options), answer
    kind = next((kind for kind in KINDS if answer in kind), None)
    if kind is None:
        raise ValueError(f"record {record.id!r}: no choices can be made for the answer {answer!r} (family {record.meta['family']!r})")
    rng = generator("mmau", record.id)
    wrong = rng.choice([other for other in kind if other != answer], CHOICES - 1, replace=False).tolist()
    return rng.permutation([answer, *wrong]).tolist(), answer
