"""Everything over the vocabulary, computed in chunks from hidden states and the head weight: [B, T, V] never exists.

Shape legend: N positions (rows of all sequences flattened), d width, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_ELEMENTS = 1 << 24  # logits held at a time: 64 MiB in float32; a constant, so that results never depend on free memory


def _chunks(positions: int, vocab: int) -> range:
    return range(0, positions, max(1, CHUNK_ELEMENTS // vocab))


def _logits(hidden: Tensor, head: Tensor, temperature: float) -> Tensor:
    """At least float32: a bf16 log-sum-exp over a large vocabulary loses the tail."""
    logits = hidden @ head.T
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits if temperature == 1.0 else logits / temperature


def cross_entropy(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """Sum of the negative log-probabilities of labels [N] under hidden [N, d] and head [V, d]; nothing is averaged, the caller knows the
    denominator."""
    if len(_chunks(len(labels), head.shape[0])) <= 1:
        return F.cross_entropy(_logits(hidden, head, 1.0), labels, reduction="sum")
    step = _chunks(len(labels), head.shape[0]).step

    def part(h: Tensor, w: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(_logits(h, w, 1.0), y, reduction="sum")

    pieces = [checkpoint(part, hidden[i : i + step], head, labels[i : i + step], use_reentrant=False) for i in range(0, len(labels), step)]
    return torch.stack(pieces).sum()


def chosen_logps(hidden: Tensor, head: Tensor, chosen: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """(log-probabilities of the chosen tokens, entropies, log-normalisers), each [N], from hidden [N, d] and chosen [N].

    The first carries gradient, the other two do not. Logits are divided by `temperature` first, as the sampler does.
    """

    def part(h: Tensor, w: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = _logits(h, w, temperature)
        norm = torch.logsumexp(logits, -1)
        with torch.no_grad():
            entropy = norm - (torch.softmax(logits, -1) * logits).sum(-1)
        return logits.gather(-1, y[:, None])[:, 0] - norm, entropy, norm.detach()

    starts = _chunks(len(chosen), head.shape[0])
    if len(starts) <= 1:
        return part(hidden, head, chosen)
    pieces = [checkpoint(part, hidden[i : i + starts.step], head, chosen[i : i + starts.step], use_reentrant=False) for i in starts]
    logps, entropies, norms = (torch.cat(p) for p in zip(*pieces, strict=True))
    return logps, entropies, norms
