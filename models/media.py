"""What a decoded medium is, and the only decoder, frame sampler and resampler of the project. Travels with every release.

Every limit is checked on the file's header, before anything is allocated. Bad files raise `MediaError` with the file and the reason.
"""

import dataclasses
import math
import os
from pathlib import Path
from typing import Literal

import numpy as np


class MediaError(ValueError):
    """A file that cannot be decoded within the limits. The message names the file and the reason."""


@dataclasses.dataclass(slots=True)
class Media:
    """A decoded medium.

    audio: `array` float32 [samples], mono, in [-1, 1], `rate` in Hz. image: `array` uint8 [H, W, 3]. video: `array` uint8 [frames, H, W, 3], `rate`
    the mean sampling rate in frames per second and `times` the timestamp of each frame in seconds.
    """

    kind: Literal["audio", "image", "video"]
    array: np.ndarray
    rate: float | None = None
    times: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class MediaSpec:
    """At what rates and within which limits files are decoded. `frame_size` caps the longer side of a video's frames, in pixels; `max_pixels` bounds
    an image, and a frame; `max_seconds` bounds what is read of a sound or video; `repeat_frames` allows a short video to give the same frame
    twice."""

    sample_rate: int = 16_000
    max_seconds: float = 30.0
    num_frames: int = 10
    frame_size: int | None = None
    max_pixels: int = 50_000_000
    max_bytes: int = 500_000_000
    repeat_frames: bool = False


def decode(path: str | os.PathLike, kind: str, spec: MediaSpec, start_s: float | None = None, end_s: float | None = None) -> Media:
    """The medium at `path`, or its part from `start_s` to `end_s`. kind: audio | image | video | frames (a folder of images in name order)."""
    path = Path(path)
    if not path.exists():
        raise MediaError(f"{path}: no such file")
    if path.is_file() and path.stat().st_size > spec.max_bytes:
        raise MediaError(f"{path}: {path.stat().st_size:,} bytes are more than the limit of {spec.max_bytes:,}")
    if path.is_file() and path.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty")
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise MediaError(f"{path}: the part from {start_s} s to {end_s} s is empty")
    if kind == "image":
        return Media("image", decode_image(path, spec))
    if kind == "audio":
        return _decode_audio(path, spec, start_s or 0.0, end_s)
    if kind == "video":
        return _decode_video(path, spec, start_s or 0.0, end_s)
    if kind == "frames":
        return _decode_frames(path, spec)
    raise MediaError(f"{path}: unknown kind of medium {kind!r}")


def decode_image(path: Path, spec: MediaSpec) -> np.ndarray:
    """uint8 [H, W, 3]; transparency is put on white, palettes and grey become RGB."""
    import warnings

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit follows
            with Image.open(path) as image:
                if image.width * image.height > spec.max_pixels:
                    raise MediaError(f"{path}: {image.width} x {image.height} pixels are more than the limit of {spec.max_pixels:,}")
                if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
                return np.array(image.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise MediaError(f"{path}: not a readable image: {error}") from error


def _decode_audio(path: Path, spec: MediaSpec, start: float, end: float | None) -> Media:
    import soundfile

    stop = min(end if end is not None else math.inf, start + spec.max_seconds)
    try:
        with soundfile.SoundFile(path) as sound:
            rate = sound.samplerate
            sound.seek(min(round(start * rate), sound.frames))
            count = -1 if math.isinf(stop) else max(0, round((stop - start) * rate))
            wave = sound.read(count, dtype="float32", always_2d=True).mean(1)
    except (soundfile.LibsndfileError, RuntimeError):
        wave, rate = _container_audio(path, start, stop)  # sound inside a video or an mp4
    if wave.size < 2:
        raise MediaError(f"{path}: holds {wave.size} audio samples in the wanted part")
    if not np.isfinite(wave).all():
        raise MediaError(f"{path}: audio samples are not finite")
    return Media("audio", resample(wave, rate, spec.sample_rate), float(spec.sample_rate))


def resample(wave: np.ndarray, rate: int, target: int) -> np.ndarray:
    """float32 [samples] at another rate, by torchaudio's windowed sinc; unchanged where the rates agree."""
    if rate == target:
        return np.ascontiguousarray(wave, dtype=np.float32)
    import torch
    import torchaudio

    with torch.no_grad():
        return torchaudio.functional.resample(torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32)), rate, target).numpy()


def _container_audio(path: Path, start: float, stop: float) -> tuple[np.ndarray, int]:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise MediaError(f"{path}: has no audio stream")
            stream, pieces = container.streams.audio[0], []
            for frame in container.decode(stream):
                if frame.time is not None and frame.time >= stop:
                    break
                block = frame.to_ndarray()
                block = block.reshape(-1, len(frame.layout.channels)).T if not frame.format.is_planar else block
                scale = 1.0 if block.dtype.kind == "f" else float(np.iinfo(block.dtype).max) + 1
                pieces.append(block.astype(np.float32).mean(0) / scale)
            rate = stream.rate
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{path}: not a readable sound: {error}") from error
    wave = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    return wave[round(start * rate) : None if math.isinf(stop) else round(stop * rate)], rate


def frame_targets(duration: float, spec: MediaSpec, start: float, end: float | None) -> np.ndarray:
    """The wanted timestamps [num_frames] in seconds: evenly spaced from the first moment of the part to the last."""
    stop = min(duration, start + spec.max_seconds, end if end is not None else math.inf)
    if stop < start or start < 0:
        raise MediaError(f"the part from {start} s to {stop} s lies outside a video of {duration:.2f} s")
    return np.linspace(start, stop, spec.num_frames)


def nearest_frames(times: np.ndarray, targets: np.ndarray, repeat: bool) -> np.ndarray:
    """Indices of the frames nearest to the wanted timestamps, in order; each frame once, unless `repeat`."""
    right = np.searchsorted(times, targets).clip(1, max(1, len(times) - 1))
    left = right - 1
    picked = np.where(targets - times[left] <= times[np.minimum(right, len(times) - 1)] - targets, left, np.minimum(right, len(times) - 1))
    return picked if repeat else np.unique(picked)


def _decode_video(path: Path, spec: MediaSpec, start: float, end: float | None) -> Media:
    """decord where it can open the file (fast seeking), else PyAV."""
    try:
        import decord
    except ImportError:
        return _video_by_av(path, spec, start, end)
    try:
        return _video_by_decord(decord, path, spec, start, end)
    except (decord.DECORDError, RuntimeError):
        return _video_by_av(path, spec, start, end)


def _video_by_decord(decord, path: Path, spec: MediaSpec, start: float, end: float | None) -> Media:
    reader = decord.VideoReader(str(path), num_threads=1)
    try:
        stamps = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
        if len(stamps) == 0:
            raise MediaError(f"{path}: holds no video frame")
        targets = frame_targets(float(stamps[-1]), spec, start, end)
        picked = nearest_frames(stamps, targets, spec.repeat_frames)
        frames = reader.get_batch(picked.tolist()).asnumpy().copy()  # the reader's buffers are reused
    finally:
        del reader  # an idle reader decodes ahead without bound
    return _video(path, frames, stamps[picked], spec)


def _video_by_av(path: Path, spec: MediaSpec, start: float, end: float | None) -> Media:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise MediaError(f"{path}: has no video stream")
            stream = container.streams.video[0]
            if stream.width * stream.height > spec.max_pixels:
                raise MediaError(f"{path}: frames of {stream.width} x {stream.height} pixels are more than the limit of {spec.max_pixels:,}")
            stamps = [float(p.pts * stream.time_base) for p in container.demux(stream) if p.pts is not None]
        if not stamps:
            raise MediaError(f"{path}: holds no video frame")
        times = np.sort(np.array(stamps))
        picked = nearest_frames(times, frame_targets(float(times[-1]), spec, start, end), spec.repeat_frames)
        wanted = set(picked.tolist())
        with av.open(str(path)) as container:
            kept = {i: f.to_ndarray(format="rgb24") for i, f in enumerate(container.decode(video=0)) if i in wanted}
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: not a readable video: {error}") from error
    picked = np.array([i for i in picked.tolist() if i in kept], dtype=int)  # a truncated file lacks its last frames
    if not len(picked):
        raise MediaError(f"{path}: no frame could be decoded")
    return _video(path, np.stack([kept[i] for i in picked.tolist()]), times[picked], spec)


def _decode_frames(path: Path, spec: MediaSpec) -> Media:
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".bmp")) if path.is_dir() else []
    if not files:
        raise MediaError(f"{path}: a folder of frames must hold images")
    picked = nearest_frames(np.arange(len(files), dtype=float), np.linspace(0, len(files) - 1, spec.num_frames), spec.repeat_frames)
    images = [decode_image(files[i], spec) for i in picked]
    if len({i.shape for i in images}) > 1:
        raise MediaError(f"{path}: its frames differ in size")
    return _video(path, np.stack(images), picked.astype(float), spec)


def _video(path: Path, frames: np.ndarray, times: np.ndarray, spec: MediaSpec) -> Media:
    if frames.shape[1] * frames.shape[2] > spec.max_pixels:
        raise MediaError(f"{path}: frames of {frames.shape[2]} x {frames.shape[1]} pixels are more than the limit of {spec.max_pixels:,}")
    longest = max(frames.shape[1:3])
    if spec.frame_size is not None and longest > spec.frame_size:
        from PIL import Image

        size = tuple(max(1, round(side * spec.frame_size / longest)) for side in (frames.shape[2], frames.shape[1]))
        frames = np.stack([np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BOX)) for f in frames])
    span = float(times[-1] - times[0])
    return Media("video", frames, (len(times) - 1) / span if span > 0 else None, np.asarray(times, dtype=np.float64))
