"""What a frozen encoder makes of a medium never changes, so it is computed once: features are kept by a hash of their content, within a memory
budget.

Shape legend: N media, K tokens.
"""

import collections
import hashlib

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence


class FrozenFeatures:
    """Replaces `<stream>_features` of a batch by `<stream>_encoded` for every stream whose encoder is frozen. `budget_mb` bounds what is kept;
    the longest unused goes first."""

    def __init__(self, model: nn.Module, budget_mb: int):
        self.streams = {n: s for n, s in model.streams.items() if not any(p.requires_grad for p in s.encoder.parameters())}
        self.budget, self.used = budget_mb * 2**20, 0
        self.kept: collections.OrderedDict[bytes, Tensor] = collections.OrderedDict()
        self.hits = self.misses = 0

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        for name, stream in self.streams.items():
            features = batch.get(f"{name}_features")
            if features is None:
                continue
            lengths = batch.get(f"{name}_lengths")
            keys = [_key(name, features[i], None if lengths is None else int(lengths[i])) for i in range(len(features))]
            encoded = self._encoded(stream, features, lengths, keys)
            batch = {k: v for k, v in batch.items() if k not in (f"{name}_features", f"{name}_lengths")}
            batch[f"{name}_encoded"] = pad_sequence(encoded, batch_first=True)
            batch[f"{name}_lengths"] = torch.tensor([len(e) for e in encoded], device=features.device)
        return batch

    @torch.no_grad()
    def _encoded(self, stream: nn.Module, features: Tensor, lengths: Tensor | None, keys: list[bytes]) -> list[Tensor]:
        missing = [i for i, key in enumerate(keys) if key not in self.kept]
        self.hits, self.misses = self.hits + len(keys) - len(missing), self.misses + len(missing)
        fresh: dict[bytes, Tensor] = {}
        if missing:
            tokens, counts = stream.encoder(features[missing], None if lengths is None else lengths[missing])
            fresh = {keys[i]: tokens[j, : int(counts[j])].clone() for j, i in enumerate(missing)}
        found = [fresh[key] if key in fresh else self.kept[key] for key in keys]
        for key, tensor in zip(keys, found, strict=True):
            self._keep(key, tensor)
        return found

    def _keep(self, key: bytes, tensor: Tensor) -> None:
        if key in self.kept:
            self.kept.move_to_end(key)
            return
        self.kept[key] = tensor
        self.used += tensor.numel() * tensor.element_size()
        while self.used > self.budget and len(self.kept) > 1:
            _, dropped = self.kept.popitem(last=False)
            self.used -= dropped.numel() * dropped.element_size()


def _key(stream: str, features: Tensor, length: int | None) -> bytes:
    """Padding does not count: the same medium in a longer batch has the same key. Sound and frames are ragged along their last and first axis."""
    if length is not None:
        features = features[..., :length] if features.ndim == 2 else features[:length]
    data = features.detach().cpu().contiguous()
    return hashlib.blake2b(f"{stream}{tuple(data.shape)}".encode() + data.numpy().tobytes(), digest_size=16).digest()
