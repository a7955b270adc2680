"""The prm stage on a model of a few thousand parameters whose solutions are given: it learns, logs, resumes and leaves the policy alone."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

from configs.load import load_recipe
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
    "data": {"sources": {"easy": {"world": "vision", "level": 1, "families": ["bar"]}}},
    "stages": [{"mixture": {"easy": 1.0}, "batch_size": 4, "num_workers": 0, "save_every": 2, "name": "prm", "kind": "prm", "steps": 4,
                "num_generations": 2, "max_new_tokens": 4, "lr": 0.01, "heldout": 0}],
}  # fmt: skip
TIMED = ("tokens_per_s", "generate_s", "label_s")


@pytest.fixture(scope="module")
def tokenizer():
    from training.tokenizer import build_tokenizer

    return build_tokenizer(["vision"], 512, per_level=2)


@pytest.fixture
def start(tmp_path, tokenizer, monkeypatch):
    import training.tokenizer
    from training.stages import prm

    monkeypatch.setattr(training.tokenizer, "build_tokenizer", lambda *_: tokenizer)
    draw = prm.roll_out

    def answering(model, processor, rows, how, terms, ledger, seed):
        """Random weights never answer, so their completions are replaced by gold ones, half of them with a wrong step or answer."""
        from data import protocol
        from data.step_errors import corrupt

        rollouts = draw(model, processor, rows, how, terms, ledger, seed)
        for i, record in enumerate(rollouts.records):
            rollouts.texts[2 * i] = protocol.completion(record)
            rollouts.texts[2 * i + 1] = corrupt(record, generator(*seed, i))
        return rollouts

    monkeypatch.setattr(prm, "roll_out", answering)
    path = tmp_path / "speck.yaml"
    path.write_text(yaml.safe_dump(RECIPE))

    def start(*overrides):
        recipe = load_recipe(path, list(overrides))
        before = torch.get_num_threads()
        folder = runs.run(recipe, tmp_path / recipe.name, runs.Judge(lambda *_: [], lambda *_: None, lambda *_: None))
        torch.set_num_threads(before)
        return folder

    return start


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_and_leaves_the_policy_alone(start):
    folder = start("stages.prm.steps=12")
    first, last = rows(folder)[0], rows(folder)[-1]
    assert first["loss"] == pytest.approx(0.693147, abs=1e-5)  # undecided at the start
    assert last["loss"] < first["loss"] - 0.02
    assert first["scored"] == 1 and first["distinct"] == 1 and 0 < first["share_right"] < 1
    weights = load_file(folder / "stages/0-prm/checkpoint/model.safetensors")
    assert weights["judge.weight"].shape == (2, 16)
    manifest = json.loads((folder / "stages/0-prm/done.json").read_text())
    assert manifest["label_source"] == "verifier" and manifest["supervise"] == "all"


def test_a_cut_run_continues_to_the_bit(start, monkeypatch):
    from training.stages.prm import PRMStage

    options = ("stages.prm.passes=2", "stages.prm.minibatches=2")
    whole, original = start("name=whole", *options), PRMStage.step

    class CutError(Exception):
        pass

    def cut(self, batch, step):
        if step == 3:
            raise CutError
        return original(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(PRMStage, "step", cut)
        with pytest.raises(CutError):
            start("name=cut", *options)
    again = start("name=cut", *options)
    a, b = (load_file(f / "stages/0-prm/checkpoint/model.safetensors") for f in (whole, again))
    assert all(torch.equal(a[name], b[name]) for name in a)
    strip = lambda folder: [{k: v for k, v in row.items() if k not in TIMED} for row in rows(folder)]  # noqa: E731
    assert strip(whole) == strip(again)


@pytest.mark.parametrize(
    "override",
    [
        "stages.prm.balance=equal", "stages.prm.supervise=perception", "stages.prm.supervise=outcome", "stages.prm.rank_weight=1",
        "stages.prm.value_weight=1", "stages.prm.mixed_only=true", "stages.prm.inject=1", "stages.prm.form=teacher_forced",
        "stages.prm.lora={rank: 2}", "stages.prm.passes=2", "stages.prm.minibatches=2",
    ],
)  # fmt: skip
def test_its_options_run(start, override):
    folder = start("stages.prm.steps=2", override)
    found = rows(folder)
    assert len(found) == 2 and all(row["loss"] is not None and row["skipped"] == 0 and row["grad_norm"] > 0 for row in found)


def test_micro_batches_give_the_same_step(start):
    options = ("stages.prm.steps=1", "stages.prm.balance=equal")
    one, many = start("name=one", *options), start("name=many", *options, "stages.prm.micro_tokens=8")
    assert rows(one)[0]["grad_norm"] == pytest.approx(rows(many)[0]["grad_norm"], rel=1e-4)
    assert rows(one)[0]["loss"] == pytest.approx(rows(many)[0]["loss"], abs=1e-5)
    assert rows(one)[0]["accuracy"] == rows(many)[0]["accuracy"]


def test_outcome_supervision_learns_from_answers_alone(start):
    assert rows(start("stages.prm.steps=1", "stages.prm.supervise=outcome"))[0]["unmeasured"] > 0.4
