"""A world as files: real wav, png and mp4 media with their records, or in a benchmark's own layout. Evaluation goes through these, so that it tests
the decoders too."""

import collections
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from configs.registry import WORLDS
from data.media import write_media
from data.record import Record, read_jsonl, write_jsonl
from data.worlds.base import Sample

FORMATS = {"records": None, "mmau": "audio", "mathvista": "vision", "clevrer": "video"}  # format -> the world it is for
LAYOUT = 2  # of what `render` writes; folders of another one are written again
WRITERS, WAITING = 2, 64  # threads, and samples that may wait for them
MANIFEST, RECORDS = "manifest.json", "records.jsonl"


def render(world: str, level: int, count: int, seed: int, split: str, out: str | Path, families: list[str] | None = None) -> list[Record]:
    """`count` items of a world written below `out`: `records.jsonl`, which the JSONL reader reads, and `media/`. The records returned have paths
    that begin with `out`. Rendering the same again reads what is there; a folder that holds anything else is a `ValueError`.

    Item i depends on (seed, i) alone, so a longer set begins with the shorter one.
    """
    out = Path(out)
    items = drawn(world, level, count, seed, split, families)
    _fill(out, _request("records", world, level, count, seed, split, families), lambda folder: _write_records(items, folder))
    return [_moved(record, out) for record in read_jsonl(out / RECORDS)]


def render_format(
    format: str, world: str, level: int, count: int, seed: int, split: str, out: str | Path, families: list[str] | None = None
) -> list[Path]:
    """The same items as `render` in the files of a benchmark: `mmau` (audio), `mathvista` (vision) or `clevrer` (video). Returns the JSON files."""
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r} (known: {', '.join(FORMATS)})")
    if FORMATS[format] not in (None, world):
        raise ValueError(f"format {format!r} is for the {FORMATS[format]} world, not {world!r}; `records` is for every world")
    out = Path(out)
    if format == "records":
        render(world, level, count, seed, split, out, families)
        return [out / RECORDS]
    items = drawn(world, level, count, seed, split, families)
    _fill(out, _request(format, world, level, count, seed, split, families), lambda folder: _writer(format)(items, folder))
    return sorted(out.glob("questions/*.json")) if format == "clevrer" else sorted(path for path in out.glob("*.json") if path.name != MANIFEST)


def drawn(world: str, level: int, count: int, seed: int, split: str, families: list[str] | None = None) -> Iterator[Sample]:
    """The items, each with an id of its own. Wrong names and numbers are `ValueError`s before the first item."""
    source = WORLDS.get(world)(families)
    if level not in source.levels:
        raise ValueError(f"world {world!r}: level {level} is not one of {source.levels[0]}-{source.levels[-1]}")
    if split not in ("train", "dev", "test"):
        raise ValueError(f"split {split!r} is not one of train, dev, test")
    if count < 1:
        raise ValueError(f"count {count} must be at least 1")

    def items() -> Iterator[Sample]:
        for i in range(count):
            sample = source.sample(level, ("render", seed, i), split)
            yield Sample(dataclasses.replace(sample.record, id=f"{sample.record.id}-{i}"), sample.media)

    return items()


def _write_records(items: Iterator[Sample], folder: Path) -> None:
    """Encoders work outside the interpreter's lock: the next scenes are drawn while the last ones are written."""
    records: list[Record] = []
    waiting: collections.deque[Future[Record]] = collections.deque()
    with ThreadPoolExecutor(WRITERS) as pool:
        for i, sample in enumerate(items):
            waiting.append(pool.submit(_write_sample, sample, folder, i))
            if len(waiting) > WAITING:
                records.append(waiting.popleft().result())
        records += [written.result() for written in waiting]
    write_jsonl(folder / RECORDS, records)


def _write_sample(sample: Sample, folder: Path, number: int) -> Record:
    files = [write_media(folder / "media" / f"{number:05d}-{j}", media) for j, media in enumerate(sample.media)]
    told = zip(sample.record.media, files, strict=True)
    return dataclasses.replace(sample.record, media=[dataclasses.replace(r, path=f.relative_to(folder).as_posix()) for r, f in told])


def _moved(record: Record, out: Path) -> Record:
    return dataclasses.replace(record, media=[dataclasses.replace(ref, path=str(out / ref.path)) for ref in record.media])


def _writer(format: str) -> Callable[[Iterator[Sample], Path], Any]:
    if format == "mmau":
        from data.worlds.audio_mmau import to_mmau

        return to_mmau
    if format == "mathvista":
        from data.worlds.vision_mathvista import to_mathvista

        return to_mathvista
    from data.worlds.video_clevrer import to_clevrer

    return to_clevrer


def _request(format: str, world: str, level: int, count: int, seed: int, split: str, families: list[str] | None) -> dict[str, Any]:
    return {
        "format": format, "world": world, "level": level, "count": count, "seed": seed, "split": split, "families": families, "layout": LAYOUT,
    }  # fmt: skip


def _fill(out: Path, request: dict[str, Any], write: Callable[[Path], Any]) -> None:
    """Write into a new folder that takes the place of `out` when it is complete; nothing where `out` holds the same already."""
    manifest = out / MANIFEST
    if out.exists():
        if not out.is_dir() or (any(out.iterdir()) and not _is_ours(manifest)):
            raise ValueError(f"{out} holds something else than a rendered world: choose another folder, or empty it")
        if manifest.is_file() and json.loads(manifest.read_text()) == request:
            return
    temporary = out.with_name(out.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    write(temporary)
    (temporary / MANIFEST).write_text(json.dumps(request))
    shutil.rmtree(out, ignore_errors=True)
    os.replace(temporary, out)


def _is_ours(manifest: Path) -> bool:
    try:
        content = json.loads(manifest.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"world", "level", "count", "seed", "split"} <= set(content)
