"""Rollout speed: grouped sampling off one prefill against transformers' own `generate(num_return_sequences=G)` on the same weights."""

import torch

from bench import reasoner
from bench.harness import Comparison, DifferentError, Setting
from models.sampler import sample

GROUP = 8


def rollout(setting: Setting) -> Comparison:
    """Sampled tokens/s, G = 8 on media prompts, against transformers generate(num_return_sequences=G) on the same weights."""
    prompts, frames, text, new = setting.pick((2, 1, 4, 6), (4, 15, 32, 64), (8, 63, 32, 256))
    model = reasoner.build(setting, max_frames=frames).eval()
    batch = reasoner.video_prompts(setting, prompts, frames, text, model.llm.config.vocab_size)

    def ours(temperature: float = 1.0) -> torch.Tensor:
        return sample(model, batch, new, stop_ids=[], temperature=temperature, num_samples=GROUP).ids

    @torch.no_grad()
    def peer(**how) -> torch.Tensor:
        # Kind to the peer: media are encoded once, and it is handed the finished embeddings.
        options = how or {"do_sample": True, "temperature": 1.0, "top_k": 0, "num_return_sequences": GROUP}
        embeds = reasoner.joined_embeddings(model, batch)
        return model.llm.generate(inputs_embeds=embeds, attention_mask=batch["attention_mask"], max_new_tokens=new, eos_token_id=None, **options)

    def same(*_) -> str:
        greedy = peer(do_sample=False, suppress_tokens=model.never_said)
        mine = ours(0.0).view(prompts, GROUP, new)
        share = float((mine == greedy[:, None]).float().mean())
        if share < (0.9 if setting.gpu else 1.0):  # bfloat16 breaks near-ties either way, and a row goes its own way from there on
            raise DifferentError(f"greedy outputs: only {share:.1%} of the tokens are equal")
        return f"greedy outputs equal ({share:.1%} of {mine.numel()} tokens)"

    tokens = prompts * GROUP * new
    return Comparison(
        ours, peer, "transformers generate(num_return_sequences=8)", same,
        sizes={"prompts": prompts, "G": GROUP, "prompt tokens": frames * reasoner.FRAME_TOKENS + text, "new tokens": new, **reasoner.shape(model)},
        goals={"time": 10.0 if setting.gpu else 2.5}, work=(tokens, tokens),
    )  # fmt: skip
