"""The reasoners and prompts that the benches run on: random weights, video prompts of a given length, the issue's sizes on a CPU and on a GPU."""

from typing import Any

import torch
from torch import Tensor

from bench.harness import Setting
from models.configuration import FocalConfig
from models.modeling import FocalModel

PAD, VIDEO, END, FIRST_TEXT = 0, 1, 2, 3
FRAME_TOKENS = 32  # media tokens that a frame becomes


def llm_config(setting: Setting, **changes: Any) -> dict[str, Any]:
    """A Qwen3 of 4 layers x 128 with a vocabulary of 4,096; on a GPU one of the shape of a 0.5 B model."""
    sizes = {
        "hidden_size": setting.pick(32, 128, 896), "intermediate_size": setting.pick(64, 384, 4864), "num_hidden_layers": setting.pick(2, 4, 24),
        "num_attention_heads": setting.pick(2, 4, 14), "num_key_value_heads": setting.pick(1, 2, 2), "head_dim": setting.pick(16, 32, 64),
        "vocab_size": setting.pick(128, 4096, 151_936),
    }  # fmt: skip
    fixed = {"model_type": "qwen3", "max_position_embeddings": 8192, "tie_word_embeddings": True, "pad_token_id": PAD, "eos_token_id": END}
    return fixed | sizes | changes


def build(setting: Setting, fusion: list[dict] | None = None, max_frames: int = 64, **changes: Any) -> FocalModel:
    """A reasoner over video; weights follow from the setting's seed."""
    width = setting.pick(16, 64, 256)
    encoder = {"name": "frames", "width": width, "depth": 1, "heads": 2, "size": 32, "channels": 8, "max_frames": max_frames}
    encoder["tokens_per_frame"] = FRAME_TOKENS
    stream = {"encoder": encoder, "projector": {"name": "mlp"}, "fusion": fusion or [{"tokens": "all"}], "token_id": VIDEO}
    torch.manual_seed(setting.seed)
    model = FocalModel(FocalConfig(llm=llm_config(setting, **changes), streams={"video": stream}))
    return model.to(setting.device, setting.dtype)


def video_prompts(setting: Setting, count: int, frames: int, text: int, vocab: int) -> dict[str, Tensor]:
    """A batch of prompts, each one video and then text tokens; all of one length."""
    draw = torch.Generator().manual_seed(setting.seed + 1)
    ids = torch.cat([torch.full((count, frames * FRAME_TOKENS), VIDEO, device=setting.device), text_ids(setting, (count, text), vocab)], 1)
    batch = {
        "input_ids": ids, "attention_mask": torch.ones_like(ids), "video_features": torch.randn(count, frames, 3, 32, 32, generator=draw),
        "video_rows": torch.arange(count),
    }  # fmt: skip
    return {k: v.to(setting.device) for k, v in batch.items()}


def text_ids(setting: Setting, shape: tuple[int, ...], vocab: int) -> Tensor:
    """Random text tokens, no special ones."""
    return torch.randint(FIRST_TEXT, vocab, shape, generator=torch.Generator().manual_seed(setting.seed + 2)).to(setting.device)


def joined_embeddings(model: FocalModel, batch: dict[str, Tensor]) -> Tensor:
    """What a plain transformers model is given for the same prompts [B, T, d]: text embeddings with the media tokens in their places."""
    embeds = model.get_input_embeddings()(batch["input_ids"])
    media = {k: v for k, v in batch.items() if k.startswith("video")}
    for part in model.join_media(batch["input_ids"], model.encode_media(media), media):
        embeds = embeds.index_put((part.rows, part.cols), part.embeds.to(embeds.dtype))
    return embeds


def shape(model: FocalModel) -> dict[str, int]:
    """The LLM's sizes, for a result."""
    config = model.llm.config
    return {"layers": config.num_hidden_layers, "width": config.hidden_size, "vocabulary": config.vocab_size}
