"""How much each position of a group of rollouts counts in the policy loss (TW-GRPO, arXiv 2505.24718, and three corrected forms).

Shape legend: G rollouts of one prompt, T completion positions, V vocabulary, D hidden width.

A position where the rollouts of a group disagree about the next token carries information; one where they agree does not. `official` is the
published formula with its published faults (divergence summed over the vocabulary without probabilities, finished rows replaced by the uniform
distribution, min-max over padding, so that ragged tails dominate). `masked` keeps the formula but looks at alive rows only. `jsd`, the default,
is the Jensen-Shannon divergence of the alive rows over its maximum ln(alive): bounded, comparable between positions, no min-max. `entropy` is
the mean entropy of the alive rows over ln V.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

MODES = ("official", "masked", "jsd", "entropy")
CLIP = 11.0  # the published clip of a log-ratio


def token_weights(logps: Tensor, mask: Tensor, alpha: float = 1.7, mode: str = "jsd", *, detach: bool = True, renorm: bool = False) -> Tensor:
    """Weights [G, T] of the tokens of one group from its full log-probabilities.

    logps [G, T, V] log-probabilities over the vocabulary, mask [G, T] (1 up to and including the first end token). The result is 0 where the
    mask is 0 and, without `renorm`, within [1, alpha] elsewhere; `renorm` divides by its mean over active tokens, so that alpha does not act as
    a learning rate. Computed in at least float32. The published code lets gradient through (`detach=False`); by default none passes.
    """
    _check(mode, mask, logps.shape[:2])
    logps = logps.detach() if detach else logps
    logps = logps if logps.dtype == torch.float64 else logps.float()
    alive = mask.bool()
    return _weights(_column_sum(logps, alive, mode, logps.shape[-1]), alive, logps.shape[-1], alpha, mode, renorm)


@torch.no_grad()
def streaming_token_weights(
    hidden: Tensor,
    head: Tensor,
    mask: Tensor,
    alpha: float = 1.7,
    mode: str = "jsd",
    *,
    renorm: bool = False,
    temperature: float = 1.0,
    vocab_chunk: int = 8192,
    position_chunk: int = 64,
    bias: Tensor | None = None,
    log_normalizer: Tensor | None = None,
) -> Tensor:
    """The same weights [G, T] from hidden states [G, T, D] and the head weight [V, D], never holding more than
    [G, position_chunk, vocab_chunk] log-probabilities. Equal to the dense form to rel. 1e-5 in float32 and 1e-9 in float64; always detached.

    `log_normalizer` [G, T] is the log-sum-exp of the logits where the caller has it already (the loss does): it saves one of the two passes over
    the head.
    """
    _check(mode, mask, hidden.shape[:2])
    alive = mask.bool()
    size = head.shape[0]
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32

    def logits(t: slice, v: slice) -> Tensor:
        chunk = hidden[:, t] @ head[v].T
        return (chunk if bias is None else chunk + bias[v]).to(wide) / temperature

    divergences = []
    for start in range(0, hidden.shape[1], position_chunk):
        t = slice(start, start + position_chunk)
        chunks = [slice(v, v + vocab_chunk) for v in range(0, size, vocab_chunk)]
        norm_GT = _log_normalizer(logits, t, chunks) if log_normalizer is None else log_normalizer[:, t].to(wide)
        divergences.append(sum(_column_sum(logits(t, v) - norm_GT[..., None], alive[:, t], mode, size).double() for v in chunks))
    return _weights(torch.cat(divergences).to(wide), alive, size, alpha, mode, renorm)


def _log_normalizer(logits: Callable[[slice, slice], Tensor], t: slice, chunks: list[slice]) -> Tensor:
    total = torch.logsumexp(logits(t, chunks[0]), -1)
    for v in chunks[1:]:
        total = torch.logaddexp(total, torch.logsumexp(logits(t, v), -1))
    return total


def _column_sum(logps: Tensor, alive: Tensor, mode: str, vocab: int) -> Tensor:
    """The part [T] of a position's divergence that a chunk [G, T, v] of the vocabulary contributes; parts of all chunks add up."""
    rows = alive[..., None]
    count_T = alive.sum(0).clamp(min=1).to(logps.dtype)
    if mode == "official":
        logps = torch.where(rows, logps, logps.new_tensor(-math.log(vocab)))
        d = (logps.mean(0) - logps).clamp(-CLIP, CLIP)
        return (d.exp() - d - 1).sum((0, 2)) / alive.shape[0]
    if mode == "masked":
        mean_TV = torch.where(rows, logps, 0).sum(0) / count_T[:, None]
        d = torch.where(rows, mean_TV - logps, 0).clamp(-CLIP, CLIP)
        return (d.exp() - d - 1).sum((0, 2)) / count_T
    # A log-probability of -inf (a banned token) contributes 0, as p ln p does in the limit.
    p = torch.where(rows, logps, -math.inf).exp()
    finite = torch.where(p > 0, logps, 0)
    if mode == "entropy":
        return -(p * finite).sum((0, 2)) / count_T
    mixture_TV = p.sum(0) / count_T[:, None]
    log_mixture_TV = torch.where(mixture_TV > 0, mixture_TV, 1).log()
    return (p * (finite - log_mixture_TV)).sum((0, 2)) / count_T


def _weights(divergence: Tensor, alive: Tensor, vocab: int, alpha: float, mode: str, renorm: bool) -> Tensor:
    """Divergence [T] -> weights [G, T]."""
    count_T = alive.sum(0)
    if mode == "official":
        share = _min_max(divergence, torch.ones_like(count_T, dtype=torch.bool))
    elif mode == "masked":
        share = _min_max(divergence, count_T >= 2)
    elif mode == "jsd":
        share = torch.where(count_T >= 2, divergence / count_T.clamp(min=2).to(divergence.dtype).log(), 0)
    else:
        share = torch.where(count_T >= 1, divergence / math.log(max(vocab, 2)), 0)
    weights = (1 + (alpha - 1) * share.clamp(0, 1)) * alive
    if renorm:
        weights = weights * (alive.sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny))
    return weights


def _min_max(divergence: Tensor, valid: Tensor) -> Tensor:
    """Scaled to [0, 1] over the valid positions, 0 elsewhere."""
    if not valid.any():
        return torch.zeros_like(divergence)
    low, high = divergence[valid].min(), divergence[valid].max()
    return torch.where(valid, (divergence - low) / (high - low + 1e-8), 0)


def _check(mode: str, mask: Tensor, shape: torch.Size) -> None:
    if mode not in MODES:
        raise ValueError(f"token weight mode {mode!r} is not one of {', '.join(MODES)}")
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(f"mask {tuple(mask.shape)} does not match {tuple(shape)} rollouts and positions")
