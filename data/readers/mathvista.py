"""MathVista's JSON: a dictionary keyed by pid, images beside the file. Evaluation only: its licence forbids training, so the split is `test`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.media import confine
from data.record import LETTERS, AnswerType, MediaRef, Record, read_json

TYPES: dict[str, AnswerType] = {"integer": "integer", "float": "float", "text": "text", "list": "list"}


class MathVistaReader:
    """Records of `testmini.json` (or another file of its layout), in the file's order. Records without an answer (the test set) are errors."""

    def __init__(self, path: str | Path, image_root: str | Path | None = None):
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"no MathVista file at {self.path}")
        self.root = Path(image_root) if image_root else self.path.parent

    def __iter__(self) -> Iterator[Record]:
        rows = read_json(self.path)
        if not isinstance(rows, dict):
            raise ValueError(f"{self.path}: MathVista is a dictionary keyed by pid, not {type(rows).__name__}")
        for pid, row in rows.items():
            try:
                yield self._record(pid, row)
            except KeyError as error:
                raise ValueError(f"{self.path}, pid {pid}: {error} is missing or unknown") from None
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"{self.path}, pid {pid}: {error}") from None

    def _record(self, pid: str, row: dict[str, Any]) -> Record:
        answer = row.get("answer")
        if answer in (None, ""):
            raise ValueError("the answer is withheld; score predictions with `eval score mathvista`")
        common = {
            "media": [MediaRef("image", str(confine(row["image"], self.root)))], "unit": row.get("unit"), "source": "mathvista", "split": "test",
            "group": row["image"], "meta": dict(row.get("metadata") or {}),
        }  # fmt: skip
        if row.get("choices"):
            options = [str(option) for option in row["choices"]]
            if str(answer) not in options:
                raise ValueError(f"answer {answer!r} is not among its choices")
            return Record(f"mathvista/{pid}", row["question"], [LETTERS[options.index(str(answer))]], "choice", options=options, **common).validate()
        kind = TYPES[row["answer_type"]]
        gold = [part.strip().strip("'\"") for part in str(answer).strip().strip("[]").split(",")] if kind == "list" else [str(answer)]
        precision = None if row.get("precision") is None else int(row["precision"])
        return Record(f"mathvista/{pid}", row["question"], gold, kind, precision=precision, **common).validate()
