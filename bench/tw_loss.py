"""Memory and time of the TW-GRPO loss from hidden states: chunked log-probabilities, streamed token weights and loss, against the dense method."""

import torch

from bench.harness import Comparison, Setting, close
from models.logprob import chosen_logps
from training.losses import policy_loss
from training.token_weights import streaming_token_weights, token_weights

GROUP = 8


def tw_loss(setting: Setting) -> Comparison:
    """Peak extra memory and time of log-probs + token weights + loss (with backward), against the dense [G, P + T, V] method."""
    prompt, new, width, vocab = setting.pick((8, 6, 16, 64), (512, 128, 128, 8192), (2048, 512, 896, 151_936))
    draw = torch.Generator().manual_seed(setting.seed)
    hidden = torch.randn(GROUP, prompt + new, width, generator=draw).to(setting.device, setting.dtype).requires_grad_()
    head = (torch.randn(vocab, width, generator=draw) * width**-0.5).to(setting.device, setting.dtype).requires_grad_()
    ids = torch.randint(vocab, (GROUP, new), generator=draw).to(setting.device)
    lengths = torch.linspace(new // 3, new, GROUP).long()
    mask = (torch.arange(new) < lengths[:, None]).float().to(setting.device)
    advantages = torch.linspace(-1, 1, GROUP).to(setting.device)

    def finish(logps: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        loss, _ = policy_loss(logps, None, advantages, mask, "tw_grpo", weights=weights)
        return loss.detach(), weights, *torch.autograd.grad(loss, (hidden, head))

    def ours() -> tuple[torch.Tensor, ...]:
        said = hidden[:, prompt - 1 : -1]
        logps, _, norms = chosen_logps(said.flatten(0, 1), head, ids.flatten())
        weights = streaming_token_weights(said.detach(), head, mask, log_normalizer=norms.view(ids.shape))
        return finish(logps.view(ids.shape), weights)

    def peer() -> tuple[torch.Tensor, ...]:
        # The published way: log-softmax over prompt and completion of every rollout, then slice; weights from the dense tensor.
        logps = torch.log_softmax((hidden @ head.T).float(), -1)[:, prompt - 1 : -1]
        weights = token_weights(logps, mask)
        return finish(logps.gather(-1, ids[..., None])[..., 0], weights)

    def same(mine: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...]) -> str:
        names = ("loss", "token weights", "gradients of the hidden states", "gradients of the head")
        return "; ".join(close(a, b, 2e-2 if setting.gpu else 1e-5, what) for a, b, what in zip(mine, theirs, names, strict=True))

    return Comparison(
        ours, peer, "dense log-softmax over [G, P + T, V]", same,
        sizes={"G": GROUP, "P": prompt, "T": new, "width": width, "vocabulary": vocab},
        goals={"memory": 20.0, "time": 1.0} if setting.gpu else {"memory": 8.0, "time": 1 / 1.1}, work=(GROUP * new,) * 2, unit="completion tokens",
    )  # fmt: skip
