"""From rewarded rollouts to gradients: prompt forwarded once per group, token weights, policy loss, in chunks that fit a token budget.

Shape legend: B prompts, G rollouts of each, N = B * G rows, R completion positions.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from training.losses import Kind, policy_loss
from training.reference import Reference
from training.rollout import Rollouts, completion_logps, pick_groups
from training.token_weights import Rule, streaming_token_weights


@dataclasses.dataclass(frozen=True)
class Weighting:
    """A token-weight rule (None: every token counts alike) with its strength."""

    rule: Rule | None
    alpha: float = 1.7
    renorm: bool = False

    def __call__(self, hidden: Tensor, head: Tensor, active: Tensor, norms: Tensor, size: int, temperature: float) -> Tensor | None:
        """Weights [N, R] group by group, from hidden states [N, R, d] and log-normalisers [N, R]."""
        if self.rule is None:
            return None
        parts = [
            streaming_token_weights(h, head, m, self.alpha, self.rule, renorm=self.renorm, temperature=temperature, log_normalizer=n)
            for h, m, n in zip(hidden.detach().split(size), active.split(size), norms.split(size), strict=True)
        ]
        return torch.cat(parts)


@dataclasses.dataclass(frozen=True)
class Part:
    """One round of rollouts: advantages [B, G], mask [N, R] of the tokens that count, the groups that are learned from, and what each token earns
    beside its rollout's advantage [N, R], where anything."""

    rollouts: Rollouts
    advantages: Tensor
    mask: Tensor
    groups: list[int]
    credit: Tensor | None = None

    @property
    def size(self) -> int:
        return self.advantages.shape[1]

    def earned(self, groups: Sequence[int], rows: Tensor) -> Tensor:
        """Advantages of the rollouts `rows` of `groups`, [n] or, with credit, token by token [n, R]."""
        whole = self.advantages[groups].flatten()
        return whole if self.credit is None else whole[:, None] + self.credit[rows].to(whole)

    def tokens(self, learned_only: bool) -> int:
        """Active tokens of all groups, or of those that are learned from."""
        mask = self.mask.view(-1, self.size, self.mask.shape[1])
        return int(mask[self.groups].sum() if learned_only else mask.sum())


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a step minimises; `options` go to `policy_loss` as they are. `autocast` makes the context of every forward pass."""

    kind: Kind
    weighting: Weighting
    options: dict[str, Any]
    temperature: float = 1.0
    reference: Reference | None = None
    autocast: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext


def cut(parts: Sequence[Part], micro_tokens: int) -> list[tuple[Part, list[int]]]:
    """Groups cut so that a forward pass holds at most `micro_tokens`, or one group; follows from the recipe, never from free memory."""
    chunks = []
    for part in parts:
        rollouts = part.rollouts
        size = max(1, micro_tokens // (rollouts.batch["input_ids"].shape[1] + part.size * rollouts.ids.shape[1]))
        chunks += [(part, part.groups[i : i + size]) for i in range(0, len(part.groups), size)]
    return chunks


def accumulate(
    model: Any, chunks: Sequence[tuple[Part, list[int]]], objective: Objective, scale: dict[str, float], old: list[Tensor] | None
) -> tuple[dict[str, float], list[Tensor]]:
    """Leave the gradients of all chunks on the model; returns (metrics, log-probabilities of each chunk).

    `scale` holds `denominator`, `num_sequences`, `max_completion_length` of the whole step and the number of `groups` in it; `old` the log-
    probabilities under the policy that sampled (None: the present ones). Metrics are means over active tokens, the loss is a sum.
    """
    totals: dict[str, float] = {}
    kept, tokens, loss = [], 0.0, 0.0
    for i, (part, groups) in enumerate(chunks):
        values, logps, active = _backward(model, part, groups, objective, scale, None if old is None else old[i])
        kept.append(logps)
        tokens += active
        loss += values.pop("loss")
        for key, value in values.items():
            totals[key] = totals.get(key, 0.0) + value * active
    return {"loss": loss} | {key: value / max(tokens, 1.0) for key, value in totals.items()}, kept


def _backward(
    model: Any, part: Part, groups: list[int], objective: Objective, scale: dict[str, float], old: Tensor | None
) -> tuple[dict[str, float], Tensor, float]:
    batch, rows = pick_groups(part.rollouts, groups, part.size)
    ids, active = part.rollouts.ids[rows], part.mask[rows].float()
    reference = None
    if objective.reference is not None:
        with objective.reference.active(), objective.autocast():
            reference = completion_logps(model, batch, ids, objective.temperature, part.size)[0]
    with objective.autocast():
        logps, entropy, norms, hidden = completion_logps(model, batch, ids, objective.temperature, part.size)
    weights = objective.weighting(hidden, model.head, active, norms, part.size, objective.temperature)
    loss, metrics = policy_loss(
        logps, old, part.earned(groups, rows).to(logps), active, objective.kind, weights=weights, ref_logps=reference,
        denominator=scale["denominator"], num_sequences=int(scale["num_sequences"]), max_completion_length=int(scale["max_completion_length"]),
        **objective.options,
    )  # fmt: skip
    if objective.kind.mean == "call":  # a mean of its own: chunks count by their groups, so that their number changes no learning rate
        loss = loss * (len(groups) / scale["groups"])
    loss.backward()
    count = active.sum().clamp(min=1)
    values = {k: float(v) for k, v in metrics.items()} | {
        "loss": float(loss.detach()),
        "drift": float(((logps.detach() - part.rollouts.sampler_logps[rows]).abs() * active).sum() / count),
        "entropy": float((entropy * active).sum() / count),
    }
    if weights is not None:
        mean = weights.sum() / count
        spread = (((weights - mean) * active).square().sum() / count).sqrt()
        values |= {"weight_mean": float(mean), "weight_std": float(spread), "weight_max": float(weights.max())}
    return values, logps.detach(), float(active.sum())
