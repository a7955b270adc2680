"""What an encoder that does not learn made of a medium, kept by the content of its features, within a limit of bytes."""

import collections
import hashlib

import torch
from torch import Tensor, nn

LIMIT_BYTES = 512 << 20


class FeatureCache:
    """Least recently used tokens go first. Media are encoded one by one at their own length, so that a stored result never depends on the batch it
    was first seen in, and a resumed run computes the very same. When the encoder's weights change, all is forgotten."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES):
        self.limit, self.size = limit_bytes, 0
        self.hits = self.misses = 0
        self._stored: collections.OrderedDict[bytes, Tensor] = collections.OrderedDict()
        self._weights: list[tuple[int, int]] = []

    def encode(self, encoder: nn.Module, features: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """As the encoder's forward: features [N, …] and lengths [N] of their ragged axis -> (tokens [N, K, width], counts [N])."""
        weights = [(p.data_ptr(), p._version) for p in encoder.parameters()]  # a version counts every change in place: steps, loading, casting
        if weights != self._weights:
            self.clear()
            self._weights = weights
        each = [self._one(encoder, medium) for medium in self._cut(features, lengths)]
        counts = torch.tensor([len(tokens) for tokens in each], device=features.device)
        return nn.utils.rnn.pad_sequence(each, batch_first=True).to(features.device), counts

    @staticmethod
    def _cut(features: Tensor, lengths: Tensor | None) -> list[Tensor]:
        """Each medium without its padding: the ragged axis is the last one of sound [M, T] and the first one of frames [F, 3, S, S]."""
        if lengths is None:
            return list(features)
        if features.dim() == 3:
            return [medium[:, :length] for medium, length in zip(features, lengths.tolist(), strict=True)]
        return [medium[:length] for medium, length in zip(features, lengths.tolist(), strict=True)]

    def _one(self, encoder: nn.Module, medium: Tensor) -> Tensor:
        content = medium.detach().to("cpu", torch.float32).contiguous()
        key = hashlib.blake2b(content.numpy().tobytes(), digest_size=16, person=str(tuple(medium.shape)).encode()[:16]).digest() + _precision(medium)
        if key in self._stored:
            self.hits += 1
            self._stored.move_to_end(key)
            return self._stored[key]
        self.misses += 1
        with torch.no_grad():
            tokens, counts = encoder(medium[None], None)
        found = tokens[0, : int(counts[0])]
        self._stored[key] = found
        self.size += found.nbytes
        while self.size > self.limit and self._stored:
            self.size -= self._stored.popitem(last=False)[1].nbytes
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._stored.clear()
        self.size = 0

    def __deepcopy__(self, memo) -> "FeatureCache":
        return FeatureCache(self.limit)


def _precision(medium: Tensor) -> bytes:
    """In what an encoder computes here: tokens made under autocast are not those of an evaluation without it."""
    device = medium.device.type
    return str(torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else medium.dtype).encode()
