"""Media around the decoder: from a record's reference to an array, from an array to a file, and the ledger of what could not be read."""

import dataclasses
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from data.record import MediaRef
from models.media import Media, MediaError, MediaSpec, decode

VIDEO_SCALE = 4  # a rendered pixel becomes 4 x 4 in an mp4, so that chroma subsampling and block edges fall inside it


def decode_ref(ref: MediaRef, settings: Mapping[str, Any], root: str | Path | None = None) -> Media:
    """Decode what a record refers to. Relative paths are taken from `root`, and must stay inside it."""
    if ref.path.startswith("world://"):
        raise MediaError(f"{ref.path}: an item of a world that was never rendered to a file")
    path = Path(ref.path)
    if root is not None:
        path = confine(ref.path, root)
    return decode(path, ref.kind, MediaSpec(**settings), ref.start_s, ref.end_s)


def confine(path: str, root: str | Path) -> Path:
    """The path below `root`; one that leads out of it (`..`, another absolute place, a link) is a `ValueError`."""
    base = Path(root).resolve()
    full = (base / path).resolve()
    if not full.is_relative_to(base):
        raise ValueError(f"media path {path!r} leads out of {root}")
    return full


def write_media(path: Path, media: Media) -> Path:
    """Write a medium as wav (16 bit), png or mp4 (H.264, near-lossless) beside `path` with the right suffix; returns the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if media.kind == "audio":
        import soundfile

        target = path.with_name(path.name + ".wav")
        soundfile.write(target, media.array, round(media.rate), subtype="PCM_16")
        return target
    if media.kind == "image":
        from PIL import Image

        target = path.with_name(path.name + ".png")
        Image.fromarray(media.array).save(target)
        return target
    target = path.with_name(path.name + ".mp4")
    _write_mp4(target, media)
    return target


def _write_mp4(path: Path, media: Media) -> None:
    import av

    frames = media.array.repeat(VIDEO_SCALE, 1).repeat(VIDEO_SCALE, 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(media.rate).limit_denominator(1000))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.options = {"crf": "8", "preset": "veryfast"}
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


@dataclasses.dataclass
class Quarantine:
    """The ledger of items that could not be used: one JSON line each. More than `limit` of them end the run: then the data set is broken, not an
    item."""

    path: Path
    limit: int
    count: int = 0

    def __post_init__(self):
        if self.path.is_file():
            self.count = sum(1 for _ in self.path.open(encoding="utf-8"))

    def add(self, id: str, file: str, reason: str, trace: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"id": id, "file": file, "reason": reason, "trace": trace}) + "\n")
        self.count += 1
        if self.count > self.limit:
            raise ValueError(f"{self.path}: more than {self.limit} bad items (last: {id}: {reason}); mend the data or raise data.quarantine_limit")
