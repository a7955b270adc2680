"""A whole GRPO step on video prompts, against the common way: media encoded and prompt prefilled again for every rollout, in sampling and update."""

import torch

from bench import reasoner
from bench.harness import Comparison, Setting, close
from bench.update import gradients
from models.logprob import chosen_logps
from models.sampler import sample
from training.rollout import completion_logps, encode_frozen

GROUP = 8


def media_step(setting: Setting) -> Comparison:
    """A whole GRPO step on video prompts, against encode-per-rollout and repeat-prefill."""
    prompts, frames, text, new = setting.pick((2, 1, 4, 6), (4, 15, 32, 64), (2, 63, 32, 256))
    model = reasoner.build(setting, max_frames=frames)
    model.streams["video"].encoder.requires_grad_(False)
    model.train()
    batch = reasoner.video_prompts(setting, prompts, frames, text, model.llm.config.vocab_size)
    signal = torch.linspace(-1, 1, prompts * GROUP, device=setting.device)[:, None]  # stands for the advantages: rewards cost both sides the same

    def ours() -> torch.Tensor:
        once = encode_frozen(model, batch)
        return update(once, sample(model, once, new, stop_ids=[], temperature=1.0, num_samples=GROUP).ids)

    def update(once: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
        return gradients(model, (completion_logps(model, once, ids, 1.0, GROUP)[0] * signal).mean())

    def repeated() -> dict[str, torch.Tensor]:
        rows = torch.arange(prompts, device=signal.device).repeat_interleave(GROUP)
        return {k: torch.arange(len(rows), device=rows.device) if k == "video_rows" else v[rows] for k, v in batch.items()}

    def peer_update(ids: torch.Tensor) -> torch.Tensor:
        many = repeated()
        longer = many | {
            "input_ids": torch.cat([many["input_ids"], ids], 1),
            "attention_mask": torch.ones(len(ids), many["input_ids"].shape[1] + new, device=ids.device),
        }
        hidden = model.hidden_states(**longer)[:, -new - 1 : -1]
        logps = chosen_logps(hidden.flatten(0, 1), model.head, ids.flatten())[0].view(ids.shape)
        return gradients(model, (logps * signal).mean())

    def peer() -> torch.Tensor:
        many = repeated()
        model.eval()
        drawn = model.generate(**many, max_new_tokens=new, do_sample=True, top_k=0, temperature=1.0, eos_token_id=None, pad_token_id=reasoner.PAD)
        model.train()
        return peer_update(drawn[:, -new:])

    def same(*_) -> str:
        ids = sample(model, batch, new, stop_ids=[], temperature=1.0, num_samples=GROUP).ids
        return close(update(encode_frozen(model, batch), ids), peer_update(ids), 2e-2 if setting.gpu else 1e-5, "gradients on the same rollouts")

    return Comparison(
        ours, peer, "encode per rollout, prefill per rollout", same,
        sizes={"prompts": prompts, "G": GROUP, "prompt tokens": frames * reasoner.FRAME_TOKENS + text, "new tokens": new, **reasoner.shape(model)},
        goals={"time": 4.0 if setting.gpu else 3.0}, work=(prompts * GROUP * new,) * 2, unit="completion tokens",
    )  # fmt: skip
