"""Batched cached decoding of our own model, greedy or sampled: one prefill per prompt however many rows continue it, and no token read twice.

`sample` draws completions for a batch of prompts. A search holds a `Session` instead: prefill, fork, extend, generate, fork the best, go on.
A row's randomness is drawn ahead from its own seed, so a completion does not depend on the rows beside it (up to rounding).
Shape legend: B prompts, G samples of a prompt, N rows, R rows still decoding, n new tokens, d width, V vocabulary.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from .cache import SharedCache
from .decoding import open_decoder


@dataclasses.dataclass
class Sampled:
    """ids [N, n] with the end token where there is one, then padding; lengths [N] count it; finished [N]: ended by itself; logps [N, n] under
    the model at the sampling temperature (at temperature 0: at 1), before top-k and top-p, as a trainer computes them; 0 at padding."""

    ids: Tensor
    lengths: Tensor
    logps: Tensor
    finished: Tensor


@dataclasses.dataclass(frozen=True)
class Stops:
    """What ends a completion: token ids, or strings in the new text, for which a tokenizer is needed. The token that completes a stop belongs to
    the completion."""

    ids: tuple[int, ...] = ()
    strings: tuple[str, ...] = ()
    tokenizer: Any = None

    def __post_init__(self) -> None:
        if self.strings and (self.tokenizer is None or not all(self.strings)):
            raise ValueError("stop strings must not be empty, and need the tokenizer: Stops(strings=..., tokenizer=...)")

    def hit(self, ids: Tensor, fresh: int = 1) -> Tensor:
        """Which of the last `fresh` tokens of the rows' new ids [R, t] complete a stop, [R, fresh]."""
        ended = torch.isin(ids[:, -fresh:], torch.tensor(self.ids, dtype=torch.long, device=ids.device))
        if self.strings:
            # A token is at least one byte of text; one more in front, because some tokenizers strip the space at the beginning of a text.
            window = max(len(s.encode()) for s in self.strings) + 1
            for column in range(fresh):
                end = ids.shape[1] - fresh + column + 1
                said = ids[:, max(0, end - window) : end].tolist()
                texts = self.tokenizer.batch_decode(said, skip_special_tokens=False, clean_up_tokenization_spaces=False)
                ended[:, column] |= torch.tensor([any(s in text for s in self.strings) for text in texts], device=ids.device)
        return ended


@torch.no_grad()
def sample(
    model,
    batch: dict[str, Tensor],
    max_new_tokens: int,
    *,
    stop_ids: Sequence[int],
    pad_id: int = 0,
    temperature: float = 0.0,
    num_samples: int = 1,
    seeds: Sequence[int] | None = None,
    top_k: int | None = None,
    top_p: float = 1.0,
    stop_strings: Sequence[str] = (),
    tokenizer: Any = None,
    max_tokens: int | None = None,
) -> Sampled:
    """Continue each prompt of a left-padded processor batch until one of `stop_ids`, one of `stop_strings`, or `max_new_tokens`; the `num_samples`
    completions of a prompt stand together.

    temperature 0 is greedy. Placeholders of media are never drawn. seeds: one per row (B * G); without them rows are seeded 0, 1, 2, ….
    max_tokens: the most tokens that are cached at a time, prompts counted once and `max_new_tokens` for every row; more rows than fit are decoded
    one chunk after the other (default: all at once). Dropout is off while sampling and put back as it was.
    """
    prompts = len(batch["input_ids"])
    seeds = list(range(prompts * num_samples) if seeds is None else seeds)
    if len(seeds) != prompts * num_samples:
        raise ValueError(f"{len(seeds)} seeds for {prompts * num_samples} rows")
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "pad_id": pad_id}
    stops = Stops(tuple(stop_ids), tuple(stop_strings), tokenizer)
    drawn = []
    for first, last, width in _chunks(prompts, num_samples, batch["input_ids"].shape[1], max_new_tokens, max_tokens):
        session = Session.prefill(model, batch if last - first == prompts else take_prompts(batch, range(first, last)))
        for start in range(0, num_samples, width):
            count = min(width, num_samples - start)
            rows = [b for b in range(last - first) for _ in range(count)]
            mine = [seeds[(first + b) * num_samples + start + g] for b in range(last - first) for g in range(count)]
            drawn.append(session.fork(rows).generate(max_new_tokens, stops, seeds=mine, **how))
    return drawn[0] if len(drawn) == 1 else _join(drawn, pad_id)


def _chunks(prompts: int, num_samples: int, prompt_size: int, max_new_tokens: int, max_tokens: int | None) -> Iterator[tuple[int, int, int]]:
    """(first prompt, last prompt, samples at a time) of each chunk within the budget: whole groups, or parts of one that is too large by itself."""
    group = prompt_size + num_samples * max_new_tokens
    budget = prompts * group if max_tokens is None else max_tokens
    if budget < prompt_size + max_new_tokens:
        raise ValueError(f"max_tokens {budget} is less than one prompt and its completion ({prompt_size} + {max_new_tokens} tokens)")
    together = max(1, budget // group)
    width = min(num_samples, (budget - prompt_size) // max(1, max_new_tokens)) if together == 1 else num_samples
    for first in range(0, prompts, together):
        yield first, min(first + together, prompts), width


def _join(parts: list[Sampled], pad_id: int) -> Sampled:
    size = max(part.ids.shape[1] for part in parts)

    def wide(x: Tensor, fill: float) -> Tensor:
        return torch.nn.functional.pad(x, (0, size - x.shape[1]), value=fill)

    return Sampled(
        torch.cat([wide(p.ids, pad_id) for p in parts]),
        torch.cat([p.lengths for p in parts]),
        torch.cat([wide(p.logps, 0.0) for p in parts]),
        torch.cat([p.finished for p in parts]),
    )


def take_prompts(batch: dict[str, Tensor], prompts: Sequence[int]) -> dict[str, Tensor]:
    """These prompts of a processor batch, each with its media."""
    chosen = torch.as_tensor(list(prompts))
    taken = {k: batch[k][chosen.to(batch[k].device)] for k in ("input_ids", "attention_mask")}
    place = {int(b): i for i, b in enumerate(chosen)}
    for key in [k for k in batch if k.endswith("_rows")]:
        owners = batch[key]
        keep = torch.isin(owners, chosen.to(owners.device))
        if not bool(keep.any()):
            continue
        stream = key.removesuffix("_rows")
        taken[key] = torch.tensor([place[o] for o in owners[keep].tolist()], device=owners.device)
        parts = [f"{stream}_{part}" for part in ("features", "lengths", "encoded") if f"{stream}_{part}" in batch]
        taken |= {part: batch[part][keep] for part in parts}
    return taken


class Session:
    """N rows of cached decoding behind prompts that were read once.

    >>> session = Session.prefill(model, batch)          # one row per prompt of a left-padded processor batch
    >>> beams = session.fork([0, 0, 0, 1, 1, 1])         # rows of the new session continue these rows; prompts are shared, the old one stays usable
    >>> drawn = beams.generate(64, Stops((newline,)), temperature=1.0, seeds=[…])   # -> Sampled; the rows now stand behind what they said
    >>> hidden = beams.extend([[5, 6], [7], …])          # read given tokens; -> per row, hidden states [len(ids), d]
    >>> best = beams.fork([2, 4])                        # go on with chosen rows

    hidden [N, d]: last hidden state of the last token read. unread: per row the tokens that it said but has not read yet (the last one drawn);
    the next call reads them. `tokens_read` counts every token that went through the model, over all sessions of one prefill.
    """

    def __init__(self, model, cache: SharedCache, hidden: Tensor, unread: list[list[int]], count: list[int]):
        self.model, self.cache, self.hidden, self.unread, self._count = model, cache, hidden, unread, count

    @classmethod
    @torch.no_grad()
    def prefill(cls, model, batch: dict[str, Tensor]) -> "Session":
        """Read the prompts of a left-padded processor batch, media and all."""
        if not bool(batch["attention_mask"][:, -1].all()):
            raise ValueError("sampling needs prompts padded on the left: processor(..., padding_side='left')")
        cache = DynamicCache()
        with _evaluating(model):
            hidden = model.hidden_states(**batch, cache=cache)[:, -1]
        return cls(model, SharedCache.from_prefill(cache), hidden, [[] for _ in hidden], [int(batch["attention_mask"].sum())])

    def __len__(self) -> int:
        return len(self.unread)

    @property
    def tokens_read(self) -> int:
        return self._count[0]

    def fork(self, rows: Sequence[int]) -> "Session":
        """A session of the given rows, in this order; a row may be taken several times."""
        rows = [int(r) for r in rows]
        if not rows or not all(0 <= r < len(self) for r in rows):
            raise ValueError(f"fork: rows {rows} are not rows of a session of {len(self)}")
        index = torch.tensor(rows, device=self.hidden.device)
        return Session(self.model, self.cache.fork(rows), self.hidden[index], [list(self.unread[r]) for r in rows], self._count)

    @torch.no_grad()
    def extend(self, ids: Sequence[Sequence[int]]) -> list[Tensor]:
        """Read the given tokens of each row (any number, also none). Returns their hidden states, [len(ids), d] per row."""
        if len(ids) != len(self):
            raise ValueError(f"extend: tokens for {len(ids)} rows, the session has {len(self)}")
        lines = [[*before, *new] for before, new in zip(self.unread, ids, strict=True)]
        sizes = [len(line) for line in lines]
        size = max(sizes)
        if size == 0:
            return [self.hidden[:0] for _ in lines]
        block = torch.zeros(len(lines), size, dtype=torch.long)
        for i, line in enumerate(lines):
            block[i, : len(line)] = torch.tensor(line, dtype=torch.long)
        with _evaluating(self.model):
            hidden = self.model.decode(block.to(self.hidden.device), self.cache)
        self.cache.rewind([size - n for n in sizes])
        self._count[0] += sum(sizes)
        self.hidden = torch.stack([row[n - 1] if n else old for row, n, old in zip(hidden, sizes, self.hidden, strict=True)])
        self.unread = [[] for _ in lines]
        return [row[n - len(new) : n] for row, n, new in zip(hidden, sizes, ids, strict=True)]

    @torch.no_grad()
    def generate(
        self,
        max_new_tokens: int,
        stops: Stops = Stops(),
        *,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        seeds: Sequence[int] | None = None,
        pad_id: int = 0,
    ) -> Sampled:
        """Continue every row until a stop or `max_new_tokens`. seeds: one per row (default 0, 1, 2, …); give each call its own, or it repeats the
        draws of the one before. Afterwards each row stands behind what it said, its last token unread."""
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; at least one token must be allowed")
        seeds = list(range(len(self)) if seeds is None else seeds)
        if len(seeds) != len(self):
            raise ValueError(f"{len(seeds)} seeds for {len(self)} rows")
        if any(self.unread):
            self.extend([[]] * len(self))
        choose = Choice(temperature, top_k, top_p, _uniform(seeds, max_new_tokens).to(self.hidden.device) if temperature > 0 else None)
        with _evaluating(self.model):
            drawn, read = self._generate(max_new_tokens, stops, choose, pad_id)
        self._count[0] += read
        self.unread = [[ids[n - 1]] for ids, n in zip(drawn.ids.tolist(), drawn.lengths.tolist(), strict=True)]
        return drawn

    def _generate(self, max_new_tokens: int, stops: Stops, choose: "Choice", pad_id: int) -> tuple[Sampled, int]:
        """The completions, and how many of their tokens were read."""
        device, total, before = self.hidden.device, len(self), list(self.cache.lengths)
        ids = torch.full((total, max_new_tokens), pad_id, device=device)
        logps = torch.zeros(total, max_new_tokens, device=device, dtype=torch.promote_types(self.hidden.dtype, torch.float32))
        lengths = torch.zeros(total, dtype=torch.long, device=device)
        finished = torch.zeros(total, dtype=torch.bool, device=device)
        live = torch.arange(total, device=device)  # the rows that still decode
        cache = self.cache
        cache.reserve(max_new_tokens)
        decoder = open_decoder(self.model, cache, choose, live, max_new_tokens)
        block, scores = decoder.first(self.hidden)
        step = 0
        while True:
            size = block.shape[1]
            ids[live, step : step + size] = block
            hit = stops.hit(ids[live, : step + size], size)
            # Rows that have ended but are still carried say nothing, nor does a row behind its stop.
            said = (hit.cumsum(1) - hit.long() == 0) & ~finished[live, None]
            ids[live, step : step + size] = torch.where(said, block, pad_id)
            logps[live, step : step + size] = torch.where(said, scores, 0)
            lengths[live] += said.sum(1)
            finished[live] |= (hit & said).any(1)
            step += size
            left = (~finished[live]).nonzero()[:, 0]
            if not len(left) or step == max_new_tokens:
                break
            if len(left) <= len(live) // 2:  # half have ended: carry them no further
                cache.pin(None)
                smaller = cache.fork(left.tolist())
                if cache is not self.cache:
                    self.cache.absorb(cache, live.tolist())
                cache, live = smaller, live[left]
                decoder = open_decoder(self.model, cache, choose, live, max_new_tokens - step)
            block, scores = decoder.go_on(ids[live, step - 1], step, max_new_tokens - step)
        cache.pin(None)
        if cache is not self.cache:
            self.cache.absorb(cache, live.tolist())
        # What carried rows read behind their end, and the last token of each, are not theirs.
        spoken = lengths.tolist()
        self.cache.rewind([now - then - (n - 1) for now, then, n in zip(self.cache.lengths, before, spoken, strict=True)])
        longest = max(spoken)
        return Sampled(ids[:, :longest], lengths, logps[:, :longest], finished), sum(spoken) - total


@dataclasses.dataclass
class Choice:
    """How the next token is drawn from logits: greedy without `uniform` [N, n], otherwise by inverse distribution function at these numbers in
    [0, 1)."""

    temperature: float
    top_k: int | None = None
    top_p: float = 1.0
    uniform: Tensor | None = None

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or (self.top_k is not None and self.top_k < 1):
            raise ValueError(f"sampling: temperature {self.temperature} >= 0, 0 < top_p {self.top_p} <= 1, top_k {self.top_k} >= 1 are needed")

    def __call__(self, logits: Tensor, rows: Tensor, step: int | Tensor) -> tuple[Tensor, Tensor]:
        """(tokens [R], their log-probabilities [R]) from the logits [R, V] of `rows`, which say their `step`-th token."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        shares = torch.softmax(wide if self.temperature in (0, 1) else wide / self.temperature, -1)
        if self.uniform is None:
            token = shares.argmax(-1)
        else:
            cumulated = self._kept(shares).cumsum(-1)
            # The last sum is what is left of 1 after rounding and cutting: scaled by it, no draw falls behind the last token.
            point = self.uniform[rows, step].to(wide.dtype) * cumulated[:, -1]
            token = torch.searchsorted(cumulated, point[:, None], right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
        return token, shares.gather(-1, token[:, None])[:, 0].log()

    def _kept(self, shares: Tensor) -> Tensor:
        """Probabilities with 0 for what top-k and top-p leave out: all but the k likeliest tokens; of these all but the likeliest whose share of
        the rest reaches p."""
        if self.top_k is None and self.top_p == 1:
            return shares
        ordered, tokens = shares.sort(dim=-1, descending=True, stable=True)
        if self.top_k is not None:
            ordered[:, self.top_k :] = 0
        if self.top_p < 1:
            share = ordered / ordered.sum(-1, keepdim=True)
            ordered = ordered.masked_fill(share.cumsum(-1) - share >= self.top_p, 0)
        return torch.zeros_like(shares).scatter(-1, tokens, ordered)


@contextlib.contextmanager
def _evaluating(model) -> Iterator[None]:
    """Dropout off, then everything as it was."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


def _uniform(seeds: Sequence[int], steps: int) -> Tensor:
    """One number in [0, 1) per row and step, from the row's seed alone."""
    return torch.stack([torch.rand(steps, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
