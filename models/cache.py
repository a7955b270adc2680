"""What stands beside transformers' caches: the state of a prefill with media, and media keys without any cache."""

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass
class Decoding:
    """What cached decoding needs to know of the prefill: the position of the next token per row, and which cached keys of each layer are real (one
    tensor per stretch of layers; None where all are)."""

    position: Tensor
    key_ok: list[Tensor | None]
    stretch: list[int]

    def take(self, rows: Tensor) -> None:
        """Keep the given rows [R], in this order; a row may be taken several times."""
        self.position = self.position[rows]
        self.key_ok = [None if ok is None else ok[rows] for ok in self.key_ok]


class Prepended:
    """Media keys and values in front of a layer's own, as a stateless stand-in for a cache: safe under gradient checkpointing."""

    def __init__(self, k: Tensor, v: Tensor):
        self.k, self.v = k, v

    def update(self, k: Tensor, v: Tensor, *_, **__) -> tuple[Tensor, Tensor]:
        return torch.cat([self.k, k], 2), torch.cat([self.v, v], 2)
