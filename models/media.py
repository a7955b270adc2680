"""What a decoded medium is, and the only decoder, frame sampler and resampler of the project. Travels with every release.

Every limit is checked on the file's header, before anything is allocated. Bad files raise `MediaError` with the file and the reason. Pillow,
soundfile, torchaudio, PyAV and decord are looked for when they are first needed, so that a release loads without those it never uses.
"""

import dataclasses
import importlib
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

PACKAGES = {"PIL": "pillow", "av": "av", "soundfile": "soundfile", "torchaudio": "torchaudio"}
PLAYLISTS = {"hls", "dash", "concat", "concatf"}  # files that make a decoder open other files
TEXT_ART = {"tty", "bin", "xbin", "adf", "idf"}  # FFmpeg draws any text file as a terminal
SOUND_RATES = (1, 1_000_000)  # Hz
LARGEST_KERNEL = 20_000_000  # elements of a resampling filter bank
BLOCK = 1 << 16  # audio samples read at a time


class MediaError(ValueError):
    """A file that cannot be decoded within the limits. The message names the file and the reason."""


@dataclasses.dataclass(slots=True)
class Media:
    """A decoded medium.

    audio: `array` float32 [samples], mono, in [-1, 1], `rate` in Hz. image: `array` uint8 [H, W, 3]. video: `array` uint8 [frames, H, W, 3], `rate`
    the mean sampling rate in frames per second (None for one frame) and `times` the timestamp of each frame in seconds from the first one.
    """

    kind: Literal["audio", "image", "video"]
    array: np.ndarray
    rate: float | None = None
    times: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class MediaSpec:
    """At what rates and within which limits files are decoded. `num_frames` of a video are spread evenly over it or, with `fps`, taken at so many a
    second as long as `num_frames` are enough for that; `frame_size` caps the longer side of the frames, in pixels; `max_pixels` bounds an image, and
    a frame; `max_seconds` bounds what is read of a sound or video; `max_wall_s` the time that training and evaluation spend on one file;
    `repeat_frames` allows a video to give the same frame twice where it has fewer than wanted. A value that is not above 0 is a `ValueError`."""

    sample_rate: int = 16_000
    max_seconds: float = 30.0
    num_frames: int = 10
    fps: float | None = None
    frame_size: int | None = None
    max_pixels: int = 50_000_000
    max_bytes: int = 500_000_000
    max_wall_s: float = 60.0
    repeat_frames: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "repeat_frames" or (value is None and field.default is None):
                continue
            if value is None or not value > 0:  # also where it is not a number
                raise ValueError(f"media setting {field.name} is {value}: it must be above 0")


def decode(path: str | os.PathLike, kind: str, spec: MediaSpec, start_s: float | None = None, end_s: float | None = None) -> Media:
    """The medium at `path`, or of a sound or video its part from `start_s` to `end_s`. kind: audio | image | video | frames (a folder of images, in
    the order of the numbers in their names)."""
    from .media_video import decode_frames, decode_video

    path = Path(path).absolute()  # no relative name can pose as a protocol (`concat:…`)
    try:
        there = path.exists()
    except (OSError, ValueError) as error:  # a name too long
        raise MediaError(f"{path}: {error}") from error
    if not there:
        raise MediaError(f"{path}: no such file")
    if start_s is not None or end_s is not None:
        _check_part(path, kind, start_s, end_s)
    if kind == "frames":
        return decode_frames(path, spec)
    check_file(path, spec)
    if kind == "image":
        return Media("image", decode_image(path, spec))
    if kind == "audio":
        return _decode_audio(path, spec, start_s or 0.0, end_s)
    if kind == "video":
        return decode_video(path, spec, start_s or 0.0, end_s)
    raise MediaError(f"{path}: unknown kind of medium {kind!r}")


def library(name: str) -> Any:
    """An optional package; an `ImportError` that says what to install where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = PACKAGES[name.partition(".")[0]]
        raise ImportError(f"decoding this medium needs the package {package!r}, which cannot be imported ({error}): pip install {package}") from error


def _check_part(path: Path, kind: str, start: float | None, end: float | None) -> None:
    if kind not in ("audio", "video"):
        raise MediaError(f"{path}: only a sound or a video has a part from {start} s to {end} s, not {kind}")
    first, last = start or 0.0, math.inf if end is None else end
    if not 0 <= first < last:  # also false where one of them is not a number
        raise MediaError(f"{path}: the part from {start} s to {end} s is empty")


def check_file(path: Path, spec: MediaSpec) -> None:
    if not path.is_file():  # a pipe or a device could be read for ever
        raise MediaError(f"{path}: not a regular file")
    if (size := path.stat().st_size) > spec.max_bytes:
        raise MediaError(f"{path}: {size:,} bytes are more than the limit of {spec.max_bytes:,}")
    if size == 0:
        raise MediaError(f"{path}: the file is empty")


def decode_image(path: Path, spec: MediaSpec) -> np.ndarray:
    """uint8 [H, W, 3], upright as its EXIF orientation says; transparency is put on white, palettes and grey (of 8 or 16 bits) become RGB."""
    import warnings

    Image, ImageOps = library("PIL.Image"), library("PIL.ImageOps")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures our own limit follows; of broken metadata nobody needs to hear
            with Image.open(path) as image:
                if image.width * image.height > spec.max_pixels:
                    raise MediaError(f"{path}: {image.width} x {image.height} pixels are more than the limit of {spec.max_pixels:,}")
                return _to_rgb(path, image, Image, ImageOps)
    except Image.DecompressionBombError as error:
        raise MediaError(f"{path}: more pixels than the limit of {spec.max_pixels:,}: {error}") from error
    except MediaError:
        raise
    except (OSError, SyntaxError, ValueError, LookupError, EOFError, TypeError, OverflowError, AttributeError, struct.error, zlib.error) as error:
        raise MediaError(f"{path}: not a readable image: {error}") from error  # all of these come out of Pillow's parsers on broken files


def _to_rgb(path: Path, image: Any, Image: Any, ImageOps: Any) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise MediaError(f"{path}: pixels are floating-point numbers of unknown range")
    if image.mode.startswith("I"):  # 16 bits a pixel: plain conversion would clip them to white
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65_535) >> 8
        return np.repeat(grey.astype(np.uint8)[:, :, None], 3, 2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def _decode_audio(path: Path, spec: MediaSpec, start: float, end: float | None) -> Media:
    soundfile = library("soundfile")
    stop = min(end if end is not None else math.inf, start + spec.max_seconds)
    _check_riff(path)
    try:
        wave, rate = _read_sound(soundfile, path, start, stop)
    except (soundfile.SoundFileError, RuntimeError, TypeError):  # TypeError: a name that ends in .raw is taken for headerless samples
        wave, rate = _container_audio(path, start, stop)  # sound inside a video or an mp4
    if wave.size < 2:
        raise MediaError(f"{path}: holds {wave.size} audio samples in the wanted part")
    if not np.isfinite(wave).all():
        raise MediaError(f"{path}: audio samples are not finite")
    return Media("audio", resample(wave, rate, spec.sample_rate), float(spec.sample_rate))


def _check_riff(path: Path) -> None:
    """libsndfile reads what there is of a wav that was cut off; its header says how long it was."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        promised = int.from_bytes(head[4:8], "little") + 8
        if promised < 0xFFFFFF00 and promised > path.stat().st_size + 1:  # streams say 0xFFFFFFFF; an odd last byte may lack its padding
            raise MediaError(f"{path}: truncated: {path.stat().st_size:,} bytes of {promised:,}")


def _read_sound(soundfile: Any, path: Path, start: float, stop: float) -> tuple[np.ndarray, int]:
    """float32 [samples] and its rate, by libsndfile; block by block, so that a header that lies allocates nothing."""
    with soundfile.SoundFile(path) as sound:
        rate = _checked_rate(path, sound.samplerate)
        first = min(round(start * rate), sound.frames)
        wanted = sound.frames - first if math.isinf(stop) else min(sound.frames - first, max(0, round((stop - start) * rate)))
        sound.seek(first)
        pieces, size = [], 0
        while size < wanted:
            block = sound.read(min(BLOCK, wanted - size), dtype="float32", always_2d=True)
            if not len(block):
                raise MediaError(f"{path}: truncated: {first + size:,} of {sound.frames:,} samples")
            pieces.append(block.mean(1))
            size += len(block)
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32), rate


def _checked_rate(path: Path, rate: int) -> int:
    if not SOUND_RATES[0] <= rate <= SOUND_RATES[1]:
        raise MediaError(f"{path}: a sampling rate of {rate} Hz")
    return rate


def resample(wave: np.ndarray, rate: int, target: int) -> np.ndarray:
    """float32 [samples] at another rate, by torchaudio's windowed sinc; unchanged where the rates agree.

    Rates with no common divisor (44101 to 16000) would need a filter of gigabytes: they are taken for the nearest ratio of small numbers, wrong by
    less than a millionth.
    """
    if rate == target:
        return np.ascontiguousarray(wave, dtype=np.float32)
    import torch

    divisor = math.gcd(rate, target)
    old, new = rate // divisor, target // divisor
    if old * new > LARGEST_KERNEL:
        from fractions import Fraction

        ratio = Fraction(new, old).limit_denominator(2000)
        old, new = ratio.denominator, max(1, ratio.numerator)
    with torch.no_grad():
        samples = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))
        return library("torchaudio").functional.resample(samples, old, new).numpy()


def open_container(av: Any, path: Path) -> Any:
    container = av.open(str(path), options={"protocol_whitelist": "file"})
    formats = set(container.format.name.split(","))
    if formats & (PLAYLISTS | TEXT_ART):
        container.close()
        raise MediaError(f"{path}: {'a playlist, which names other files' if formats & PLAYLISTS else 'not a readable medium but text'}")
    return container


def _container_audio(path: Path, start: float, stop: float) -> tuple[np.ndarray, int]:
    av = library("av")
    pieces: list[np.ndarray] = []
    try:
        with open_container(av, path) as container:
            if not container.streams.audio:
                raise MediaError(f"{path}: has no audio stream")
            if container.streams.audio[0].codec_context is None:
                raise MediaError(f"{path}: no decoder reads its audio stream")
            rate, seen = 0, 0
            for frame in container.decode(container.streams.audio[0]):
                rate = rate or _checked_rate(path, frame.sample_rate)  # the stream's own rate is wrong for some kinds of AAC
                block = _mono(frame)[max(0, round(start * rate) - seen) :]
                seen += frame.samples
                pieces.append(block)
                if seen >= stop * rate:
                    break
    except MediaError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path}: not a readable sound: {error}") from error
    wave = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    return wave[: None if math.isinf(stop) else max(0, round(stop * rate) - round(start * rate))], rate


def _mono(frame: Any) -> np.ndarray:
    """One decoded block of any sample format -> float32 [samples] in [-1, 1]."""
    block = frame.to_ndarray()
    if not frame.format.is_planar:
        block = block.reshape(-1, frame.layout.nb_channels).T
    if block.dtype.kind == "f":
        return block.astype(np.float32).mean(0)
    middle = 128 if block.dtype == np.uint8 else 0
    return ((block.astype(np.float32) - middle) / (float(np.iinfo(block.dtype).max) + 1 - middle)).mean(0)
