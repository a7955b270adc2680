"""The rows of one evaluation, one JSON line per item, on disk as they come: a run that is killed at any moment goes on where it stopped.

Beside the file stands `<name>.key.json`: what was evaluated (weights, prompts, decoding, gold) as a hash. Rows made under another key are not
used. When all items are there the file is rewritten once in the order of the items, so that the bytes do not depend on where it was stopped.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.jsonl_log import append_log, log_line, read_log
from eval.results import write_atomic


class ItemLog:
    """`rows`: id -> row, as far as they are known."""

    def __init__(self, path: Path, key: str):
        self.path, self.key = path, key
        self.key_path = path.with_name(path.name + ".key.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows: dict[str, dict[str, Any]] = {row["id"]: row for row in read_log(path)} if self._same_key() else {}
        if not self.rows:
            path.unlink(missing_ok=True)
        write_atomic(self.key_path, json.dumps({"key": key}) + "\n")

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows, on disk before this returns."""
        append_log(self.path, rows)
        self.rows.update({row["id"]: row for row in rows})

    def finish(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """All rows in the order of `ids`, and the file in that order too."""
        ordered = [self.rows[i] for i in ids]
        text = "".join(log_line(row) for row in ordered)
        if not self.path.is_file() or self.path.read_text(encoding="utf-8") != text:
            write_atomic(self.path, text)
        return ordered

    def _same_key(self) -> bool:
        if not self.key_path.is_file() or not self.path.is_file():
            return False
        return json.loads(self.key_path.read_text(encoding="utf-8"))["key"] == self.key


def read_items(path: Path) -> list[dict[str, Any]]:
    """The rows of a finished file."""
    if not path.is_file():
        raise ValueError(f"no per-item rows at {path}")
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]
