"""Tiny reasoners with random weights, and batches for them. Ids: 0 pad, 1 image placeholder, 2 audio placeholder, 3 end, 4… text."""

import pytest
import torch

from models.configuration import FocalConfig
from models.modeling import FocalModel

PAD, IMAGE, AUDIO, END, VOCAB = 0, 1, 2, 3, 40
LAYERS = 3
LLM = {
    "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48,
    "max_position_embeddings": 256, "pad_token_id": PAD, "eos_token_id": END, "bos_token_id": None,
}  # fmt: skip
ENCODERS = {
    "image": {"name": "conv", "kind": "image", "size": 16, "width": 16, "depth": 1, "heads": 2},  # 4 tokens an image
    "audio": {"name": "conv", "kind": "audio", "num_mels": 8, "width": 16, "depth": 1, "heads": 2, "max_seconds": 1.0},  # 1 token per 8 frames
}
FUSIONS = {
    "prepend": [{"tokens": "all", "as": "residual", "from_layer": 0}],
    "delayed": [{"tokens": "all", "as": "residual", "from_layer": 2}],
    "kv": [{"tokens": "all", "as": "kv", "from_layer": 0}],
    "kv_late": [{"tokens": "all", "as": "kv", "from_layer": 1}],
    "kv_some": [{"tokens": "all", "as": "kv", "from_layer": [0, 2]}],
    "hybrid": [{"tokens": "summary:2", "as": "residual", "from_layer": 0}, {"tokens": "all", "as": "kv", "from_layer": 0}],
    "late_hybrid": [{"tokens": "summary:1", "as": "residual", "from_layer": 1}, {"tokens": "all", "as": "kv", "from_layer": [1, 2]}],
    "never": [{"tokens": "all", "as": "residual", "from_layer": LAYERS}],
}


def _model(fusion="prepend", family="qwen3", streams=("image", "audio"), seed=0, encoders=None, projector=None, llm=None, **config) -> FocalModel:
    """A model whose weights are all perturbed, norms and biases too, so that a forgotten one shows."""
    joins = fusion if isinstance(fusion, dict) else dict.fromkeys(streams, fusion)
    parts = {
        name: {
            "encoder": {**ENCODERS, **(encoders or {})}[name],
            "projector": projector or {"name": "mlp"},
            "fusion": FUSIONS.get(joins[name], joins[name]) if isinstance(joins[name], str) else joins[name],
            "token_id": {"image": IMAGE, "audio": AUDIO}[name],
        }
        for name in streams
    }
    extra = {"head_dim": 8} if family in ("qwen3", "llama", "mistral", "helium", "seed_oss") else {}
    torch.manual_seed(seed)
    model = FocalModel(FocalConfig(llm={"model_type": family, **LLM, **extra, **(llm or {})}, streams=parts, **config)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def _columns(model: FocalModel, stream: str, tokens: int) -> int:
    return sum(join.count(tokens) for join in model.streams[stream].joins)


def _batch(model: FocalModel, rows: list[str], side: str = "right", seed: int = 0, frames=(24, 40)) -> dict:
    """A batch from a sketch per row: `t` a text token, `i` an image, `a` a sound (of `frames` in turn). Ragged rows are padded on `side`."""
    rng = torch.Generator().manual_seed(seed)
    ids, media, at = [], {"image": [], "audio": []}, {"image": [], "audio": []}
    for number, sketch in enumerate(rows):
        line = []
        for mark in sketch:
            if mark == "t":
                line.append(int(torch.randint(4, VOCAB, (1,), generator=rng)))
            elif mark == "i":
                media["image"].append(torch.randn(3, 16, 16, generator=rng))
                at["image"].append(number)
                line += [IMAGE] * _columns(model, "image", 4)
            else:
                length = frames[len(media["audio"]) % len(frames)]
                media["audio"].append(torch.randn(8, length, generator=rng))
                at["audio"].append(number)
                line += [AUDIO] * _columns(model, "audio", length // 8)
        ids.append(torch.tensor(line))
    size = max(map(len, ids))
    batch = {"input_ids": torch.full((len(ids), size), PAD), "attention_mask": torch.zeros(len(ids), size, dtype=torch.long)}
    for i, line in enumerate(ids):
        where = slice(size - len(line), size) if side == "left" else slice(0, len(line))
        batch["input_ids"][i, where], batch["attention_mask"][i, where] = line, 1
    if media["image"]:
        batch |= {"image_features": torch.stack(media["image"]), "image_rows": torch.tensor(at["image"])}
    if media["audio"]:
        lengths = torch.tensor([m.shape[1] for m in media["audio"]])
        padded = torch.zeros(len(lengths), 8, int(lengths.max()))
        for i, m in enumerate(media["audio"]):
            padded[i, :, : m.shape[1]] = m
        batch |= {"audio_features": padded, "audio_rows": torch.tensor(at["audio"]), "audio_lengths": lengths}
    return batch


@pytest.fixture
def make_model():
    return _model


@pytest.fixture
def make_batch():
    return _batch


@pytest.fixture(params=list(FUSIONS))
def fusion(request) -> str:
    return request.param
