"""A toy problem with its policy, and a tiny random reasoner with its reward model."""

import dataclasses

import numpy as np
import pytest

from data.record import MediaRef, Record
from models.media import Media
from reasoning.policy import Asked
from tests.unit.reasoning.toy import FACTS, ToyPolicy, solution, toy


@pytest.fixture
def policy():
    return ToyPolicy


@pytest.fixture
def record():
    return toy


@pytest.fixture
def say():
    return solution


@dataclasses.dataclass
class Tiny:
    """A policy and a reward model of a few thousand random weights over one tokenizer, and pictures to ask about."""

    model: object
    prm: object
    processor: object

    def asked(self, count: int = 2) -> list[Asked]:
        from reasoning.policy import ModelPolicy

        chat, items = ModelPolicy(self.model, self.processor).chat, []
        for i in range(count):
            picture = np.random.default_rng(i).integers(0, 255, (32, 32, 3), dtype=np.uint8)
            record = Record(
                f"picture-{i}", "How many are red?" + " Look well." * i, ["3"], "integer", [MediaRef("image", f"{i}.png")], meta={"facts": FACTS}
            )
            turn = f"<|image|>{record.question}"
            items.append(Asked(record, chat(turn), [Media("image", picture)], turn))
        return items


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    import torch

    from models.configuration import FocalConfig
    from models.modeling import FocalModel
    from models.prm import FocalPRM
    from models.processing import FocalProcessor
    from training.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(["vision"], 512, per_level=2)
    stream = {"encoder": {"name": "conv", "kind": "image", "width": 16, "depth": 1, "heads": 2, "size": 32}, "projector": {"name": "mlp"}}
    llm = {
        "model_type": "qwen3", "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": tokenizer.pad_token_id, "tie_word_embeddings": True,
        "max_position_embeddings": 8192,
    }  # fmt: skip
    token = tokenizer.convert_tokens_to_ids("<|image|>")
    torch.manual_seed(0)
    model = FocalModel(FocalConfig(llm=llm, streams={"image": stream | {"token_id": token}})).eval()
    prm = FocalPRM.from_policy(model, tokenizer.convert_tokens_to_ids("<|step|>")).eval()
    torch.nn.init.normal_(prm.judge.weight)
    return Tiny(model, prm, FocalProcessor(tokenizer, streams={"image": stream | {"placeholder": "<|image|>"}}))
