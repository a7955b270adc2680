"""Everything over the vocabulary, computed in chunks from hidden states and the head weight: [B, T, V] never exists.

Shape legend: N positions (rows of all sequences flattened), d width, V vocabulary.
"""

import torch
from torch import Tensor

# Logits held at a time: 16 MiB in float32, but never fewer than 256 positions, for which the head is worth reading once. Constants, so that results
# never depend on free memory.
CHUNK_ELEMENTS = 1 << 22
CHUNK_POSITIONS = 256


def cross_entropy(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """Sum of the negative log-probabilities of labels [N] under hidden [N, d] and head [V, d]; nothing is averaged, the caller knows the
    denominator."""
    return -_apply(hidden, head, labels, 1.0, False)[0].sum()


def chosen_logps(hidden: Tensor, head: Tensor, chosen: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """(log-probabilities of the chosen tokens, entropies, log-normalisers), each [N], from hidden [N, d] and chosen [N].

    The first carries gradient, the other two do not. Logits are divided by `temperature` first, as the sampler does.
    """
    return _apply(hidden, head, chosen, temperature, True)


def _apply(hidden: Tensor, head: Tensor, *rest) -> tuple[Tensor, Tensor, Tensor]:
    """Under autocast both operands are cast here, because it would not reach the backward pass of our own function."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        hidden, head = hidden.to(dtype), head.to(dtype)
    with torch.autocast(device, enabled=False):
        return _ChosenLogps.apply(hidden, head, *rest)


def _chunks(positions: int, vocab: int) -> list[slice]:
    size = max(CHUNK_POSITIONS, CHUNK_ELEMENTS // vocab)
    return [slice(i, i + size) for i in range(0, positions, size)]


def _logits(hidden: Tensor, head: Tensor, temperature: float) -> Tensor:
    """At least float32: a bf16 log-sum-exp over a large vocabulary loses the tail."""
    logits = hidden @ head.T
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits if temperature == 1.0 else logits / temperature


class _ChosenLogps(torch.autograd.Function):
    """The gradient of ln p_y by the logits is e_y - p: so backward makes each chunk's probabilities anew and turns them into the gradient in place.
    Where there is one chunk only, they are kept from forward instead."""

    @staticmethod
    def forward(ctx, hidden: Tensor, head: Tensor, chosen: Tensor, temperature: float, want_entropy: bool) -> tuple[Tensor, Tensor, Tensor]:
        chunks = _chunks(len(chosen), len(head))
        pieces = []
        ctx.kept = None
        for part in chunks:
            logits = _logits(hidden[part], head, temperature)
            shares = torch.softmax(logits, -1)
            top, where = logits.max(-1)
            norm = top - shares.gather(-1, where[:, None])[:, 0].log()
            entropy = norm - torch.einsum("nv,nv->n", shares, logits) if want_entropy else torch.zeros_like(norm)
            pieces.append((logits.gather(-1, chosen[part, None])[:, 0] - norm, entropy, norm))
            ctx.kept = shares if len(chunks) == 1 else None
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        logps, entropies, norms = (torch.cat(p) for p in zip(*pieces, strict=True)) if pieces else (hidden.new_zeros(0, dtype=dtype) for _ in "123")
        ctx.save_for_backward(hidden, head, chosen, norms)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropies, norms)
        return logps, entropies, norms

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor, *_) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        hidden, head, chosen, norms = ctx.saved_tensors
        want_hidden, want_head = ctx.needs_input_grad[:2]
        grad_hidden = torch.zeros_like(hidden) if want_hidden else None
        grad_head = torch.zeros_like(head, dtype=norms.dtype) if want_head else None
        for part in _chunks(len(chosen), len(head)):
            scale = grad[part, None] / ctx.temperature
            if ctx.kept is not None:
                by_logits = ctx.kept * -scale
            else:
                by_logits = _logits(hidden[part], head, ctx.temperature).sub_(norms[part, None]).exp_().mul_(-scale)
            by_logits = by_logits.scatter_add_(-1, chosen[part, None], scale).to(hidden.dtype)
            if want_hidden:
                grad_hidden[part] = by_logits @ head
            if want_head:
                grad_head += by_logits.T @ hidden[part]
        return grad_hidden, None if grad_head is None else grad_head.to(head.dtype), None, None, None
