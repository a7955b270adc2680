"""Batched cached decoding of our own model: greedy or by temperature, one prefill per prompt however many samples are drawn from it.

A row's randomness is drawn ahead from its own seed, so a completion does not depend on the rows beside it (up to rounding).
Shape legend: B prompts, G samples of a prompt, R rows still decoding, n new tokens, V vocabulary.
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache


@dataclasses.dataclass
class Sampled:
    """ids [B * G, n] with the end token where there is one, then padding; lengths [B * G] count it; finished [B * G]: ended by itself;
    logps [B * G, n] under the distribution sampled from (at temperature 0: the model's own), 0 at padding. The G samples of a prompt stand
    together."""

    ids: Tensor
    lengths: Tensor
    logps: Tensor
    finished: Tensor


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
) -> Sampled:
    """Continue each prompt of a left-padded processor batch until one of `stop_ids` or `max_new_tokens`.

    temperature 0 is greedy. Placeholders of media are never drawn. seeds: one per row (B * G); without them rows are seeded 0, 1, 2, ….
    Dropout is off while sampling and put back as it was.
    """
    if not bool(batch["attention_mask"][:, -1].all()):
        raise ValueError("sampling needs prompts padded on the left: processor(..., padding_side='left')")
    total = len(batch["input_ids"]) * num_samples
    seeds = range(total) if seeds is None else seeds
    if len(seeds) != total:
        raise ValueError(f"{len(seeds)} seeds for {total} rows")
    training = model.training
    model.eval()
    try:
        return _decode(model, batch, max_new_tokens, torch.tensor(list(stop_ids)), pad_id, temperature, num_samples, seeds)
    finally:
        model.train(training)


def _decode(model, batch, max_new_tokens, stops, pad_id, temperature, num_samples, seeds) -> Sampled:
    cache, device = DynamicCache(), batch["input_ids"].device
    hidden = model.hidden_states(**batch, cache=cache)[:, -1]
    total = len(hidden) * num_samples
    stops = stops.to(device)
    if num_samples > 1:
        rows = torch.arange(len(hidden), device=device).repeat_interleave(num_samples)
        hidden = hidden[rows]
        model.take_rows(cache, rows)
    uniform = _uniform(seeds, max_new_tokens).to(device) if temperature > 0 else None
    ids = torch.full((total, max_new_tokens), pad_id, device=device)
    logps = torch.zeros(total, max_new_tokens, device=device)
    lengths = torch.zeros(total, dtype=torch.long, device=device)
    finished = torch.zeros(total, dtype=torch.bool, device=device)
    live = torch.arange(total, device=device)  # which row of the result each decoding row writes to
    for step in range(max_new_tokens):
        if step:
            hidden = model.decode(ids[live, step - 1][:, None], cache)[:, -1]
        logits = model.logits(hidden).float()
        logits[:, model.never_said] = -torch.inf
        token, logp = _choose(logits, temperature, None if uniform is None else uniform[live, step])
        # Rows that have ended but are still carried write nothing.
        going = ~finished[live]
        target = live[going]
        ids[target, step], logps[target, step] = token[going], logp[going]
        lengths[target] = step + 1
        finished[target] = torch.isin(token[going], stops)
        left = (~finished[live]).nonzero()[:, 0]
        if not len(left):
            break
        if len(left) <= len(live) // 2:  # half have ended: carry them no further
            live = live[left]
            model.take_rows(cache, left)
    longest = int(lengths.max())
    return Sampled(ids[:, :longest], lengths, logps[:, :longest], finished)


def _choose(logits: Tensor, temperature: float, uniform: Tensor | None) -> tuple[Tensor, Tensor]:
    """(tokens [R], their log-probabilities [R]) from logits [R, V]; by inverse distribution function where a temperature is given."""
    logps = torch.log_softmax(logits / (temperature or 1.0), -1)
    if uniform is None:
        token = logps.argmax(-1)
    else:
        cumulated = logps.exp().cumsum(-1)
        # Rounding may leave the last sum below 1: scaled by it, no draw falls behind the last token.
        token = torch.searchsorted(cumulated, (uniform * cumulated[:, -1])[:, None], right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    return token, logps.gather(-1, token[:, None])[:, 0]


def _uniform(seeds: Sequence[int], steps: int) -> Tensor:
    """One number in [0, 1) per row and step, from the row's seed alone."""
    return torch.stack([torch.rand(steps, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
