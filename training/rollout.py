"""Grouped rollouts: G completions of each prompt from one prefill, judged and rewarded. Media are encoded once per prompt, never per rollout.

Shape legend: B prompts, G rollouts of each, N = B * G rows (the rollouts of a prompt stand together), R completion positions.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from data import protocol
from data.record import Record
from data.worlds.base import generator, verify
from training.rewards.algebra import Ledger, Term, score
from training.rewards.rollout import Rollout
from training.rewards.temporal import temporal_bonus


@dataclasses.dataclass
class Rollouts:
    """Sampled completions of a step. ids, mask, sampler_logps [N, R]; rewards [B, G]; parts: reward name -> [N]."""

    batch: dict[str, Tensor]  # the left-padded prompts with their media
    records: list[Record]
    texts: list[str]
    ids: Tensor
    mask: Tensor
    sampler_logps: Tensor
    truncated: Tensor
    rewards: Tensor
    parts: dict[str, list[float]]
    seconds: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How rollouts are drawn: G, temperature, the longest completion; `temporal` adds T-GRPO's contrast with shuffled frames `{bonus, margin}`."""

    num_generations: int
    temperature: float
    max_new_tokens: int
    temporal: dict[str, float] | None = None


def roll_out(
    model: Any, processor: Any, rows: Sequence[tuple[Record, Any]], how: Sampling, terms: Sequence[Term], ledger: Ledger, seed: tuple
) -> Rollouts:
    """Draw and reward G completions for each of `rows` (record, encoded prompt). `seed` names the step; every row's randomness follows from it
    alone."""
    records = [record for record, _ in rows]
    batch = dict(processor.collate([encoded for _, encoded in rows], "left"))
    start = time.perf_counter()
    drawn = _draw(model, processor, batch, how, how.num_generations, seed)
    generated = time.perf_counter()
    texts = _texts(processor, drawn)
    judged = [
        Rollout(records[i // how.num_generations], text, verify(records[i // how.num_generations], text), int(n), not bool(done))
        for i, (text, n, done) in enumerate(zip(texts, drawn.lengths, drawn.finished, strict=True))
    ]
    scored = [score(rollout, terms, ledger) for rollout in judged]
    totals = torch.tensor([total for total, _ in scored], dtype=torch.float64).view(len(records), how.num_generations)
    parts = {term.name: [p[term.name] for _, p in scored] for term in terms}
    if how.temporal and "video_features" in batch:
        bonus = _temporal(model, processor, batch, records, judged, how, seed)
        totals, parts = totals + bonus, parts | {"temporal": bonus.flatten().tolist()}
    mask = torch.arange(drawn.ids.shape[1]) < drawn.lengths[:, None].cpu()
    seconds = {"generate": generated - start, "reward": time.perf_counter() - generated}
    return Rollouts(batch, records, texts, drawn.ids, mask.to(drawn.ids.device), drawn.logps, ~drawn.finished, totals, parts, seconds)


def _draw(model: Any, processor: Any, batch: dict[str, Tensor], how: Sampling, count: int, seed: tuple) -> Any:
    from models.sampler import sample

    tokenizer = processor.tokenizer
    rows = len(batch["input_ids"]) * count
    seeds = generator(*seed, "rollout").integers(1 << 62, size=rows).tolist()
    return sample(
        model, batch, how.max_new_tokens, stop_ids=[tokenizer.convert_tokens_to_ids(protocol.END)], pad_id=tokenizer.pad_token_id,
        temperature=how.temperature, num_samples=count, seeds=seeds,
    )  # fmt: skip


def _texts(processor: Any, drawn: Any) -> list[str]:
    """Completions with their tags, up to the end token."""
    rows = [ids[:n].tolist() for ids, n in zip(drawn.ids, drawn.lengths.tolist(), strict=True)]
    return [text.split(protocol.END)[0] for text in processor.tokenizer.batch_decode(rows)]


def _temporal(
    model: Any, processor: Any, batch: dict[str, Tensor], records: list[Record], judged: list[Rollout], how: Sampling, seed: tuple
) -> Tensor:
    """T-GRPO: G / 2 rollouts on shuffled frames decide whether right answers on ordered ones earn a bonus. Returns [B, G]."""
    frames = batch["video_features"]
    order = torch.from_numpy(generator(*seed, "frames").permutation(frames.shape[1]))
    count = max(1, how.num_generations // 2)
    shuffled = _draw(model, processor, batch | {"video_features": frames[:, order]}, how, count, (*seed, "shuffled"))
    right = [float(verify(records[i // count], text).answer_ok) for i, text in enumerate(_texts(processor, shuffled))]
    groups = []
    for b in range(len(records)):
        mine = [float(r.verdict.answer_ok) for r in judged[b * how.num_generations : (b + 1) * how.num_generations]]
        groups.append(temporal_bonus(mine, right[b * count : (b + 1) * count], how.temporal["bonus"], how.temporal["margin"]))
    return torch.tensor(groups, dtype=torch.float64)


def completion_logps(model: Any, batch: dict[str, Tensor], ids: Tensor, temperature: float, group: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(log-probabilities, entropies, log-normalisers [N, R], hidden states [N, R, d]) of completions `ids` [N, R] behind their prompts, with
    gradient.

    Shared prefix: the prompt is forwarded once and its keys and values are taken by all of its G rollouts, so a group costs P + G R tokens
    instead of G (P + R); the gradient is the same, because taking rows is differentiable.
    """
    from transformers import DynamicCache

    from models.logprob import chosen_logps

    cache = DynamicCache()
    last = model.hidden_states(**batch, cache=cache)[:, -1]
    rows = torch.arange(len(last), device=last.device).repeat_interleave(group)
    model.take_rows(cache, rows)
    behind = model.decode(ids[:, :-1], cache) if ids.shape[1] > 1 else last.new_zeros(len(ids), 0, last.shape[-1])
    hidden = torch.cat([last[rows][:, None], behind], 1)
    flat = chosen_logps(hidden.flatten(0, 1), model.head, ids.flatten(), temperature)
    logps, entropies, norms = (x.view(ids.shape) for x in flat)
    return logps, entropies, norms, hidden


def pick_groups(rollouts: Rollouts, groups: list[int], size: int) -> tuple[dict[str, Tensor], Tensor]:
    """(prompts of these groups as a batch, row indices [len(groups) * G] of their rollouts)."""
    chosen = torch.tensor(groups)
    rows = (chosen[:, None] * size + torch.arange(size)).flatten()
    batch = {k: rollouts.batch[k][chosen] for k in ("input_ids", "attention_mask")}
    place = {int(g): i for i, g in enumerate(groups)}
    for key, owners in rollouts.batch.items():
        if not key.endswith("_rows"):
            continue
        keep = torch.isin(owners.cpu(), chosen)
        if not keep.any():
            continue
        stream = key.removesuffix("_rows")
        batch[key] = torch.tensor([place[int(o)] for o in owners[keep]])
        for part in ("features", "lengths", "encoded"):
            if f"{stream}_{part}" in rollouts.batch:
                batch[f"{stream}_{part}"] = rollouts.batch[f"{stream}_{part}"][keep]
    return batch, rows
