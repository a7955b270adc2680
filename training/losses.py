"""Policy losses of the GRPO family as one pure function. Shape legend: N rollouts (all groups), T completion positions.

A loss is three choices: how the importance ratio enters a token's term (clipped, detached, soft, per sequence), how terms are averaged (per
sequence, per token of the step, per slot), and which tokens count how much (weights). A `Kind` writes the first two down; no kind has
a path of its own.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

KL_CLAMP = 11.0  # the published TW-GRPO clamp of the log-ratio inside k3
PRE_CLIP = math.log(1e3)  # StableReinforce: log-ratios are clipped to [-ln 1e3, ln 1e3] before exp


class Bounds(NamedTuple):
    """How far a ratio may move: the clip below and above 1, the two-sided clip's `delta`, and the temperatures of the soft kind."""

    low: float
    high: float
    delta: float | None
    tau_positive: float
    tau_negative: float


def clipped(ratio: Tensor, advantage: Tensor, logps: Tensor, bounds: Bounds) -> Tensor:
    """PPO's pessimistic bound, with `delta` the two-sided one."""
    bounded = ratio if bounds.delta is None else ratio.clamp(max=bounds.delta)
    return -torch.minimum(bounded * advantage, ratio.clamp(1 - bounds.low, 1 + bounds.high) * advantage)


def detached(ratio: Tensor, advantage: Tensor, logps: Tensor, bounds: Bounds) -> Tensor:
    """CISPO: the ratio, capped at `high`, only weighs the gradient of the log-probability."""
    return -ratio.detach().clamp(max=bounds.high) * advantage * logps


def soft(ratio: Tensor, advantage: Tensor, logps: Tensor, bounds: Bounds) -> Tensor:
    """SAPO: a sigmoid gate instead of a clip, steeper for negative advantages."""
    tau = torch.where(advantage > 0, bounds.tau_positive, bounds.tau_negative)
    return -torch.sigmoid(tau * (ratio - 1)) * 4 / tau * advantage


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One member of the family. `term(ratio, advantage, logps, bounds)` is what is minimised per token, before weights and KL (ratio [N, T], or
    [N, 1] per sequence; advantage [N, 1]); `mean`: over each sequence, the tokens of the step, of this call, or all slots."""

    term: Callable[[Tensor, Tensor, Tensor, Bounds], Tensor] = clipped
    ratio: Literal["token", "sequence"] = "token"
    mean: Literal["sequence", "token", "call", "slots"] = "token"
    pre_clip: float | None = None


GRPO = Kind(mean="sequence")
BNPO = Kind(mean="call")
DR_GRPO = Kind(mean="slots")
DAPO = Kind()
CISPO = Kind(detached)
GSPO = Kind(ratio="sequence", mean="sequence")
SAPO = Kind(soft, mean="sequence")
TW_GRPO = Kind()
STABLE_REINFORCE = Kind(mean="sequence", pre_clip=PRE_CLIP)
KINDS = {
    "grpo": GRPO, "bnpo": BNPO, "dr_grpo": DR_GRPO, "dapo": DAPO, "cispo": CISPO, "gspo": GSPO, "sapo": SAPO, "tw_grpo": TW_GRPO,
    "stable_reinforce": STABLE_REINFORCE,
}  # fmt: skip


def policy_loss(
    logps: Tensor,
    old_logps: Tensor | None,
    advantages: Tensor,
    mask: Tensor,
    kind: str | Kind = "tw_grpo",
    *,
    weights: Tensor | None = None,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.28,
    beta: float = 0.0,
    ref_logps: Tensor | None = None,
    denominator: float | Tensor | None = None,
    max_completion_length: int | None = None,
    num_sequences: int | None = None,
    delta: float | None = None,
    tau_positive: float = 1.0,
    tau_negative: float = 1.05,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss (a scalar to minimise) and its metrics (detached scalars).

    logps [N, T] log-probabilities of the sampled tokens under the model; old_logps [N, T] under the policy that sampled them (None: ratio 1, with
    gradient); advantages [N], or [N, T] of tokens; mask [N, T]; `kind` a name in `KINDS` or a `Kind`; weights [N, T] of tokens (None: 1). `beta`
    weighs the k3 estimate of KL(model || reference), which needs `ref_logps`.

    `denominator` is the number of active tokens of the whole optimiser step for token-mean kinds (default: this call's), `num_sequences` the
    number of rollouts of the whole step for the others, so that micro-batches add up to the step. `dr_grpo` divides by num_sequences *
    max_completion_length. `cispo` takes `epsilon_high` as the absolute cap of the ratio, as TRL does (5.0 is usual). `delta` is the two-sided
    clip's bound on the unclipped branch.

    Sources: TRL 1.x `loss_type`s (test oracle), TW-GRPO release, arXiv 2505.02835. Deviation: log-ratios inside k3 are clamped to +-11 for all
    kinds, as TW-GRPO does.
    """
    if not isinstance(kind, Kind) and kind not in KINDS:
        raise ValueError(f"loss kind {kind!r} is not one of {', '.join(KINDS)}")
    if beta and ref_logps is None:
        raise ValueError("beta > 0 needs ref_logps: give the stage a reference, or set beta=0")
    rule = kind if isinstance(kind, Kind) else KINDS[kind]
    logps, mask = _wide(logps), mask.to(_wide(logps).dtype)
    log_ratio = logps - (logps.detach() if old_logps is None else old_logps.to(logps.dtype))
    if rule.pre_clip is not None:
        log_ratio = log_ratio.clamp(-rule.pre_clip, rule.pre_clip)
    if rule.ratio == "sequence":
        log_ratio = ((log_ratio * mask).sum(-1) / mask.sum(-1).clamp(min=1))[:, None]
    # Outside the mask anything may stand, also inf; a ratio there must not turn the sum into NaN.
    ratio = (log_ratio if rule.ratio == "sequence" else torch.where(mask.bool(), log_ratio, 0)).exp()
    advantage = advantages.to(logps.dtype).view(len(logps), -1)

    bounds = Bounds(epsilon_low, epsilon_high, delta, tau_positive, tau_negative)
    term = rule.term(ratio, advantage, logps, bounds)
    metrics = _clip_metrics(rule, ratio, advantage, mask, epsilon_low, epsilon_high)
    if beta:
        kl = k3(logps, ref_logps)
        term = term + beta * kl
        metrics["kl"] = _masked_mean(kl.detach(), mask)
    weighted = term if weights is None else term * weights.to(term.dtype)
    loss = _reduce(torch.where(mask.bool(), weighted.expand_as(mask), 0), mask, rule.mean, denominator, num_sequences, max_completion_length)
    metrics["ratio"] = _masked_mean(ratio.detach().expand_as(mask), mask)
    return loss, metrics


def k3(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(model || reference) per token, [N, T]: exp(c) - c - 1 with c = ref - model clamped to +-11."""
    c = (ref_logps.to(logps.dtype) - logps).clamp(-KL_CLAMP, KL_CLAMP)
    return c.exp() - c - 1


def _reduce(term: Tensor, mask: Tensor, mean: str, denominator, num_sequences: int | None, max_completion_length: int | None) -> Tensor:
    rows = num_sequences or mask.shape[0]
    if mean == "sequence":
        return (term.sum(-1) / mask.sum(-1).clamp(min=1)).sum() / rows
    if mean == "slots":
        return term.sum() / (rows * (max_completion_length or mask.shape[1]))
    tokens = mask.sum() if denominator is None or mean == "call" else torch.as_tensor(denominator, dtype=term.dtype, device=term.device)
    return term.sum() / tokens.clamp(min=1)


def _clip_metrics(rule: Kind, ratio: Tensor, advantage: Tensor, mask: Tensor, low: float, high: float) -> dict[str, Tensor]:
    """Share of active tokens at which the clip holds the gradient back, from below and from above."""
    ratio = ratio.detach().expand_as(mask)
    if rule.term is detached:
        return {"clip_high": _masked_mean((ratio > high).to(mask.dtype), mask)}
    if rule.term is not clipped:
        return {}
    below = ((ratio < 1 - low) & (advantage < 0)).to(mask.dtype)
    above = ((ratio > 1 + high) & (advantage > 0)).to(mask.dtype)
    return {"clip_low": _masked_mean(below, mask), "clip_high": _masked_mean(above, mask)}


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask.bool(), values, 0).sum() / mask.sum().clamp(min=1)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
