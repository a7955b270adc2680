"""`frames`: a video as a few tokens per sampled frame, with time embeddings and bidirectional blocks over all of them.

Made for small clips: each frame goes through two strided convolutions and one linear map to `tokens_per_frame` tokens, so that ten frames cost
ten tokens. `differences` adds the change to the previous frame as input channels. Shape legend: N videos, F frames, S pixels, K tokens.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import MediaBlock, valid_keys
from .encoder_conv import resize_frames
from .media import Media


@dataclasses.dataclass
class FramesConfig:
    """Frames are resized to `size` x `size`; videos hold at most `max_frames` frames."""

    width: int = 128
    depth: int = 2
    heads: int = 4
    size: int = 32
    channels: int = 32
    max_frames: int = 16
    tokens_per_frame: int = 1
    differences: bool = False

    def __post_init__(self):
        if self.size % 4:
            raise ValueError(f"frames encoder: size {self.size} is not a multiple of 4")

    def features(self, media: Media) -> Tensor:
        """Decoded video -> [F, 3, size, size] in [-1, 1]."""
        if media.kind != "video":
            raise ValueError(f"frames encoder was given {media.kind}")
        if len(media.array) > self.max_frames:
            raise ValueError(f"video of {len(media.array)} frames reached an encoder for {self.max_frames}: set data.media.num_frames")
        return resize_frames(media.array, self.size)

    def num_tokens(self, features_shape: tuple[int, ...]) -> int:
        return features_shape[0] * self.tokens_per_frame


class FramesEncoder(nn.Module):
    """features [N, F, 3, S, S] with lengths [N] in frames -> (tokens [N, F * tokens_per_frame, width], counts [N])."""

    config_class = FramesConfig

    def __init__(self, config: FramesConfig):
        super().__init__()
        self.config, width, c = config, config.width, config.channels
        self.conv1 = nn.Conv2d(6 if config.differences else 3, c, 4, stride=2, padding=1)
        self.conv2 = nn.Conv2d(c, c, 3, stride=2, padding=1)
        self.to_tokens = nn.Linear(c * (config.size // 4) ** 2, width * config.tokens_per_frame)
        self.position = nn.Parameter(0.02 * torch.randn(config.max_frames * config.tokens_per_frame, width))
        self.blocks = nn.ModuleList(MediaBlock(width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.width = width

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = features.to(self.position.dtype)
        N, frames = x.shape[:2]
        if self.config.differences:
            x = torch.cat([x, torch.diff(x, dim=1, prepend=x[:, :1])], 2)
        x = F.gelu(self.conv2(F.gelu(self.conv1(x.flatten(0, 1)))))
        x = self.to_tokens(x.flatten(1)).view(N, frames * self.config.tokens_per_frame, self.width)
        counts = torch.full((N,), frames, device=x.device) if lengths is None else lengths
        counts = counts * self.config.tokens_per_frame
        x = x + self.position[: x.shape[1]]
        mask = valid_keys(counts, x.shape[1])
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x), counts
