"""What a run releases: a folder that is whole or not there, adapters merged, and a card that says what the run's own files say."""

import json

import pytest
import torch
import yaml

from configs.load import load_recipe
from training.build import build_reasoner, load_checkpoint
from training.release import card, write_release

LLM = {
    "model_type": "qwen3", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 8, "max_position_embeddings": 256, "tie_word_embeddings": True,
}  # fmt: skip
RECIPE = {
    "name": "speck",
    "model": {
        "llm": {"config": LLM},
        "tokenizer": {"worlds": ["audio"], "vocab_size": 400},
        "streams": {"audio": {"encoder": {"name": "conv", "kind": "audio", "width": 8, "depth": 1, "heads": 2, "num_mels": 8, "max_seconds": 2.0}}},
    },
    "data": {
        "media": {"max_seconds": 12.5, "num_frames": 7},
        "sources": {"sounds": {"world": "audio", "level": {"1": 1, "2": 2}}, "mine": {"reader": "jsonl", "path": "x.jsonl"}},
    },
    "stages": [{"name": "sft", "kind": "sft", "mixture": {"sounds": 1, "mine": 1}, "steps": 3, "batch_size": 2}],
}
ROW = {
    "benchmark": "world/audio", "level": 2, "stage": "sft", "strategy": "greedy", "scorer": None, "samples": 1, "protocol": "strict", "n": 40,
    "score": 0.625, "ci95": [0.47, 0.758], "controls": {"blank_media": 0.25, "shuffled_media": None},
}  # fmt: skip


@pytest.fixture(scope="module")
def small_tokenizer():
    from training.tokenizer import build_tokenizer

    return build_tokenizer(["audio"], 400, per_level=2)


@pytest.fixture
def made(tmp_path, small_tokenizer, monkeypatch):
    """(model, processor, recipe) of the recipe with overrides."""
    import training.tokenizer

    monkeypatch.setattr(training.tokenizer, "build_tokenizer", lambda *_: small_tokenizer)
    (tmp_path / "speck.yaml").write_text(yaml.safe_dump(RECIPE))

    def make(*overrides):
        recipe = load_recipe(tmp_path / "speck.yaml", list(overrides))
        return *build_reasoner(recipe), recipe

    return make


def test_the_card_says_what_the_run_says(made, tmp_path):
    model, _, recipe = made()
    (tmp_path / "results.json").write_text(json.dumps({"evaluations": [ROW]}))
    text = card(model, recipe, tmp_path)
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters, audio in" in text
    assert "stage `sft` (sft, 3 steps of 2): sounds, world `audio`, level {1: 1.0, 2: 2.0}" in text
    assert "mine, `jsonl` reader, split train" in text and "Started from random weights." in text
    assert "| world/audio | 2 | sft | greedy | strict | 40 | 62.5 | 47.0-75.8 | blank_media 25.0, shuffled_media - |" in text
    assert "16000 Hz, 7 frames, at most 12.5 s" in text and "## Limits" in text
    assert '"<|audio|>Which sound is the first?"' in text and 'media=["x.wav"]' in text
    assert "16000 Hz, 2.5 frames a second up to 7, at most 12.5 s" in card(model, made("data.media.fps=2.5")[2], tmp_path)
    header, resolved = text.split("---\n")[1], text.split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(header)["license"] == "apache-2.0" and yaml.safe_load(header)["library_name"] == "transformers"
    (tmp_path / "again.yaml").write_text(resolved)
    assert load_recipe(tmp_path / "again.yaml") == recipe


def test_rows_of_a_search_are_told_apart_and_the_oracles_are_marked(made, tmp_path):
    model, _, recipe = made()
    best = ROW | {"strategy": "best_of_n", "samples": 8}
    rows = [ROW, *(best | {"scorer": scorer} for scorer in ("prm", "random", "shortest", "oracle")), best | {"strategy": "majority"}]
    (tmp_path / "results.json").write_text(json.dumps({"evaluations": rows}))
    table = [line.split(" | ") for line in card(model, recipe, tmp_path).splitlines() if line.startswith("| world/audio")]
    assert [cells[3] for cells in table] == [
        "greedy", "best of n of 8 by prm", "best of n of 8 by random", "best of n of 8 by shortest",
        "best of n of 8 by oracle (knows the answers: a ceiling, no score of this model)", "majority of 8",
    ]  # fmt: skip


def test_a_run_without_evaluation_says_so(made, tmp_path):
    model, _, recipe = made()
    assert "Not evaluated." in card(model, recipe, tmp_path)


def test_a_release_is_the_model_with_its_code(made, tmp_path):
    model, processor, recipe = made()
    folder = write_release(model, processor, recipe, tmp_path)
    names = {p.name for p in folder.iterdir()}
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "README.md", "modeling.py", "media.py"} <= names
    assert not {p for p in folder.rglob("*") if p.suffix in (".bin", ".pt", ".pkl", ".pyc")}
    again, _ = load_checkpoint(str(folder))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    assert not (tmp_path / ".tmp-release").exists()


def test_a_second_release_replaces_the_first_whole(made, tmp_path):
    model, processor, recipe = made()
    folder = write_release(model, processor, recipe, tmp_path)
    (folder / "leftover.txt").write_text("old")
    assert not (write_release(model, processor, recipe, tmp_path) / "leftover.txt").exists()


def test_adapters_are_merged_into_a_copy(made, tmp_path):
    """The release needs no PEFT and computes the same; the model in hand goes on with its adapters."""
    model, processor, recipe = made("model.lora={rank: 2, targets: [q_proj]}")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    folder = write_release(model, processor, recipe, tmp_path)
    again, _ = load_checkpoint(str(folder))
    assert again.config.lora is None and not any("lora" in name for name, _ in again.named_parameters())
    assert any("lora" in name for name, _ in model.named_parameters())
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(input_ids=ids).logits, again.eval()(input_ids=ids).logits, atol=1e-5, rtol=0)


def test_what_cannot_travel_is_refused_and_leaves_no_folder(made, tmp_path):
    model, processor, recipe = made()
    model.streams["audio"].projector = torch.nn.Linear(8, 16)
    with pytest.raises(ValueError, match="stream 'audio': Linear is defined in torch"):
        write_release(model, processor, recipe, tmp_path)
    assert not (tmp_path / "release").exists()
