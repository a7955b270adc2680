"""The rows of one evaluation, one JSON line per item, on disk as they come: a run that is killed at any moment goes on where it stopped.

Beside the file stands `<name>.key.json`: what was evaluated (weights, prompts, decoding, gold) as a hash. Rows made under another key are not
used. When all items are there the file is rewritten once in the order of the items, so that the bytes do not depend on where it was stopped.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.results import write_atomic


class ItemLog:
    """`rows`: id -> row, as far as they are known."""

    def __init__(self, path: Path, key: str):
        self.path, self.key = path, key
        self.key_path = path.with_name(path.name + ".key.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows: dict[str, dict[str, Any]] = self._read() if self._same_key() else {}
        if not self.rows:
            path.unlink(missing_ok=True)
        write_atomic(self.key_path, json.dumps({"key": key}) + "\n")

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows in one write, on disk before this returns."""
        if not rows:
            return
        with open(self.path, "a", encoding="utf-8") as out:
            out.write("".join(_line(row) for row in rows))
            out.flush()
            os.fsync(out.fileno())
        self.rows.update({row["id"]: row for row in rows})

    def finish(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """All rows in the order of `ids`, and the file in that order too."""
        ordered = [self.rows[i] for i in ids]
        text = "".join(_line(row) for row in ordered)
        if not self.path.is_file() or self.path.read_text(encoding="utf-8") != text:
            write_atomic(self.path, text)
        return ordered

    def _same_key(self) -> bool:
        if not self.key_path.is_file() or not self.path.is_file():
            return False
        return json.loads(self.key_path.read_text(encoding="utf-8"))["key"] == self.key

    def _read(self) -> dict[str, dict[str, Any]]:
        """Every whole row; a line that a crash cut short ends the file, and the file is cut back to what is whole."""
        whole, rows = 0, {}
        raw = self.path.read_bytes()
        for line in raw.splitlines(keepends=True):
            try:
                row = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                row = None
            if row is None:
                break
            whole += len(line)
            rows[row["id"]] = row
        if whole < len(raw):
            with open(self.path, "rb+") as file:
                file.truncate(whole)
        return rows


def read_items(path: Path) -> list[dict[str, Any]]:
    """The rows of a finished file."""
    if not path.is_file():
        raise ValueError(f"no per-item rows at {path}")
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
