"""Grouped rollouts: G completions of each prompt from one prefill, judged and rewarded. Media are encoded once per prompt, never per rollout.

Shape legend: B prompts, G rollouts of each, N = B * G rows (the rollouts of a prompt stand together), R completion positions.
"""

import copy
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from data import protocol
from data.record import Record
from data.verdict import Verdict
from data.worlds.base import generator
from training.rewards.algebra import Ledger, Term, judge, score
from training.rewards.rollout import Rollout


@dataclasses.dataclass
class Rollouts:
    """Sampled completions of a step. ids, mask, sampler_logps [N, R]; rewards [B, G]; parts: reward name -> [N]; texts, verdicts: of the N rows."""

    batch: dict[str, Tensor]  # the left-padded prompts with their media
    records: list[Record]
    texts: list[str]
    verdicts: list[Verdict]
    ids: Tensor
    mask: Tensor
    sampler_logps: Tensor
    truncated: Tensor
    rewards: Tensor
    parts: dict[str, list[float]]
    seconds: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How rollouts are drawn: G, temperature, the longest completion; `shuffled_frames` more of each prompt see its video's frames in random order
    (T-GRPO's contrast; they are judged and never trained on). `max_tokens` cached at a time (None: no limit)."""

    num_generations: int
    temperature: float
    max_new_tokens: int
    shuffled_frames: int = 0
    top_p: float = 1.0
    top_k: int | None = None
    max_tokens: int | None = None


def roll_out(
    model: Any, processor: Any, rows: Sequence[tuple[Record, Any]], how: Sampling, terms: Sequence[Term], ledger: Ledger, seed: tuple
) -> Rollouts:
    """Draw and reward G completions for each of `rows` (record, encoded prompt). `seed` names the step; every row's randomness follows from it
    alone."""
    records, size, place = [record for record, _ in rows], how.num_generations, "/".join(map(str, seed))
    device = next(model.parameters()).device
    plain = {k: v.to(device) for k, v in processor.collate([encoded for _, encoded in rows], "left").items()}
    start = time.perf_counter()
    batch = encode_frozen(model, plain)
    drawn = _draw(model, processor, batch, how, size, seed)
    contrast = _shuffled(model, processor, plain, records, how, ledger, seed)
    generated = time.perf_counter()
    texts = _texts(processor, drawn)
    judged = [
        Rollout(
            records[i // size], text, judge(records[i // size], text, ledger, f"{place}/{i}"), int(n), not bool(done), shuffled=contrast[i // size]
        )
        for i, (text, n, done) in enumerate(zip(texts, drawn.lengths, drawn.finished, strict=True))
    ]
    for i, rollout in enumerate(judged):
        rollout.group = judged[i // size * size : (i // size + 1) * size]
    scored = [score(rollout, terms, ledger, f"{place}/{i}") for i, rollout in enumerate(judged)]
    totals = torch.tensor([total for total, _ in scored], dtype=torch.float64).view(len(records), size)
    parts = {term.name: [p[term.name] for _, p in scored] for term in terms}
    mask = torch.arange(drawn.ids.shape[1], device=device) < drawn.lengths[:, None].to(device)
    seconds = {"generate": generated - start, "reward": time.perf_counter() - generated}
    return Rollouts(batch, records, texts, [r.verdict for r in judged], drawn.ids, mask, drawn.logps, ~drawn.finished, totals, parts, seconds)


@torch.no_grad()
def encode_frozen(model: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch with the features of frozen encoders replaced by what the encoder makes of them, so that a step encodes a prompt's media once, for
    its rollouts, its updates and its reference."""
    batch = dict(batch)
    for name, stream in model.streams.items():
        features, lengths = batch.get(f"{name}_features"), batch.get(f"{name}_lengths")
        if features is None or not len(features) or not stream.frozen:
            continue
        if getattr(stream.encoder, "keeps_features", False):
            found = stream.feature_cache.encode(stream.encoder, features, lengths)
        else:
            found = stream.encoder(features, lengths)
        del batch[f"{name}_features"]
        batch[f"{name}_encoded"], batch[f"{name}_lengths"] = found
    return batch


def _draw(model: Any, processor: Any, batch: dict[str, Tensor], how: Sampling, count: int, seed: tuple) -> Any:
    from models.sampler import sample

    tokenizer = processor.tokenizer
    rows = len(batch["input_ids"]) * count
    seeds = generator(*seed, "rollout").integers(1 << 62, size=rows).tolist()
    return sample(
        model, batch, how.max_new_tokens, stop_ids=[tokenizer.convert_tokens_to_ids(protocol.END)], pad_id=tokenizer.pad_token_id,
        temperature=how.temperature, top_p=how.top_p, top_k=how.top_k, num_samples=count, seeds=seeds, max_tokens=how.max_tokens,
    )  # fmt: skip


def _texts(processor: Any, drawn: Any) -> list[str]:
    """Completions with their tags, up to the end token."""
    rows = [ids[:n].tolist() for ids, n in zip(drawn.ids, drawn.lengths.tolist(), strict=True)]
    return [text.split(protocol.END)[0] for text in processor.tokenizer.batch_decode(rows)]


def _shuffled(
    model: Any, processor: Any, batch: dict[str, Tensor], records: list[Record], how: Sampling, ledger: Ledger, seed: tuple
) -> list[list[Verdict]]:
    """Verdicts of the rollouts that saw shuffled frames, by prompt; empty lists where none are drawn."""
    if not how.shuffled_frames or not any(_is_video(key) for key in batch):
        return [[] for _ in records]
    count, place = how.shuffled_frames, "/".join(map(str, seed))
    drawn = _draw(model, processor, encode_frozen(model, shuffle_frames(batch, seed)), how, count, (*seed, "shuffled"))
    verdicts = [judge(records[i // count], text, ledger, f"{place}/shuffled/{i}") for i, text in enumerate(_texts(processor, drawn))]
    return [verdicts[i * count : (i + 1) * count] for i in range(len(records))]


def shuffle_frames(batch: dict[str, Tensor], seed: tuple) -> dict[str, Tensor]:
    """The batch with the frames of each video in an order of its own; padding stays at the end."""
    batch = dict(batch)
    for key in [key for key in batch if _is_video(key)]:
        frames, lengths = batch[key], batch.get(key.replace("_features", "_lengths"))
        order = torch.arange(frames.shape[1], device=frames.device).repeat(len(frames), 1)
        for n in range(len(frames)):
            count = frames.shape[1] if lengths is None else int(lengths[n])
            order[n, :count] = torch.from_numpy(generator(*seed, "frames", key, n).permutation(count))
        batch[key] = frames[torch.arange(len(frames), device=frames.device)[:, None], order]
    return batch


def _is_video(key: str) -> bool:
    return key.startswith("video") and key.endswith("_features")


def completion_logps(model: Any, batch: dict[str, Tensor], ids: Tensor, temperature: float, group: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(log-probabilities, entropies, log-normalisers [N, R], hidden states [N, R, d]) of completions `ids` [N, R] behind their prompts, with
    gradient.

    Shared prefix: the prompt is forwarded once and its keys and values are taken by all of its G rollouts, so a group costs P + G R tokens
    instead of G (P + R); the gradient is the same, because taking rows is differentiable. With gradient checkpointing the completions are computed
    again in the backward pass, one rollout of each prompt at a time, so that beside the prompts only their activations are held.
    """
    from transformers import DynamicCache

    from models.logprob import chosen_logps

    cache = DynamicCache()
    last = model.hidden_states(**batch, cache=cache)[:, -1]
    rows = torch.arange(len(last), device=last.device).repeat_interleave(group)
    if model.checkpoint_layers and torch.is_grad_enabled():
        order = torch.arange(len(ids), device=ids.device).view(-1, group).T.flatten()  # first rollouts of all prompts, then second ones, …
        parts = [checkpoint(_behind, model, cache, rows[o], ids[o], use_reentrant=False) for o in order.split(len(last))]
        behind = torch.cat(parts)[order.argsort()]
    else:
        behind = _behind(model, cache, rows, ids)
    hidden = torch.cat([last.index_select(0, rows)[:, None], behind], 1)
    flat = chosen_logps(hidden.flatten(0, 1), model.head, ids.flatten(), temperature)
    logps, entropies, norms = (x.view(ids.shape) for x in flat)
    return logps, entropies, norms, hidden


def _behind(model: Any, cache: Any, rows: Tensor, ids: Tensor) -> Tensor:
    """Hidden states [n, R - 1, d] of completions `ids` [n, R] behind the prefilled prompts `rows` [n]; the cache stays as it is."""
    if ids.shape[1] == 1:
        return model.head.new_zeros(len(ids), 0, model.head.shape[1])
    own = copy.copy(cache)
    own.layers, own.decoding = [copy.copy(layer) for layer in cache.layers], copy.copy(cache.decoding)
    model.take_rows(own, rows)
    return model.decode(ids[:, :-1], own)


def pick_groups(rollouts: Rollouts, groups: list[int], size: int) -> tuple[dict[str, Tensor], Tensor]:
    """(prompts of these groups as a batch, row indices [len(groups) * G] of their rollouts)."""
    from models.sampler import take_prompts

    device = rollouts.ids.device
    rows = (torch.tensor(groups, device=device)[:, None] * size + torch.arange(size, device=device)).flatten()
    return take_prompts(rollouts.batch, groups), rows
