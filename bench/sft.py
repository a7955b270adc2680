"""Supervised speed: a training step of ours, against a plain transformers loop that prepends the same media tokens."""

import copy

import torch

from bench import reasoner
from bench.harness import Comparison, Setting, close


def sft(setting: Setting) -> Comparison:
    """Trained tokens/s of a supervised step, against a plain transformers loop that prepends the same media tokens."""
    rows, frames, text, said = setting.pick((2, 1, 4, 6), (8, 4, 64, 64), (8, 16, 128, 256))
    model = reasoner.build(setting, max_frames=frames).train()
    twin = copy.deepcopy(model)  # the peer's encoder, projector and LLM
    vocab = model.llm.config.vocab_size
    batch = reasoner.video_prompts(setting, rows, frames, text + said, vocab)
    labels = batch["input_ids"].clone()
    labels[:, : frames * reasoner.FRAME_TOKENS + text] = -100  # the loss is on the completion
    optimizers = [torch.optim.AdamW(m.parameters(), 1e-6) for m in (model, twin)]

    def ours() -> torch.Tensor:
        loss = model(**batch, labels=labels).loss
        return step(model, optimizers[0], loss)

    def peer() -> torch.Tensor:
        embeds = reasoner.joined_embeddings(twin, batch)
        loss = twin.llm(inputs_embeds=embeds, attention_mask=batch["attention_mask"], labels=labels, use_cache=False).loss
        return step(twin, optimizers[1], loss)

    return Comparison(
        ours, peer, "plain transformers on prepended embeddings", lambda a, b: close(a, b, 2e-2 if setting.gpu else 1e-4, "loss and gradients"),
        sizes={"rows": rows, "media tokens": frames * reasoner.FRAME_TOKENS, "prompt tokens": text, "trained tokens": said, **reasoner.shape(model)},
        goals={}, work=(rows * said,) * 2, unit="trained tokens",
    )  # fmt: skip


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> torch.Tensor:
    """One optimiser step; returns the loss and the clipped gradients as one vector."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    result = torch.cat([loss.detach()[None].float(), *(p.grad.flatten().float() for p in model.parameters() if p.grad is not None)])
    optimizer.step()
    optimizer.zero_grad()
    return result
