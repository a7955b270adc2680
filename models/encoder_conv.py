"""`conv`: a tiny encoder from scratch, for images (2-D convolutions to a grid of tokens) and for sound (log-mel frames to a row of tokens).

Shape legend: N media, K tokens, M mel bands, T frames of 10 ms.
"""

import dataclasses
import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import MediaBlock, valid_keys
from .media import Media


@dataclasses.dataclass
class ConvConfig:
    """kind: `image` (square of `size` pixels, 8 pixels a token side) or `audio` (`sample_rate`, `num_mels`, 80 ms a token, at most `max_seconds`)."""

    kind: str = "image"
    width: int = 128
    depth: int = 2
    heads: int = 4
    size: int = 64
    sample_rate: int = 16_000
    num_mels: int = 48
    max_seconds: float = 10.0

    def __post_init__(self):
        if self.kind not in ("image", "audio"):
            raise ValueError(f"conv encoder: kind {self.kind!r} is not one of image, audio")
        if self.kind == "image" and self.size % 8:
            raise ValueError(f"conv encoder: size {self.size} is not a multiple of 8")

    def features(self, media: Media) -> Tensor:
        """Decoded medium -> [3, size, size] in [-1, 1], or log-mel [M, T]."""
        if media.kind != self.kind:
            raise ValueError(f"conv encoder for {self.kind} was given {media.kind}")
        return (
            resize_frames(media.array[None], self.size)[0]
            if self.kind == "image"
            else log_mel(media, self.sample_rate, self.num_mels, self.max_seconds)
        )

    def num_tokens(self, features_shape: tuple[int, ...]) -> int:
        """Tokens of one medium from the shape of its features."""
        return (self.size // 8) ** 2 if self.kind == "image" else _after_strides(features_shape[-1])


class ConvEncoder(nn.Module):
    """features [N, 3, S, S] or [N, M, T] with lengths [N] -> (tokens [N, K, width], counts [N])."""

    config_class = ConvConfig

    def __init__(self, config: ConvConfig):
        super().__init__()
        self.config, width = config, config.width
        if config.kind == "image":
            channels, conv = (3, width // 4, width // 2, width), nn.Conv2d
            kernels, positions = (4, 4, 4), (config.size // 8) ** 2
        else:
            channels, conv = (config.num_mels, width, width, width), nn.Conv1d
            kernels, positions = (4, 4, 4), _after_strides(round(config.max_seconds * 100) + 1)
        self.stem = nn.ModuleList(conv(a, b, k, stride=2, padding=1) for a, b, k in zip(channels, channels[1:], kernels, strict=False))
        self.position = nn.Parameter(0.02 * torch.randn(positions, width))
        self.blocks = nn.ModuleList(MediaBlock(width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.width = width

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = features.to(self.position.dtype)
        counts = lengths
        for conv in self.stem:
            x = F.gelu(conv(x))
            if counts is not None:  # a medium must not see what lies behind its end: beyond it stand the zeros that a convolution pads with
                counts = counts // 2
                x = x * (torch.arange(x.shape[-1], device=x.device) < counts[:, None, None])
        x = x.flatten(2).transpose(1, 2)
        if counts is None:
            counts = torch.full((x.shape[0],), x.shape[1], device=x.device)
        x = x + self.position[: x.shape[1]]
        mask = valid_keys(counts, x.shape[1])
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x), counts


def _after_strides(frames):
    """Length after three convolutions of kernel 4, stride 2, padding 1: each halves, rounding down. Works on ints and tensors."""
    for _ in range(3):
        frames = frames // 2
    return frames


def resize_frames(frames: np.ndarray, size: int) -> Tensor:
    """uint8 [F, H, W, 3] -> float32 [F, 3, size, size] in [-1, 1], area-averaged where it shrinks."""
    x = torch.tensor(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    if x.shape[-2:] != (size, size):
        x = F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return x


@functools.cache
def _mel_transform(sample_rate: int, num_mels: int):
    try:
        from torchaudio.transforms import MelSpectrogram
    except ImportError as error:
        raise ValueError("sound needs torchaudio: pip install torchaudio") from error
    return MelSpectrogram(sample_rate, n_fft=512, win_length=400, hop_length=sample_rate // 100, n_mels=num_mels, f_min=40.0)


def log_mel(media: Media, sample_rate: int, num_mels: int, max_seconds: float) -> Tensor:
    """Mono sound -> log10 mel power [M, T] at 100 frames a second, roughly in [-1, 1]; cut at `max_seconds`, padded to at least eight frames (one
    token)."""
    if media.rate != sample_rate:
        raise ValueError(f"sound at {media.rate} Hz reached an encoder for {sample_rate} Hz: set data.media.sample_rate")
    wave = torch.from_numpy(np.ascontiguousarray(media.array[: round(max_seconds * sample_rate)], dtype=np.float32))
    if wave.numel() < sample_rate // 10:
        wave = F.pad(wave, (0, sample_rate // 10 - wave.numel()))
    with torch.no_grad():
        power = _mel_transform(sample_rate, num_mels)(wave)
    return power.clamp(min=1e-8).log10().add_(3).div_(4)
