"""MathVista's JSON: a dictionary keyed by pid, images beside the file. Evaluation only: training on it is forbidden by its licence, so its split is never `train`."""

import json
from collections.abc import Iterator
from pathlib import Path

from data.media import confine
from data.record import LETTERS, MediaRef, Record

TYPES = {"integer": "integer", "float": "float", "text": "text", "list": "list"}


class MathVistaReader:
    """Records of `testmini.json` (or another file of its layout), by pid. Records without an answer (the test set) are errors."""

    def __init__(self, path: str | Path, image_root: str | Path | None = None):
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"no MathVista file at {self.path}")
        self.root = Path(image_root) if image_root else self.path.parent

    def __iter__(self) -> Iterator[Record]:
        rows = json.loads(self.path.read_text(encoding="utf-8"))
        if not isinstance(rows, dict):
            raise ValueError(f"{self.path}: MathVista is a dictionary keyed by pid, not {type(rows).__name__}")
        for pid, row in rows.items():
            try:
                yield self._record(pid, row)
            except (KeyError, TypeError) as error:
                raise ValueError(f"{self.path}, pid {pid}: {type(error).__name__}: {error}") from None

    def _record(self, pid: str, row: dict) -> Record:
        answer = row.get("answer")
        if answer in (None, ""):
            raise ValueError(f"{self.path}, pid {pid}: the answer is withheld; score predictions with `eval score mathvista`")
        options = row.get("choices")
        common = {
            "media": [MediaRef("image", str(confine(row["image"], self.root)))], "unit": row.get("unit"), "source": "mathvista", "split": "test",
            "group": row["image"], "meta": dict(row.get("metadata", {})),
        }  # fmt: skip
        if options:
            letter = LETTERS[[str(o) for o in options].index(str(answer))]
            return Record(f"mathvista/{pid}", row["question"], [letter], "choice", options=[str(o) for o in options], **common).validate()
        kind = TYPES[row["answer_type"]]
        gold = [part.strip() for part in str(answer).strip("[]").split(",")] if kind == "list" else [str(answer)]
        precision = None if row.get("precision") is None else int(row["precision"])
        return Record(f"mathvista/{pid}", row["question"], gold, kind, precision=precision, **common).validate()
