"""How much each position of a group of rollouts counts in the policy loss (TW-GRPO, arXiv 2505.24718, and three corrected forms).

Shape legend: G rollouts of one prompt, T completion positions, V vocabulary, D hidden width.

A position where the rollouts of a group disagree about the next token carries information; one where they agree does not. `official` is the
published formula with its published faults (divergence summed over the vocabulary without probabilities, finished rows replaced by the uniform
distribution, min-max over padding, so that ragged tails dominate). `masked` keeps the formula but looks at alive rows only. `jsd`, the default,
is the Jensen-Shannon divergence of the alive rows over its maximum ln(alive): bounded, comparable between positions, no min-max. `entropy` is
the mean entropy of the alive rows over ln V.
"""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

CLIP = 11.0  # the published clip of a log-ratio
# Log-probabilities held at a time in the streaming form, by kind of device: a GPU needs more of them to be busy. Constants, so that results never
# depend on free memory.
CHUNK_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 25}


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """How a position's weight follows from the distributions of a group. `part(logps, alive, vocab)` is what a chunk of the vocabulary (log-
    probabilities [G, T, v], alive rows [G, T] bool, size of the whole vocabulary) adds to the divergence [T] of each position; `share(divergence,
    alive, vocab)` brings the sums to [0, 1], and a weight is 1 + (alpha - 1) * share."""

    part: Callable[[Tensor, Tensor, int], Tensor]
    share: Callable[[Tensor, Tensor, int], Tensor]


def token_weights(logps: Tensor, mask: Tensor, alpha: float = 1.7, mode: str | Rule = "jsd", *, detach: bool = True, renorm: bool = False) -> Tensor:
    """Weights [G, T] of the tokens of one group from its full log-probabilities.

    logps [G, T, V] log-probabilities over the vocabulary, mask [G, T] (1 up to and including the first end token). The result is 0 where the
    mask is 0 and, without `renorm`, within [1, alpha] elsewhere; `renorm` divides by its mean over active tokens, so that alpha does not act as
    a learning rate. Computed in at least float32. The published code lets gradient through (`detach=False`); by default none passes.
    """
    rule = _rule(mode, mask, logps.shape[:2])
    logps = logps.detach() if detach else logps
    logps = logps if logps.dtype == torch.float64 else logps.float()
    alive = mask.bool()
    return _weights(rule.part(logps, alive, logps.shape[-1]), alive, logps.shape[-1], alpha, rule, renorm)


@torch.no_grad()
def streaming_token_weights(
    hidden: Tensor,
    head: Tensor,
    mask: Tensor,
    alpha: float = 1.7,
    mode: str | Rule = "jsd",
    *,
    renorm: bool = False,
    temperature: float = 1.0,
    vocab_chunk: int = 8192,
    position_chunk: int | None = None,
    bias: Tensor | None = None,
    log_normalizer: Tensor | None = None,
) -> Tensor:
    """The same weights [G, T] from hidden states [G, T, D] and the head weight [V, D], never holding more than
    [G, position_chunk, vocab_chunk] log-probabilities (by default as many positions as make `CHUNK_ELEMENTS`). Equal to the dense form to rel. 1e-5
    in float32 and 1e-9 in float64; always detached.

    `log_normalizer` [G, T] is the log-sum-exp of the logits where the caller has it already (the loss does): it saves one of the two passes over
    the head.
    """
    rule = _rule(mode, mask, hidden.shape[:2])
    alive = mask.bool()
    size = head.shape[0]
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32

    budget = CHUNK_ELEMENTS["cuda" if hidden.is_cuda else "cpu"]
    position_chunk = position_chunk or max(1, budget // (len(hidden) * min(size, vocab_chunk)))

    def logits(t: slice, v: slice) -> Tensor:
        chunk = hidden[:, t] @ head[v].T
        chunk = (chunk if bias is None else chunk + bias[v]).to(wide)
        return chunk if temperature == 1 else chunk / temperature

    divergences = []
    for start in range(0, hidden.shape[1], position_chunk):
        t = slice(start, start + position_chunk)
        chunks = [slice(v, v + vocab_chunk) for v in range(0, size, vocab_chunk)]
        norm_GT = _log_normalizer(logits, t, chunks) if log_normalizer is None else log_normalizer[:, t].to(wide)
        divergences.append(sum(rule.part(logits(t, v).sub_(norm_GT[..., None]), alive[:, t], size).double() for v in chunks))
    return _weights(torch.cat(divergences).to(wide), alive, size, alpha, rule, renorm)


def _log_normalizer(logits: Callable[[slice, slice], Tensor], t: slice, chunks: list[slice]) -> Tensor:
    total = torch.logsumexp(logits(t, chunks[0]), -1)
    for v in chunks[1:]:
        total = torch.logaddexp(total, torch.logsumexp(logits(t, v), -1))
    return total


def _official_part(logps: Tensor, alive: Tensor, vocab: int) -> Tensor:
    filled = torch.where(alive[..., None], logps, logps.new_tensor(-math.log(vocab)))
    d = (filled.mean(0) - filled).clamp(-CLIP, CLIP)
    return (d.exp() - d - 1).sum((0, 2)) / alive.shape[0]


def _masked_part(logps: Tensor, alive: Tensor, vocab: int) -> Tensor:
    rows, count_T = alive[..., None], _count(alive, logps)
    mean_TV = torch.where(rows, logps, 0).sum(0) / count_T[:, None]
    d = torch.where(rows, mean_TV - logps, 0).clamp(-CLIP, CLIP)
    return (d.exp() - d - 1).sum((0, 2)) / count_T


def _jsd_part(logps: Tensor, alive: Tensor, vocab: int) -> Tensor:
    p, finite = _probabilities(logps, alive)
    count_T = _count(alive, logps)
    mixture_TV = p.sum(0) / count_T[:, None]
    log_mixture_TV = torch.where(mixture_TV > 0, mixture_TV, 1).log()
    return (p * (finite - log_mixture_TV)).sum((0, 2)) / count_T


def _entropy_part(logps: Tensor, alive: Tensor, vocab: int) -> Tensor:
    p, finite = _probabilities(logps, alive)
    return -(p * finite).sum((0, 2)) / _count(alive, logps)


def _probabilities(logps: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
    """(probabilities of alive rows, their logarithms). A log-probability of -inf (a banned token) contributes 0, as p ln p does in the limit."""
    p = torch.where(alive[..., None], logps, -math.inf).exp()
    return p, torch.where(p > 0, logps, 0)


def _count(alive: Tensor, like: Tensor) -> Tensor:
    return alive.sum(0).clamp(min=1).to(like.dtype)


def _official_share(divergence: Tensor, alive: Tensor, vocab: int) -> Tensor:
    return _min_max(divergence, torch.ones_like(divergence, dtype=torch.bool))


def _masked_share(divergence: Tensor, alive: Tensor, vocab: int) -> Tensor:
    return _min_max(divergence, alive.sum(0) >= 2)


def _jsd_share(divergence: Tensor, alive: Tensor, vocab: int) -> Tensor:
    count_T = alive.sum(0)
    return torch.where(count_T >= 2, divergence / count_T.clamp(min=2).to(divergence.dtype).log(), 0)


def _entropy_share(divergence: Tensor, alive: Tensor, vocab: int) -> Tensor:
    return torch.where(alive.any(0), divergence / math.log(max(vocab, 2)), 0)


OFFICIAL = Rule(_official_part, _official_share)
MASKED = Rule(_masked_part, _masked_share)
JSD = Rule(_jsd_part, _jsd_share)
ENTROPY = Rule(_entropy_part, _entropy_share)
RULES = {"official": OFFICIAL, "masked": MASKED, "jsd": JSD, "entropy": ENTROPY}
MODES = tuple(RULES)


def _weights(divergence: Tensor, alive: Tensor, vocab: int, alpha: float, rule: Rule, renorm: bool) -> Tensor:
    """Divergence [T] -> weights [G, T]."""
    weights = (1 + (alpha - 1) * rule.share(divergence, alive, vocab).clamp(0, 1)) * alive
    if renorm:
        weights = weights * (alive.sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny))
    return weights


def _min_max(divergence: Tensor, valid: Tensor) -> Tensor:
    """Scaled to [0, 1] over the valid positions, 0 elsewhere."""
    if not valid.any():
        return torch.zeros_like(divergence)
    low, high = divergence[valid].min(), divergence[valid].max()
    return torch.where(valid, (divergence - low) / (high - low + 1e-8), 0)


def _rule(mode: str | Rule, mask: Tensor, shape: torch.Size) -> Rule:
    if not isinstance(mode, Rule) and mode not in RULES:
        raise ValueError(f"token weight mode {mode!r} is not one of {', '.join(RULES)}")
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(f"mask {tuple(mask.shape)} does not match {tuple(shape)} rollouts and positions")
    return mode if isinstance(mode, Rule) else RULES[mode]
