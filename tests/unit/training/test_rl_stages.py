"""The tw_grpo stage on a model of a few thousand parameters: they run, log what they promise, and resume to the bit."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

from configs.load import load_recipe
from training import run as runs

SIZES = {
    "model_type": "qwen3", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 8, "tie_word_embeddings": True,
}  # fmt: skip
ENCODER = {"name": "conv", "kind": "image", "width": 16, "depth": 1, "heads": 2, "size": 32}
COMMON = {"mixture": {"easy": 1.0}, "batch_size": 2, "num_workers": 0, "save_every": 2}
RECIPE = {
    "name": "speck", "threads": 1,
    "model": {
        "llm": {"config": SIZES}, "tokenizer": {"worlds": ["vision"], "vocab_size": 512}, "streams": {"image": {"encoder": ENCODER}},
    },
    "data": {"sources": {"easy": {"world": "vision", "level": 1, "families": ["bar"]}}},
    "stages": [{**COMMON, "name": "rl", "kind": "tw_grpo", "steps": 4, "num_generations": 3, "max_new_tokens": 6, "lr": 0.01,
                "rewards": [{"name": "chatter"}, {"name": "format", "weight": 0.5}]}],
    "release": False,
}  # fmt: skip
LOGGED = (
    "reward", "reward_chatter", "reward_format", "effective_ratio", "entropy", "clip_high", "completion_length", "truncated", "weight_mean", "drift",
    "generate_tokens_per_s", "update_tokens_per_s", "peak_memory_mb", "grad_norm",
)  # fmt: skip
TIMED = ("tokens_per_s", "generate_tokens_per_s", "update_tokens_per_s", "reward_s", "peak_memory_mb")


@pytest.fixture(scope="module")
def tokenizer():
    from training.tokenizer import build_tokenizer

    return build_tokenizer(["vision"], 512, per_level=2)


@pytest.fixture
def start(tmp_path, tokenizer, monkeypatch):
    import training.tokenizer
    from configs.registry import REWARDS

    monkeypatch.setattr(training.tokenizer, "build_tokenizer", lambda *_: tokenizer)
    # Random weights never answer right, so the reward must vary with something else: how many different words were said.
    monkeypatch.setitem(REWARDS._objects, "chatter", lambda rollout: len(set(rollout.completion)) / 10)
    path = tmp_path / "speck.yaml"
    path.write_text(yaml.safe_dump(RECIPE))

    def start(*overrides):
        recipe = load_recipe(path, list(overrides))
        before = torch.get_num_threads()
        judge = runs.Judge(lambda *_: [], lambda *_: None, lambda *_: None)
        folder = runs.run(recipe, tmp_path / recipe.name, judge)
        torch.set_num_threads(before)
        return folder

    return start


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def untimed(folder):
    return [{k: v for k, v in row.items() if k not in TIMED} for row in rows(folder)]


def test_every_step_logs_what_it_promises_and_the_weights_move(start):
    folder = start()
    assert len(rows(folder)) == 4
    assert not [key for key in LOGGED if key not in rows(folder)[0]]
    first = rows(folder)[0]
    assert first["effective_ratio"] > 0 and first["grad_norm"] > 0 and 1.0 <= first["weight_mean"] <= 1.7 and first["drift"] < 0.05
    shown = [json.loads(line) for line in (folder / "stages/0-rl/rollouts.jsonl").read_text().splitlines()]
    assert shown[0]["step"] == 1 and len(shown[0]["rollouts"]) == 3
    for rollout in shown[0]["rollouts"]:
        assert len(rollout["tokens"]) == len(rollout["weights"])


def test_a_cut_run_continues_to_the_bit(start, monkeypatch):
    from training.stages.tw_grpo import TWGRPOStage

    whole = start("name=whole")
    original = TWGRPOStage.step

    class CutError(Exception):
        pass

    def cut(self, batch, step):
        if step == 3:
            raise CutError
        return original(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(TWGRPOStage, "step", cut)
        with pytest.raises(CutError):
            start("name=cut")
    cut_run = start("name=cut")
    a, b = (load_file(f / "stages/0-rl/checkpoint/model.safetensors") for f in (whole, cut_run))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert untimed(whole) == untimed(cut_run)


@pytest.mark.parametrize(
    "override",
    [
        "stages.rl.loss=grpo", "stages.rl.beta=0.05", "stages.rl.updates=2", "stages.rl.dynamic_sampling=drop", "stages.rl.dynamic_sampling=refill",
        "stages.rl.mask_truncated=true", "stages.rl.micro_tokens=8", "stages.rl.token_weights.mode=official", "stages.rl.token_weights.mode=none",
        "stages.rl.advantage={name: virtual_reward}",
    ],
)  # fmt: skip
def test_the_family_runs(start, override):
    folder = start("stages.rl.steps=2", override)
    assert all(row["loss"] is not None and row["skipped"] == 0 for row in rows(folder))
    if "beta" in override:
        assert rows(folder)[1]["kl"] > 0


def test_micro_batches_give_the_same_step(start):
    one, many = start("name=one", "stages.rl.steps=1"), start("name=many", "stages.rl.steps=1", "stages.rl.micro_tokens=8")
    assert rows(one)[0]["grad_norm"] == pytest.approx(rows(many)[0]["grad_norm"], rel=1e-4)
    assert rows(one)[0]["loss"] == pytest.approx(rows(many)[0]["loss"], abs=1e-5)


def test_an_unknown_reward_ends_the_run_before_it_starts(start):
    with pytest.raises(ValueError, match="unknown reward 'anser'; did you mean 'answer'"):
        start("stages.rl.rewards=[{name: anser}]")
