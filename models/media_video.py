"""Videos and folders of frames as arrays: frames picked by their timestamps, fetched by decord or PyAV. `models/media.py` is the way in."""

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from .media import Media, MediaError, MediaSpec, check_file, decode_image, library, open_container

FRAME_FILES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def frame_targets(duration: float, spec: MediaSpec, start: float, end: float | None) -> np.ndarray:
    """The wanted timestamps in seconds, at most `num_frames`: evenly spaced from the first moment of the part to the last or, where `fps` gives no
    more, from the first moment on at that rate."""
    stop = min(duration, start + spec.max_seconds, end if end is not None else math.inf)
    if stop < start or start < 0:
        raise MediaError(f"the part from {start} s to {end if end is not None else duration:.2f} s lies outside a video of {duration:.2f} s")
    if spec.fps is not None and (steps := (stop - start) * spec.fps + 1e-6) < spec.num_frames:  # 1e-6: timestamps are rounded
        return start + np.arange(int(steps) + 1) / spec.fps
    return np.linspace(start, stop, spec.num_frames)


def nearest_frames(times: np.ndarray, targets: np.ndarray, repeat: bool) -> np.ndarray:
    """Indices of the frames nearest to the wanted timestamps, in order; each frame once, unless `repeat`."""
    right = np.searchsorted(times, targets).clip(1, max(1, len(times) - 1))
    left = right - 1
    picked = np.where(targets - times[left] <= times[np.minimum(right, len(times) - 1)] - targets, left, np.minimum(right, len(times) - 1))
    return picked if repeat else np.unique(picked)


@dataclasses.dataclass(slots=True)
class _Index:
    """Where the frames of a video are: presentation stamps in order, `times` in seconds from the first one, and the stamps of its key frames.
    `stamps` is None in a file that has none (raw streams): its frames are known by their number."""

    times: np.ndarray
    stamps: list[int] | None
    keys: list[int]


def decode_video(path: Path, spec: MediaSpec, start: float, end: float | None) -> Media:
    """Header and timestamps by PyAV; frames by decord where it can open the file and sees the same timestamps (fast seeking), else by PyAV."""
    av = library("av")
    try:
        index = _video_index(av, path, spec)
        try:
            targets = frame_targets(float(index.times[-1]), spec, start, end)
        except MediaError as error:
            raise MediaError(f"{path}: {error}") from None
        picked = nearest_frames(index.times, targets, spec.repeat_frames)
        frames = _frames_by_decord(path, index, picked)
        if frames is None:
            frames = _frames_by_av(av, path, index, picked)
    except MediaError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path}: not a readable video: {error}") from error
    if frames[0].shape[0] * frames[0].shape[1] > spec.max_pixels:  # a stream may change its size behind the header
        raise MediaError(f"{path}: frames of {frames[0].shape[1]} x {frames[0].shape[0]} pixels are more than the limit of {spec.max_pixels:,}")
    return _video(path, frames, index.times[picked], spec)


def _video_stream(container: Any, path: Path) -> Any:
    """The first stream of moving pictures; a song's cover is none."""
    for stream in container.streams.video:
        if not int(stream.disposition) & int(type(stream.disposition).attached_pic):
            return stream
    raise MediaError(f"{path}: has no video stream")


def _video_index(av: Any, path: Path, spec: MediaSpec) -> _Index:
    with open_container(av, path) as container:
        stream = _video_stream(container, path)
        formats = container.format.name.split(",")
        if formats[0].endswith("_pipe") or formats[0] == "image2":
            raise MediaError(f"{path}: an image, not a video")
        if stream.codec_context is None:
            raise MediaError(f"{path}: no decoder reads its video stream")
        if stream.width * stream.height > spec.max_pixels:
            raise MediaError(f"{path}: frames of {stream.width} x {stream.height} pixels are more than the limit of {spec.max_pixels:,}")
        base, rate, promised, duration = stream.time_base, stream.average_rate, stream.frames, stream.duration
        packets = [(p.pts, p.is_keyframe, p.is_corrupt, p.duration or 0) for p in container.demux(stream) if p.size]
    if not packets:
        raise MediaError(f"{path}: holds no video frame")
    if any(corrupt for _, _, corrupt, _ in packets):
        raise MediaError(f"{path}: truncated or damaged: its frames end before the file says")
    if any(pts is None for pts, *_ in packets):
        return _counted_index(av, path, float(rate or 25))
    if "mp4" in formats and promised > len(packets) and duration and max(p + d for p, _, _, d in packets) < 0.98 * duration:
        raise MediaError(f"{path}: truncated: {len(packets)} of {promised} frames")
    stamps = sorted({pts for pts, *_ in packets})
    times = np.array([float((s - stamps[0]) * base) for s in stamps])
    return _Index(times, stamps, sorted(pts for pts, key, *_ in packets if key))


def _counted_index(av: Any, path: Path, rate: float) -> _Index:
    with open_container(av, path) as container:
        count = sum(1 for _ in container.decode(_video_stream(container, path)))
    if not count:
        raise MediaError(f"{path}: no frame could be decoded")
    return _Index(np.arange(count) / rate, None, [])


def _frames_by_decord(path: Path, index: _Index, picked: np.ndarray) -> np.ndarray | None:
    """The picked frames, or None where decord is absent, cannot read the file, or counts its frames in another way."""
    try:
        import decord
    except ImportError:
        return None
    reader = None
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        stamps = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
        if len(stamps) != len(index.times) or not np.allclose(stamps - stamps[0], index.times, rtol=1e-4, atol=2e-3):
            return None
        return reader.get_batch(picked.tolist()).asnumpy().copy()  # the reader's buffers are reused
    except (decord.DECORDError, RuntimeError):
        return None
    finally:
        del reader  # an idle reader decodes ahead without bound


def _frames_by_av(av: Any, path: Path, index: _Index, picked: np.ndarray) -> list[np.ndarray]:
    """The picked frames; decoding starts at the last key frame before each, and ends with the last one picked."""
    kept: dict[int, np.ndarray] = {}
    with open_container(av, path) as container:
        stream = _video_stream(container, path)
        stream.codec_context.thread_count = 1
        if index.stamps is None:
            wanted = set(picked.tolist())
            kept = {i: _upright(f) for i, f in enumerate(container.decode(stream)) if i in wanted}
        else:
            _seek_frames(container, stream, index, {index.stamps[i]: i for i in picked.tolist()}, kept)
    if missing := sorted(set(picked.tolist()) - set(kept)):
        raise MediaError(f"{path}: truncated or damaged: no frame at {index.times[missing[0]]:.2f} s")
    return [kept[i] for i in picked.tolist()]


def _seek_frames(container: Any, stream: Any, index: _Index, wanted: dict[int, int], kept: dict[int, np.ndarray]) -> None:
    """Fill `kept` (number -> frame) for the wanted stamps (stamp -> number), in order of time."""
    position, frames = -math.inf, container.decode(stream)
    for target in sorted(wanted):
        key = max((k for k in index.keys if k <= target), default=-math.inf)
        if key > position and key > index.keys[0]:
            container.seek(key, stream=stream)
            frames = container.decode(stream)
        for frame in frames:
            position = frame.pts if frame.pts is not None else position
            if position in wanted:
                kept[wanted[position]] = _upright(frame)
            if position >= target:
                break


def _upright(frame: Any) -> np.ndarray:
    """uint8 [H, W, 3], turned as the file's display matrix says (telephones film upright with the sensor lying)."""
    array = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(array, round(frame.rotation / 90))) if getattr(frame, "rotation", 0) else array


def decode_frames(path: Path, spec: MediaSpec) -> Media:
    files = sorted((p for p in path.iterdir() if p.suffix.lower() in FRAME_FILES), key=_natural) if path.is_dir() else []
    if not files:
        raise MediaError(f"{path}: a folder of frames must hold images ({', '.join(FRAME_FILES)})")
    picked = nearest_frames(np.arange(len(files), dtype=float), np.linspace(0, len(files) - 1, spec.num_frames), spec.repeat_frames)
    images = []
    for i in picked.tolist():
        check_file(files[i], spec)
        images.append(decode_image(files[i], spec))
    if len({i.shape for i in images}) > 1:
        raise MediaError(f"{path}: its frames differ in size")
    return _video(path, images, picked.astype(float), spec)


def _natural(file: Path) -> list[tuple[int, int, str]]:
    """`frame2` before `frame10`."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", file.name) if part]


def _video(path: Path, frames: Any, times: np.ndarray, spec: MediaSpec) -> Media:
    """frames: [frames, H, W, 3] or a list of [H, W, 3], made smaller one by one."""
    height, width = frames[0].shape[:2]
    longest = max(height, width)
    if spec.frame_size is not None and longest > spec.frame_size:
        Image = library("PIL.Image")
        size = tuple(max(1, round(side * spec.frame_size / longest)) for side in (width, height))
        frames = [np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BOX)) for f in frames]
    if len({f.shape for f in frames}) > 1:
        raise MediaError(f"{path}: its frames differ in size")
    span = float(times[-1] - times[0])
    return Media("video", np.stack(frames), (len(times) - 1) / span if span > 0 else None, np.asarray(times, dtype=np.float64))
