"""One's own questions: a JSONL file with one record a line. Media paths are relative to the file's folder and must stay inside it."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from data.media import confine
from data.record import Record, read_jsonl


class JsonlReader:
    """Records of a file, in order. A broken line is a `ValueError` with the file and the line's number; so is an id that comes twice."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"no records file at {self.path}")

    def __iter__(self) -> Iterator[Record]:
        seen: set[str] = set()
        for record in read_jsonl(self.path):
            if record.id in seen:
                raise ValueError(f"{self.path}: two records have the id {record.id!r}")
            seen.add(record.id)
            yield dataclasses.replace(record, media=[dataclasses.replace(m, path=self._locate(record, m.path)) for m in record.media])

    def _locate(self, record: Record, path: str) -> str:
        try:
            return str(confine(path, self.path.parent))
        except ValueError as error:
            raise ValueError(f"{self.path}, record {record.id!r}: {error}") from None
