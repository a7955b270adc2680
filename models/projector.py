"""From encoder width to LLM width, one file for all: `linear`, `mlp`, `merge` (neighbouring tokens become one) and `resampler` (learned queries).

Every projector maps (tokens [N, K, width], counts [N]) to (tokens [N, K', hidden], counts' [N]) and knows `num_tokens(K) -> K'` without weights.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclasses.dataclass
class LinearConfig:
    def num_tokens(self, count: int) -> int:
        return count


class LinearProjector(nn.Module):
    config_class = LinearConfig

    def __init__(self, config: LinearConfig, width: int, hidden: int):
        super().__init__()
        self.proj = nn.Linear(width, hidden)

    def forward(self, tokens: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        return self.proj(tokens), counts


@dataclasses.dataclass
class MLPConfig:
    """Two layers with GELU; `hidden_factor` times the LLM's width in between."""

    hidden_factor: float = 1.0

    def num_tokens(self, count: int) -> int:
        return count


class MLPProjector(nn.Module):
    config_class = MLPConfig

    def __init__(self, config: MLPConfig, width: int, hidden: int):
        super().__init__()
        middle = round(hidden * config.hidden_factor)
        self.up, self.down = nn.Linear(width, middle), nn.Linear(middle, hidden)

    def forward(self, tokens: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        return self.down(F.gelu(self.up(tokens))), counts


@dataclasses.dataclass
class MergeConfig:
    """Pixel shuffle (`grid`: factor x factor neighbours of a square grid) or time merge (factor neighbours in a row)."""

    factor: int = 2
    grid: bool = False

    def __post_init__(self):
        if self.factor < 1:
            raise ValueError(f"merge projector: factor {self.factor} must be at least 1")

    def num_tokens(self, count: int) -> int:
        if not self.grid:
            return math.ceil(count / self.factor)
        side = math.isqrt(count)
        if side * side != count or side % self.factor:
            raise ValueError(f"merge projector: {count} tokens are no square grid of a side that {self.factor} divides")
        return count // self.factor**2


class MergeProjector(nn.Module):
    config_class = MergeConfig

    def __init__(self, config: MergeConfig, width: int, hidden: int):
        super().__init__()
        self.config = config
        self.proj = nn.Linear(width * (config.factor**2 if config.grid else config.factor), hidden)

    def forward(self, tokens: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        N, K, D = tokens.shape
        f = self.config.factor
        if self.config.grid:
            merged = self.config.num_tokens(K)
            side = math.isqrt(K) // f
            x = tokens.view(N, side, f, side, f, D).transpose(2, 3).reshape(N, merged, f * f * D)
            return self.proj(x), torch.full_like(counts, merged)
        # Tokens behind a medium's end must not leak into its last merged one.
        valid = torch.arange(K, device=tokens.device) < counts[:, None]
        x = F.pad(tokens * valid[..., None], (0, 0, 0, -K % f)).reshape(N, -1, f * D)
        return self.proj(x), (counts + f - 1) // f


@dataclasses.dataclass
class ResamplerConfig:
    """`queries` learned vectors attend to all tokens of a medium (Q-Former, Perceiver resampler)."""

    queries: int = 32
    heads: int = 4

    def num_tokens(self, count: int) -> int:
        return self.queries


class ResamplerProjector(nn.Module):
    config_class = ResamplerConfig

    def __init__(self, config: ResamplerConfig, width: int, hidden: int):
        super().__init__()
        if hidden % config.heads:
            raise ValueError(f"resampler projector: the LLM's width {hidden} is not a multiple of {config.heads} heads")
        self.heads = config.heads
        self.queries = nn.Parameter(torch.randn(config.queries, hidden) * hidden**-0.5)
        self.norm = nn.LayerNorm(width)
        self.to_kv = nn.Linear(width, 2 * hidden)
        self.to_q, self.out = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)

    def forward(self, tokens: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        N, K, _ = tokens.shape
        hidden = self.queries.shape[1]
        k, v = self.to_kv(self.norm(tokens)).view(N, K, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        q = self.to_q(self.queries).view(1, -1, self.heads, hidden // self.heads).transpose(1, 2).expand(N, -1, -1, -1)
        mask = (torch.arange(K, device=tokens.device) < counts[:, None])[:, None, None]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(N, -1, hidden)
        return self.out(attended) + self.queries, torch.full_like(counts, len(self.queries))
