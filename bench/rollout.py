"""Rollout speed: grouped sampling off one prefill against transformers' own `generate(num_return_sequences=G)` on the same weights. On a GPU also
against its static cache, and as a share of what the memory's bandwidth would allow."""

import statistics
from collections.abc import Callable
from typing import Any

import torch

from bench import reasoner
from bench.harness import Comparison, DifferentError, Setting, alternate
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
        options = how if "do_sample" in how else {"do_sample": True, "temperature": 1.0, "top_k": 0, "num_return_sequences": GROUP, **how}
        embeds = reasoner.joined_embeddings(model, batch)
        return model.llm.generate(inputs_embeds=embeds, attention_mask=batch["attention_mask"], max_new_tokens=new, eos_token_id=None, **options)

    def same(*_) -> str:
        greedy = peer(do_sample=False, suppress_tokens=model.never_said)
        mine = ours(0.0).view(prompts, GROUP, new)
        share = float((mine == greedy[:, None]).float().mean())
        if share < (0.9 if setting.gpu else 1.0):  # bfloat16 breaks near-ties either way, and a row goes its own way from there on
            raise DifferentError(f"greedy outputs: only {share:.1%} of the tokens are equal")
        return f"greedy outputs equal ({share:.1%} of {mine.numel()} tokens)"

    tokens, length = prompts * GROUP * new, frames * reasoner.FRAME_TOKENS + text
    facts = {}
    if setting.gpu:
        facts = beside_static(ours, lambda: peer(cache_implementation="static"))
        facts["share_of_roof"] = tokens / facts["ours_s"] / roof(model.llm, prompts * GROUP, length + new / 2, copy_bandwidth(setting.device))
    return Comparison(
        ours, peer, "transformers generate(num_return_sequences=8)", same,
        sizes={"prompts": prompts, "G": GROUP, "prompt tokens": length, "new tokens": new, **reasoner.shape(model)},
        goals={"time": 10.0 if setting.gpu else 2.5}, work=(tokens, tokens), facts=facts,
    )  # fmt: skip


def beside_static(ours: Callable[[], Any], static: Callable[[], Any], rounds: int = 5, gpu: bool = True) -> dict[str, float]:
    """Seconds of one run of either side, by turns after two warm-ups of both (the static cache compiles in its first), and their ratio."""
    ours_s, static_s = map(statistics.median, alternate((ours, static), rounds, 2, gpu))
    return {"ours_s": ours_s, "static_cache_s": static_s, "over_static_cache": static_s / ours_s}


def roof(llm: Any, rows: int, length: float, bandwidth: float) -> float:
    """Tokens/s of a decoder that reads every weight once a step and each row's keys and values once (`length`: tokens behind a row, on average over
    the decoding), at `bandwidth` bytes/s; nothing else takes time. An embedding that is not the head is looked up, not read."""
    config = llm.config
    tied = config.tie_word_embeddings
    weights = sum(p.nbytes for name, p in llm.named_parameters() if tied or "embed_tokens" not in name)
    item = next(llm.parameters()).element_size()
    kept = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * length * item
    return rows * bandwidth / (weights + rows * kept)


def copy_bandwidth(device: str, size: int = 1 << 30, rounds: int = 10) -> float:
    """Bytes/s, read and written, that a copy inside the GPU's memory reaches: its bandwidth as measured, not as printed on the box."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    (seconds,) = alternate((lambda: target.copy_(source),), rounds, 2, gpu=device != "cpu")
    return 2 * size / statistics.median(seconds)
