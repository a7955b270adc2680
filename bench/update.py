"""Update speed: the policy's forward and backward with the prompt forwarded once per group, against a copy of it before every rollout."""

import torch

from bench import reasoner
from bench.harness import Comparison, Setting, close
from models.logprob import chosen_logps
from training.rollout import completion_logps

GROUP = 8


def update(setting: Setting) -> Comparison:
    """Forward and backward of a GRPO update: shared prefix (P + G R tokens) against repeated prefix (G (P + R))."""
    prompts, frames, text, new = setting.pick((2, 1, 4, 6), (4, 15, 32, 64), (2, 63, 32, 256))
    model = reasoner.build(setting, max_frames=frames).train()
    vocab = model.llm.config.vocab_size
    batch = reasoner.video_prompts(setting, prompts, frames, text, vocab)
    ids = reasoner.text_ids(setting, (prompts * GROUP, new), vocab)
    signal = torch.randn(ids.shape, generator=torch.Generator().manual_seed(setting.seed)).to(setting.device)

    def ours() -> torch.Tensor:
        logps = completion_logps(model, batch, ids, 1.0, GROUP)[0]
        return gradients(model, (logps * signal).sum())

    def peer() -> torch.Tensor:
        # Kind to the peer: media are encoded once per prompt, and only the completions go through the head, in chunks as ours.
        rows = torch.arange(prompts, device=ids.device).repeat_interleave(GROUP)
        embeds = reasoner.joined_embeddings(model, batch)[rows]
        embeds = torch.cat([embeds, model.get_input_embeddings()(ids)], 1)
        hidden = model.llm.model(inputs_embeds=embeds, use_cache=False).last_hidden_state[:, -new - 1 : -1]
        logps = chosen_logps(hidden.flatten(0, 1), model.head, ids.flatten())[0].view(ids.shape)
        return gradients(model, (logps * signal).sum())

    prompt = frames * reasoner.FRAME_TOKENS + text
    ratio = GROUP * (prompt + new) / (prompt + GROUP * new)
    share = 0.75 if setting.gpu else 0.6
    return Comparison(
        ours, peer, "the plain transformers forward over repeated prompts",
        lambda mine, theirs: close(mine, theirs, 2e-2 if setting.gpu else 1e-5, "gradients of all parameters"),
        sizes={"prompts": prompts, "G": GROUP, "prompt tokens": prompt, "completion tokens": new, **reasoner.shape(model)},
        goals={"time": share * ratio}, work=(prompts * GROUP * new,) * 2, unit="completion tokens",
        facts={"token ratio": ratio, "share of it wanted": share},
    )  # fmt: skip


def gradients(model: torch.nn.Module, loss: torch.Tensor) -> torch.Tensor:
    """All gradients in one vector; the model is left without any."""
    loss.backward()
    flat = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return flat
