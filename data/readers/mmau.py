"""MMAU's JSON (v05.15.25): a list of records with eleven keys; the audio lies beside the file at the path of `audio_id`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.media import confine
from data.record import LETTERS, MediaRef, Record, read_json

KEYS = ("id", "audio_id", "question", "choices", "answer", "dataset", "task", "split", "category", "sub-category", "difficulty")


class MmauReader:
    """Records of a file. In 13 records `category` is a one-element list: its element is taken. The answer is the first option that equals the gold,
    white space aside; the full test set withholds its answers, which is an error here (score its predictions with `eval score`)."""

    def __init__(self, path: str | Path, audio_root: str | Path | None = None):
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"no MMAU file at {self.path}")
        self.root = Path(audio_root) if audio_root else self.path.parent

    def __iter__(self) -> Iterator[Record]:
        rows = read_json(self.path)
        if not isinstance(rows, list):
            raise ValueError(f"{self.path}: MMAU is a list of records, not {type(rows).__name__}")
        seen: set[str] = set()
        for number, row in enumerate(rows, 1):
            try:
                record = self._record(row)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{self.path}, record {number}: {error}") from None
            if record.id in seen:
                raise ValueError(f"{self.path}, record {number}: the id {record.id!r} comes twice")
            seen.add(record.id)
            yield record

    def _record(self, row: Any) -> Record:
        if not isinstance(row, dict):
            raise ValueError(f"must be a JSON object, not {type(row).__name__}")
        if missing := [k for k in KEYS if k not in row]:
            raise ValueError(f"{missing[0]!r} is missing")
        options = [str(c).strip() for c in row["choices"]]
        gold = str(row["answer"]).strip()
        if gold not in options:
            raise ValueError(f"answer {gold!r} of {row['id']!r} is not among its choices (withheld answers cannot be read as gold)")
        meta = {k: (row[k][0] if isinstance(row[k], list) and row[k] else row[k]) for k in KEYS[5:]}
        audio = str(confine(row["audio_id"], self.root))
        return Record(
            str(row["id"]), row["question"], [LETTERS[options.index(gold)]], "choice", [MediaRef("audio", audio)], options,
            source="mmau", split=row["split"], group=row["audio_id"], meta=meta,
        ).validate()  # fmt: skip
