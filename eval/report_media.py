"""Media as a report shows them: small data URIs of what the model was given, after decoding. No file is referred to, nothing is fetched.

An image becomes one picture, a sound its log-mel spectrogram and a playable clip, a video its frames.
"""

import base64
import io
from typing import Any

import numpy as np

from models.media import Media

LARGEST = 512  # pixels on the longer side of an image
FRAME = 128  # of a video frame
CLIP_SECONDS = 10.0
# Anchors of the spectrogram's colours, dark to light (RGB); between them linear.
COLOURS = np.array([[13, 12, 29], [59, 23, 92], [128, 37, 110], [196, 64, 83], [242, 125, 65], [252, 196, 110], [253, 244, 214]], dtype=float)


def show(media: Media) -> dict[str, Any]:
    """What a template needs: `kind` and, by kind, `image`; `image`, `clip`, `seconds`; or `frames` and `times`."""
    if media.kind == "image":
        return {"kind": "image", "image": picture(media.array, LARGEST), "small": max(media.array.shape[:2]) < 200}
    if media.kind == "audio":
        part = media.array[: int(CLIP_SECONDS * media.rate)]
        return {
            "kind": "audio",
            "image": picture(spectrogram(part, media.rate), LARGEST),
            "clip": clip(part, media.rate),
            "seconds": round(len(part) / media.rate, 3),
        }
    times = media.times if media.times is not None else np.arange(len(media.array)) / (media.rate or 1.0)
    return {"kind": "video", "frames": [picture(f, FRAME) for f in media.array], "times": [round(float(t), 2) for t in times]}


def picture(array: np.ndarray, largest: int) -> str:
    """uint8 [H, W, 3] as a data URI, reduced to `largest` pixels; PNG, or JPEG where the picture is big."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(array))
    image.thumbnail((largest, largest))
    buffer = io.BytesIO()
    big = image.width * image.height > 40_000
    image.save(buffer, format="JPEG" if big else "PNG", **({"quality": 82} if big else {"optimize": True}))
    return f"data:image/{'jpeg' if big else 'png'};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def clip(wave: np.ndarray, rate: float) -> str:
    """float32 [samples] as a 16-bit wav data URI."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1, 1), round(rate), format="WAV", subtype="PCM_16")
    return f"data:audio/wav;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def spectrogram(wave: np.ndarray, rate: float, bands: int = 64, columns: int = 400) -> np.ndarray:
    """uint8 [bands, columns at most, 3]: mel bands upwards, time to the right, 70 dB from dark to light."""
    size = 512
    wave = np.pad(np.asarray(wave, dtype=float), (0, max(0, size - len(wave))))
    hop = max(80, len(wave) // columns)
    starts = np.arange(0, len(wave) - size + 1, hop)
    frames = np.stack([wave[s : s + size] for s in starts]) * np.hanning(size)
    power = (np.abs(np.fft.rfft(frames, axis=1)) ** 2) @ mel_filters(size, rate, bands)
    decibel = 10 * np.log10(np.maximum(power, 1e-12))
    level = np.clip((decibel - max(decibel.max(), -50.0)) / 70 + 1, 0, 1).T[::-1]
    place = level * (len(COLOURS) - 1)
    low = np.minimum(place.astype(int), len(COLOURS) - 2)
    return (COLOURS[low] + (COLOURS[low + 1] - COLOURS[low]) * (place - low)[..., None]).astype(np.uint8)


def mel_filters(size: int, rate: float, bands: int) -> np.ndarray:
    """[size / 2 + 1, bands] triangles, evenly spaced in mel (2595 log10(1 + f / 700)) from 40 Hz to half the rate; each holds at least one bin."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(2595 * np.log10(1 + 40 / 700), top, bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / rate)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    empty = filters.sum(0) == 0
    filters[np.abs(bins[:, None] - edges[1:-1]).argmin(0)[empty], np.flatnonzero(empty)] = 1
    return filters
