"""MMAU's JSON (v05.15.25): a list of records with eleven keys; the audio lies beside the file at the path of `audio_id`."""

import json
from collections.abc import Iterator
from pathlib import Path

from data.media import confine
from data.record import LETTERS, MediaRef, Record

KEYS = ("id", "audio_id", "question", "choices", "answer", "dataset", "task", "split", "category", "sub-category", "difficulty")


class MmauReader:
    """Records of a file. In 13 records `category` is a one-element list: its element is taken. The answer is the first option that equals the gold, white space aside; the
    full test set withholds its answers, which is an error here (score its predictions with `eval score`)."""

    def __init__(self, path: str | Path, audio_root: str | Path | None = None):
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"no MMAU file at {self.path}")
        self.root = Path(audio_root) if audio_root else self.path.parent

    def __iter__(self) -> Iterator[Record]:
        rows = json.loads(self.path.read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            raise ValueError(f"{self.path}: MMAU is a list of records, not {type(rows).__name__}")
        for number, row in enumerate(rows, 1):
            yield self._record(number, row)

    def _record(self, number: int, row: dict) -> Record:
        if missing := [k for k in KEYS if k not in row]:
            raise ValueError(f"{self.path}, record {number}: {missing[0]!r} is missing")
        options = [str(c).strip() for c in row["choices"]]
        gold = str(row["answer"]).strip()
        if gold not in options:
            raise ValueError(f"{self.path}, record {row['id']!r}: answer {gold!r} is not among its choices (withheld answers cannot be read as gold)")
        meta = {k: (row[k][0] if isinstance(row[k], list) and row[k] else row[k]) for k in KEYS[5:]}
        audio = str(confine(row["audio_id"], self.root))
        return Record(
            str(row["id"]), row["question"], [LETTERS[options.index(gold)]], "choice", [MediaRef("audio", audio)], options,
            source="mmau", split=row["split"], group=row["audio_id"], meta=meta,
        ).validate()  # fmt: skip
