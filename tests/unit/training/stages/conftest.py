"""A run of a model of a few thousand parameters whose completions are replaced by solutions: random weights never answer."""

import pytest
import torch
import yaml

from configs.load import load_recipe
from data import protocol
from data.step_errors import corrupt
from data.worlds.base import generator
from training import run as runs

SIZES = {
    "model_type": "qwen3", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 8, "tie_word_embeddings": True,
}  # fmt: skip
ENCODER = {"name": "conv", "kind": "image", "width": 16, "depth": 1, "heads": 2, "size": 32}
RECIPE = {
    "name": "speck", "threads": 1, "release": False,
    "model": {"llm": {"config": SIZES}, "tokenizer": {"worlds": ["vision"], "vocab_size": 512}, "streams": {"image": {"encoder": ENCODER}}},
    "data": {"sources": {"easy": {"world": "vision", "level": 1, "families": ["figure"]}}},
    "stages": [{"mixture": {"easy": 1.0}, "batch_size": 4, "num_workers": 0, "save_every": 2, "name": "prm", "kind": "prm", "steps": 4,
                "num_generations": 2, "max_new_tokens": 4, "lr": 0.01, "heldout": 0}],
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    from training.tokenizer import build_tokenizer

    return build_tokenizer(["vision"], 512, per_level=2)


@pytest.fixture
def start(tmp_path, tokenizer, monkeypatch):
    import training.tokenizer
    from training import step_labeller

    monkeypatch.setattr(training.tokenizer, "build_tokenizer", lambda *_: tokenizer)
    draw = step_labeller.roll_out

    def answering(model, processor, rows, how, terms, ledger, seed):
        """Random weights never answer, so their completions are replaced by gold ones, half of them with a wrong step or answer."""
        rollouts = draw(model, processor, rows, how, terms, ledger, seed)
        for i, record in enumerate(rollouts.records):
            rollouts.texts[2 * i] = protocol.completion(record)
            rollouts.texts[2 * i + 1] = corrupt(record, generator(*seed, i))
        return rollouts

    monkeypatch.setattr(step_labeller, "roll_out", answering)
    path = tmp_path / "speck.yaml"
    path.write_text(yaml.safe_dump(RECIPE))

    def start(*overrides):
        recipe = load_recipe(path, list(overrides))
        before = torch.get_num_threads()
        folder = runs.run(recipe, tmp_path / recipe.name, runs.Judge(lambda *_: [], lambda *_: None, lambda *_: None))
        torch.set_num_threads(before)
        return folder

    return start
