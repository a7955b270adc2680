"""Media around the decoder: from a record's reference to an array, from an array to a file, and the ledger of what could not be read."""

import contextlib
import dataclasses
import json
import signal
import threading
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from data.record import MediaRef
from models.media import Media, MediaError, MediaSpec, decode

VIDEO_SCALE = 4  # a rendered pixel becomes 4 x 4 in an mp4, so that chroma subsampling and block edges fall inside it


def decode_ref(ref: MediaRef, settings: Mapping[str, Any], root: str | Path | None = None) -> Media:
    """Decode what a record refers to, within `max_wall_s` of time. Relative paths are taken from `root`, and must stay inside it.

    settings: the fields of `MediaSpec`. A file that is bad, too large or too slow is a `MediaError`, with the path as its attribute `file`.
    """
    spec = MediaSpec(**settings)
    try:
        if ref.path.startswith("world://"):
            raise MediaError(f"{ref.path}: an item of a world that was never rendered to a file")
        path = Path(ref.path) if root is None else confine(ref.path, root)
        with time_limit(spec.max_wall_s, str(path)):
            return decode(path, ref.kind, spec, ref.start_s, ref.end_s)
    except ValueError as error:
        error.file = ref.path  # type: ignore[attr-defined]  # read by the ledger: which of an item's media it was
        raise


@contextlib.contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """A `MediaError` where the block takes longer. By an alarm, which only a main thread can set: elsewhere (and on Windows) there is no limit.

    It strikes again every second until the block is left, because a decoder's own code may swallow it once.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise MediaError(f"{what}: decoding takes more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, remaining, interval)
        signal.signal(signal.SIGALRM, before)


def confine(path: str, root: str | Path) -> Path:
    """The path below `root`; one that leads out of it (`..`, another absolute place, a link) is a `ValueError`."""
    base = Path(root).resolve()
    try:
        full = (base / path).resolve()
    except (ValueError, OSError, RuntimeError) as error:  # a NUL in it, a name too long, links in a circle
        raise ValueError(f"media path {path!r} is no path: {error}") from None
    if not full.is_relative_to(base):
        raise ValueError(f"media path {path!r} leads out of {root}")
    return full


def write_media(path: Path, media: Media) -> Path:
    """Write a medium as wav (16 bit), png or mp4 (H.264, near-lossless) beside `path` with the right suffix; returns the file.

    Sounds on the 16-bit grid and all pictures come back from the decoder bit for bit; videos with a small difference, at an even frame rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if media.kind == "audio":
        import soundfile

        target = path.with_name(path.name + ".wav")
        grid = np.round(np.asarray(media.array, dtype=np.float64) * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
        soundfile.write(target, grid, round(media.rate), subtype="PCM_16")
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
        stream = container.add_stream("libx264", rate=Fraction(media.rate or 1).limit_denominator(1000))  # one frame has no rate
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.options = {"crf": "8", "preset": "veryfast"}
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


@dataclasses.dataclass
class Quarantine:
    """The ledger of items that could not be used: one JSON line for each item and file, however often it is met again (every epoch, after a resume).
    More than `limit` of them end the run: then the data set is broken, not an item. `met` counts every time."""

    path: Path
    limit: int
    count: int = 0
    met: int = 0

    def __post_init__(self):
        self._known: set[tuple[str, str]] = set()
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # a crash may have cut the last line off
                    row = json.loads(line)
                    self._known.add((row["id"], row["file"]))
        self.count = len(self._known)

    def add(self, id: str, file: str, reason: str, trace: str) -> None:
        """Note an item. `ValueError` where the ledger now holds more than the limit."""
        self.met += 1
        if (id, file) in self._known:
            return
        self._known.add((id, file))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        cut = self.path.is_file() and self.path.stat().st_size > 0 and not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a", encoding="utf-8") as out:
            out.write("\n" * cut + json.dumps({"id": id, "file": file, "reason": reason, "trace": trace}) + "\n")
        self.count += 1
        if self.count > self.limit:
            raise ValueError(f"{self.path}: more than {self.limit} bad items (last: {id}: {reason}); mend the data or raise data.quarantine_limit")
