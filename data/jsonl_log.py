"""A file of one JSON object per line that is written while work goes on and read again after a crash: whole rows are kept, a cut one is cut off."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read_log(path: Path) -> list[dict[str, Any]]:
    """Every whole row; none where there is no file. A line that a crash cut short ends the log, and the file is cut back to what is whole."""
    raw = path.read_bytes() if path.is_file() else b""
    rows, whole = [], 0
    for line in raw.splitlines(keepends=True):
        try:
            row = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            row = None
        if row is None:
            break
        rows.append(row)
        whole += len(line)
    if whole < len(raw):
        os.truncate(path, whole)
    return rows


def append_log(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows in one write, on disk before this returns. NaN and infinities are a `ValueError`: they are no JSON."""
    if not rows:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as out:
        out.write("".join(log_line(row) for row in rows))
        out.flush()
        os.fsync(out.fileno())


def log_line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
