"""A benchmark that lives on a hub as files on disk: `python -m eval fetch AI4Math/MathVista --split testmini --out datasets/mathvista`.

Rows are read through `datasets` with `decode=False`: media arrive as the bytes that were uploaded, are written as they are, and meet our own
decoders later like any other file. Paths from rows never lead out of the folder.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.media import confine
from eval.results import write_atomic

MEDIA_TYPES = ("Image", "Audio", "Video")
ENDINGS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3"}


def fetch(repo: str, out: Path, split: str, config: str | None = None, media: dict[str, str] | None = None) -> Path:
    """Write `out/<split>.jsonl` and the media of its rows; returns the file. `media`: column of bytes -> column that holds the path at which they
    belong (MathVista: `decoded_image` -> `image`); other columns of media are written to `out/media/` and hold that path from then on. What the hub
    does not have, and a hub that cannot be reached, are `ValueError`s."""
    try:
        import datasets
    except ImportError:
        raise ValueError("fetching needs the package `datasets` (requirements.txt)") from None
    try:
        rows = datasets.load_dataset(repo, config, split=split)
    except (OSError, ValueError) as error:  # no such data set, configuration or split; no network
        raise ValueError(f"{repo}, split {split!r}: {error}") from None
    columns = [name for name, feature in rows.features.items() if type(feature).__name__ in MEDIA_TYPES]
    if unknown := sorted(set(media or {}) - set(columns)):
        raise ValueError(f"{repo}: {unknown[0]!r} is no column of media (these are: {', '.join(columns) or 'none'})")
    for name in columns:
        rows = rows.cast_column(name, type(rows.features[name])(decode=False))
    out.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False, default=str) for row in written(rows, columns, media or {}, out)]
    return write_atomic(out / f"{split}.jsonl", "\n".join(lines) + "\n")


def written(rows: Any, columns: list[str], media: dict[str, str], out: Path) -> Iterator[dict[str, Any]]:
    """The rows with paths in place of bytes."""
    for number, row in enumerate(rows):
        for name in columns:
            held = row.pop(name)
            if not held or held.get("bytes") is None:
                row.setdefault(name, None)
                continue
            place = row[media[name]] if name in media else f"media/{number:06d}-{name}{ending(held)}"
            path = confine(str(place), out)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file() or path.read_bytes() != held["bytes"]:
                path.write_bytes(held["bytes"])
            if name not in media:
                row[name] = place
        yield row


def ending(held: dict[str, Any]) -> str:
    """By the name that the file had, else by its first bytes."""
    named = Path(str(held.get("path") or "")).suffix.lower()
    return named or next((end for magic, end in ENDINGS.items() if held["bytes"].startswith(magic)), ".bin")
