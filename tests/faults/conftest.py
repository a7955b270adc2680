"""A reasoner of a few thousand parameters that takes all three kinds of media, and a folder of one's own data for it."""

import json

import numpy as np
import pytest
import yaml

from configs.load import load_recipe
from data.media import write_media
from models.media import Media

RECIPE = {
    "name": "speck",
    "threads": 1,
    "model": {
        "llm": {
            "config": {
                "model_type": "qwen3", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 512, "tie_word_embeddings": True,
            }
        },
        "tokenizer": {"worlds": ["vision"], "vocab_size": 400},
        "streams": {
            "image": {"encoder": {"name": "conv", "kind": "image", "width": 8, "depth": 1, "heads": 2, "size": 16}},
            "audio": {"encoder": {"name": "conv", "kind": "audio", "width": 8, "depth": 1, "heads": 2, "num_mels": 8, "max_seconds": 2.0}},
            "video": {"encoder": {"name": "frames", "width": 8, "depth": 1, "heads": 2, "size": 16, "channels": 4, "max_frames": 4}},
        },
    },
    "data": {"media": {"num_frames": 4}, "sources": {"mine": {"reader": "jsonl", "path": "records.jsonl"}}},
    "stages": [{"name": "sft", "kind": "sft", "mixture": {"mine": 1.0}, "steps": 4, "batch_size": 8, "num_workers": 0}],
    "release": False,
}  # fmt: skip


def record(id, kind, path, **changes):
    return {"id": id, "question": f"What is {id}?", "answer": ["red"], "answer_type": "text", "media": [{"kind": kind, "path": path}], **changes}


@pytest.fixture(scope="session")
def small_tokenizer():
    from training.tokenizer import build_tokenizer

    return build_tokenizer(["vision"], 400, per_level=2)


@pytest.fixture
def home(tmp_path):
    """A folder with one good file of each kind."""
    rng = np.random.default_rng(0)
    write_media(tmp_path / "good", Media("audio", (0.1 * rng.standard_normal(8000)).astype(np.float32), 16_000.0))
    write_media(tmp_path / "good", Media("image", rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)))
    write_media(tmp_path / "good", Media("video", rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8), 4.0, np.arange(4) / 4))
    return tmp_path


@pytest.fixture
def train(home, small_tokenizer, monkeypatch, capsys):
    """Writes records and the recipe into the folder and calls `train.py` on them; returns (exit code, what it said on stderr). `load` only
    loads the recipe."""
    import training.tokenizer
    from train import main

    monkeypatch.setattr(training.tokenizer, "build_tokenizer", lambda *_, **__: small_tokenizer)

    def write(rows, recipe=None):
        lines = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        (home / "records.jsonl").write_text(lines)
        (home / "recipe.yaml").write_text(yaml.safe_dump(recipe or RECIPE))

    def load(rows, *overrides):
        write(rows)
        return load_recipe(home / "recipe.yaml", [f"data.root={home}", *overrides])

    def run(rows, *arguments, recipe=None):
        write(rows, recipe)
        code = main([str(home / "recipe.yaml"), f"data.root={home}", "--runs", str(home / "runs"), *arguments])
        return code, capsys.readouterr().err

    run.load = load
    return run
