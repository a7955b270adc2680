"""What stands beside transformers' caches: the state of a prefill with media, media keys without any cache, and the cache that grouped decoding
reads: prompts held once, each row's own keys behind them.

Shape legend: B prompts, N rows (each continues one prompt), P cached keys of a prompt at a layer, C room for a row's own keys, q new tokens of a
row, H query heads, H_kv key heads, h head width.
"""

import contextlib
import copy
import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface, DynamicCache

SHARED = "focal_shared"  # name of our attention function among those of transformers
ROOM = 64  # a row's own keys are allotted in steps of so many tokens


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

    def step(self, q: int, cache: DynamicCache) -> tuple[Tensor, list[Tensor | None]]:
        """(positions [B, q] of q new tokens, the mask of each layer)."""
        positions = self.position[:, None] + torch.arange(q, device=self.position.device)
        masks = [self._mask(ok, q, cache, self.stretch.index(i)) for i, ok in enumerate(self.key_ok)]
        return positions, [masks[i] for i in self.stretch]

    def advance(self, q: int) -> None:
        fresh = torch.ones(len(self.position), q, dtype=torch.bool, device=self.position.device)
        self.key_ok = [None if ok is None else torch.cat([ok, fresh], 1) for ok in self.key_ok]
        self.position = self.position + q

    def attention(self, config: Any) -> contextlib.AbstractContextManager:
        """The attention that these keys need: the family's own."""
        return contextlib.nullcontext()

    @staticmethod
    def _mask(ok: Tensor | None, q: int, cache: DynamicCache, layer: int) -> Tensor | None:
        if ok is None and q == 1:
            return None
        past = cache.get_seq_length(layer) if ok is None else ok.shape[1]
        device = cache.layers[layer].keys.device
        causal = torch.ones(q, q, dtype=torch.bool, device=device).tril()
        if ok is None:
            return torch.cat([torch.ones(q, past, dtype=torch.bool, device=device), causal], 1)[None, None]
        return torch.cat([ok[:, None, None].expand(-1, 1, q, -1), causal.expand(len(ok), 1, -1, -1)], -1)


class Prepended:
    """Media keys and values in front of a layer's own, as a stateless stand-in for a cache: safe under gradient checkpointing."""

    def __init__(self, k: Tensor, v: Tensor):
        self.k, self.v = k, v

    def update(self, k: Tensor, v: Tensor, *_, **__) -> tuple[Tensor, Tensor]:
        return torch.cat([self.k, k], 2), torch.cat([self.v, v], 2)


class LayerKeys(NamedTuple):
    """What a layer hands to `attend` as its keys: the cache, the layer, and the rows' own keys [N, H_kv, T, h]. Not every family passes further
    arguments through, every one passes its keys."""

    cache: "SharedCache"
    layer: int
    own: Tensor


class SharedCache:
    """Keys and values of N rows that continue B prompts: a prompt's are held once, however many rows continue it; a row's own lie in room allotted
    ahead. Prompts may differ in length between layers (late media), rows between each other. Not differentiable.

    A prompt's keys meet the queries of all its rows in one product, a row's own keys its own queries in another; one softmax runs over both.
    Nothing is copied per step.
    """

    def __init__(self, prompts: list[tuple[Tensor, Tensor]], state: Decoding, owner: Sequence[int]):
        """prompts: per layer, keys and values [B, H_kv, P, h]; `state` of their prefill; owner: the prompt that each row continues."""
        self.prompts, self.prompt_ok, self.stretch = prompts, state.key_ok, state.stretch
        self.position = state.position  # [N] of the next token
        self.owner, self.lengths = list(owner), [0] * len(owner)
        self.pinned: int | None = None  # see `pin`
        self.tails = [(self._room(k, 0), self._room(v, 0)) for k, v in prompts]
        self._place()

    @classmethod
    def from_prefill(cls, cache: DynamicCache) -> "SharedCache":
        """One row per prompt of a cache that `hidden_states` filled."""
        prompts = [(layer.keys, layer.values) for layer in cache.layers]
        return cls(prompts, cache.decoding, range(len(cache.decoding.position)))

    @property
    def decoding(self) -> "SharedCache":
        """The state of decoding, where a transformers cache carries a `Decoding`."""
        return self

    @property
    def num_prompts(self) -> int:
        return len(self.prompts[0][0])

    def get_seq_length(self, layer: int = 0) -> int:
        """Keys that the longest row may see at a layer."""
        return self.prompts[layer][0].shape[2] + max(self.lengths)

    def fork(self, rows: Sequence[int]) -> "SharedCache":
        """A cache of the given rows, in this order; a row may be taken several times. Prompts are shared with this one (those without a row are
        left out), the rows' own keys are copied."""
        taken, index = copy.copy(self), self._index(rows)
        used = sorted({self.owner[r] for r in rows})
        if len(used) < self.num_prompts:
            kept = self._index(used)
            taken.prompts = [(k[kept], v[kept]) for k, v in self.prompts]
            taken.prompt_ok = [None if ok is None else ok[kept] for ok in self.prompt_ok]
        taken.position = self.position[index]
        taken.owner = [used.index(self.owner[r]) for r in rows]
        taken.lengths = [self.lengths[r] for r in rows]
        taken.tails = [(k[index], v[index]) for k, v in self.tails]
        taken.pinned = None
        taken._place()
        return taken

    def absorb(self, other: "SharedCache", rows: Sequence[int]) -> None:
        """Take back the keys of `other`, a fork of `rows` of this one that has gone further."""
        index = self._index(rows)
        self.reserve(max(other.lengths) - max(self.lengths))
        for mine, theirs in zip(self.tails, other.tails, strict=True):
            for own, new in zip(mine, theirs, strict=True):
                size = min(own.shape[2], new.shape[2])
                own[index, :, :size] = new[:, :, :size]
        self.position = self.position.index_copy(0, index, other.position)
        for r, length in zip(rows, other.lengths, strict=True):
            self.lengths[r] = length

    def rewind(self, tokens: Sequence[int]) -> None:
        """Forget the last so many tokens of each row."""
        self.lengths = [n - back for n, back in zip(self.lengths, tokens, strict=True)]
        self.position = self.position - self._index(tokens)

    def reserve(self, tokens: int) -> None:
        """Room for so many more tokens behind the longest row."""
        size = -(-(max(self.lengths) + tokens) // ROOM) * ROOM

        def larger(old: Tensor) -> Tensor:
            new = self._room(old, size)
            new[:, :, : old.shape[2]] = old
            return new

        if size > self.tails[0][0].shape[2]:
            self.tails = [(larger(k), larger(v)) for k, v in self.tails]

    def pin(self, size: int | None) -> None:
        """From now on a step of one token does the same work on the same memory as the one before, so that a CUDA graph can repeat it: `size` own
        keys of each row are read, those behind its end blocked, and the ends move on the device. `lengths` is then the caller's to keep up. None:
        as before. Room for `size` must have been reserved."""
        self.pinned = size
        if size is not None:
            assert size <= self.tails[0][0].shape[2], "pin: reserve first"
            self.ends, self.position = self._index(self.lengths), self.position.clone()

    def _index(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.position.device)

    def _room(self, like: Tensor, size: int) -> Tensor:
        # Zeros, not empty memory: what lies behind a row's end has weight 0, and 0 * NaN would be NaN.
        return like.new_zeros(len(self.owner), like.shape[1], size, like.shape[3])

    def _place(self) -> None:
        """The place of each row in the grid [B, Q] of prompts and their rows; None where the rows already lie so."""
        self.width, self.owners = max(Counter(self.owner).values()), self._index(self.owner)
        seen: Counter = Counter()
        slots = []
        for b in self.owner:
            slots.append(b * self.width + seen[b])
            seen[b] += 1
        tidy = slots == list(range(self.num_prompts * self.width))
        self.slots = None if tidy else self._index(slots)

    def step(self, q: int, _: Any) -> tuple[Tensor, list[None]]:
        """As `Decoding.step`. What a row may not see is kept here; layers get no mask."""
        ahead = torch.arange(q, device=self.position.device)
        if self.pinned is not None:
            self.size, self.even, self.columns = self.pinned, False, self.ends[:, None] + ahead
        else:
            self.reserve(q)
            self.size = max(self.lengths) + q  # own keys that are read
            self.even = min(self.lengths) + q == self.size
            self.columns = self.size - q + ahead[None] if self.even else self._index(self.lengths)[:, None] + ahead  # [1 or N, q] of the new keys
        self.blocked = [self._blocked(stretch, q) for stretch in range(len(self.prompt_ok))]
        return self.position[:, None] + ahead, [None] * len(self.prompts)

    def _blocked(self, stretch: int, q: int) -> Tensor | None:
        """What the queries must not see at a stretch of layers, [N, 1, 1, q, P + T]: padding of their prompt, and what lies behind them."""
        ok = self.prompt_ok[stretch]
        if ok is None and self.even and q == 1:
            return None
        size = self.prompts[self.stretch.index(stretch)][0].shape[2]
        before = self.columns.new_zeros(1, size, dtype=torch.bool) if ok is None else ~ok[self.owners]
        own = torch.arange(self.size, device=self.columns.device) > self.columns[..., None]
        parts = [before[:, None].expand(len(self.owner), q, -1), own.expand(len(self.owner), -1, -1)]
        return torch.cat(parts, -1)[:, None, None]

    def advance(self, q: int) -> None:
        if self.pinned is not None:
            self.ends.add_(q)
            self.position.add_(q)
        else:
            self.lengths = [n + q for n in self.lengths]
            self.position = self.position + q

    @contextlib.contextmanager
    def attention(self, config: Any) -> Iterator[None]:
        """The LLM attends by `attend` within this context."""
        usual = config._attn_implementation
        config._attn_implementation = SHARED
        try:
            yield
        finally:
            config._attn_implementation = usual

    def update(self, k: Tensor, v: Tensor, layer: int, *_, **__) -> tuple["LayerKeys", Tensor]:
        """Called by a layer with its new keys and values [N, H_kv, q, h]; returns the rows' own ones up to now, for `attend`. They are kept in the
        precision of the prompt's: under autocast a prefill may store other ones than a step brings."""
        for room, new in zip(self.tails[layer], (k, v), strict=True):
            if self.even:
                room[:, :, self.size - new.shape[2] : self.size] = new
            else:
                rows = torch.arange(len(new), device=new.device)[:, None]
                room[rows, :, self.columns] = new.transpose(1, 2).to(room.dtype)
        keys, values = self.tails[layer]
        return LayerKeys(self, layer, keys[:, :, : self.size]), values[:, :, : self.size]

    def attend(self, layer: int, query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """[N, q, H, h] from queries [N, H, q, h] over their prompts' keys and `keys`, `values` [N, H_kv, T, h] of their own."""
        N, H, q, h = query.shape
        prompt_keys, prompt_values = self.prompts[layer]
        H_kv, P = prompt_keys.shape[1:3]
        query = (query * scale).reshape(N, H_kv, -1, h)  # query heads that share a key head lie together
        before = self._by_row(self._by_prompt(query) @ prompt_keys.mT)
        scores = torch.cat([before, query @ keys.mT], -1)
        blocked = self.blocked[self.stretch[layer]]
        if blocked is not None:
            scores.view(N, H_kv, -1, q, scores.shape[-1]).masked_fill_(blocked, -torch.inf)
        weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(values.dtype)
        out = self._by_row(self._by_prompt(weights[..., :P]) @ prompt_values) + weights[..., P:] @ values
        return out.reshape(N, H, q, -1).transpose(1, 2)

    def _by_prompt(self, x: Tensor) -> Tensor:
        """[N, H_kv, m, w] of rows -> [B, H_kv, Q * m, w]: the rows of a prompt side by side (zeros where a prompt has fewer)."""
        if self.slots is not None:
            x = x.new_zeros(self.num_prompts * self.width, *x.shape[1:]).index_copy(0, self.slots, x)
        return x.view(self.num_prompts, self.width, *x.shape[1:]).transpose(1, 2).flatten(2, 3)

    def _by_row(self, x: Tensor) -> Tensor:
        """Back from `_by_prompt`: [B, H_kv, Q * m, w] -> [N, H_kv, m, w]."""
        x = x.unflatten(2, (self.width, -1)).transpose(1, 2).flatten(0, 1)
        return x if self.slots is None else x[self.slots]


def attend(_module: Any, query: Tensor, key: "LayerKeys", value: Tensor, attention_mask: None, scaling: float | None = None, **_):
    """transformers' attention interface over a `SharedCache`, whose `update` gave `key` and `value`."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return key.cache.attend(key.layer, query, key.own, value, scale), None


AttentionInterface.register(SHARED, attend)
