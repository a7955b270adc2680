"""Small bidirectional transformer blocks that the from-scratch encoders share. Shape legend: N media, K tokens, D width, H heads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MediaBlock(nn.Module):
    """Pre-norm self-attention and a GELU feed-forward, every token seeing every valid token of its own medium."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"encoder width {width} is not a multiple of its {heads} heads")
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x [N, K, D]; mask [N, 1, 1, K] of valid keys, or None where all are."""
        N, K, D = x.shape
        q, k, v = self.qkv(self.norm_attention(x)).view(N, K, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(attended.transpose(1, 2).reshape(N, K, D))
        return x + self.down(F.gelu(self.up(self.norm_mlp(x))))


def valid_keys(counts: Tensor, length: int) -> Tensor | None:
    """Key mask [N, 1, 1, K] of media with `counts` [N] valid tokens each, or None where all are full (the fast path)."""
    if bool((counts == length).all()):
        return None
    return (torch.arange(length, device=counts.device) < counts[:, None])[:, None, None]
