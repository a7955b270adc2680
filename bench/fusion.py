"""Step time of media as keys and values only (`as: kv`) against media prepended to the stream, where media outnumber text four to one."""

import torch

from bench import reasoner
from bench.harness import Comparison, DifferentError, Setting
from bench.update import gradients


def fusion(setting: Setting) -> Comparison:
    """Training step of kv fusion against prepend at media : text = 4 : 1, beside the ratio of FLOPs that the layers predict."""
    rows, frames, text = setting.pick((2, 1, 8), (4, 16, 128), (4, 64, 512))
    models = {
        form: reasoner.build(setting, [{"tokens": "all", "as": form, "from_layer": 0}], max_frames=frames).train() for form in ("kv", "residual")
    }
    config = models["kv"].llm.config
    batch = reasoner.video_prompts(setting, rows, frames, text, config.vocab_size)
    labels = batch["input_ids"].clone()
    labels[:, : -text + 1] = -100

    def run(form: str) -> tuple[torch.Tensor, torch.Tensor]:
        loss = models[form](**batch, labels=labels).loss
        return loss.detach(), gradients(models[form], loss)

    def same(kv: tuple[torch.Tensor, torch.Tensor], prepend: tuple[torch.Tensor, torch.Tensor]) -> str:
        """They are different models, of the same weights on the same batch: what can be checked is that both train all of them."""
        if kv[1].numel() != prepend[1].numel() or not all(bool(torch.isfinite(x).all()) for x in (*kv, *prepend)):
            raise DifferentError("kv and prepend do not train the same parameters")
        return f"different models by design; the same {kv[1].numel():,} parameters, tokens and loss positions"

    media = frames * reasoner.FRAME_TOKENS
    predicted = flops(config, media, text, "residual") / flops(config, media, text, "kv")
    return Comparison(
        lambda: run("kv"), lambda: run("residual"), "prepend", same,
        sizes={"rows": rows, "media tokens": media, "text tokens": text, **reasoner.shape(models["kv"])}, goals={"time": 1.0},
        work=(rows * text,) * 2, unit="text tokens", facts={"FLOP ratio of the layers": predicted},
    )  # fmt: skip


def flops(config, media: int, text: int, form: str) -> float:
    """FLOPs of one layer's forward pass for one row. Prepended media go through every projection, attention and the feed-forward; as kv only
    through the key and value projections, and text attends to them. Attention is counted in full, causal or not."""
    d, heads = config.hidden_size, config.num_attention_heads * config.head_dim
    pair = 2 * d * 2 * config.num_key_value_heads * config.head_dim  # key and value projections of a token
    query = 2 * 2 * d * heads + 2 * 3 * d * config.intermediate_size  # query and output projections, feed-forward of a token
    through = media + text if form == "residual" else text
    return (media + text) * pair + through * query + 2 * 2 * through * (media + text) * heads
