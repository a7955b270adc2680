"""Checkpoints are complete, atomic and exact: a run that was cut anywhere ends with the very bits of one that was not."""

import json
import random

import numpy as np
import pytest
import torch
from torch import nn

from training import checkpoint
from training.optimizers import build_optimizers


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.dense = nn.Linear(4, 4)
        self.lm_head = nn.Linear(4, 5, bias=False)
        self.lm_head.weight = self.embed.weight

    def forward(self, ids):
        hidden = nn.functional.dropout(self.dense(self.embed(ids)), 0.3)  # draws from torch's generator
        return self.lm_head(hidden)


def make(seed=0):
    torch.manual_seed(seed)
    model = Tied()
    return model, build_optimizers(model, "muon", 0.01, 0.02, {}, 0.1)


def train(model, optimizers, steps):
    for step in steps:
        ids = torch.tensor([step % 5, int(np.random.randint(5)), random.randrange(5)])
        optimizers.zero_grad()
        nn.functional.cross_entropy(model(ids), ids.roll(1)).backward()
        optimizers.step()


def seed_all():
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)


def test_resuming_is_bitwise_the_same_as_never_having_stopped(tmp_path):
    whole, optimizers = make()
    seed_all()
    train(whole, optimizers, range(8))

    first, optimizers = make()
    seed_all()
    train(first, optimizers, range(5))
    checkpoint.save(tmp_path, 5, first, optimizers, {"place": 5})

    second, optimizers = make(seed=99)
    torch.manual_seed(7)  # the state of the process is different; all of it comes from the checkpoint
    step, extra = checkpoint.load(checkpoint.latest(tmp_path), second, optimizers)
    assert (step, extra) == (5, {"place": 5})
    train(second, optimizers, range(5, 8))
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), second.state_dict().values(), strict=True))
    assert second.lm_head.weight is second.embed.weight


def test_only_the_newest_are_kept(tmp_path):
    model, optimizers = make()
    for step in (1, 2, 10, 11):
        checkpoint.save(tmp_path, step, model, optimizers, {})
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000010", "step-00000011"]
    assert checkpoint.latest(tmp_path).name == "step-00000011"


def test_nothing_in_it_can_run_code(tmp_path):
    model, optimizers = make()
    train(model, optimizers, range(1))
    path = checkpoint.save(tmp_path, 1, model, optimizers, {})
    assert {file.suffix for file in path.iterdir()} == {".safetensors", ".json"}
    assert json.loads((path / "state.json").read_text())["step"] == 1


def test_a_crash_while_writing_leaves_the_former_one(tmp_path, monkeypatch):
    model, optimizers = make()
    checkpoint.save(tmp_path, 1, model, optimizers, {})

    def crash(*_):
        raise OSError("disk full")

    for name in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.os, name, crash)
            with pytest.raises(OSError, match="disk full"):
                checkpoint.save(tmp_path, 2, model, optimizers, {})
        assert checkpoint.latest(tmp_path).name == "step-00000001"
    assert checkpoint.save(tmp_path, 2, model, optimizers, {}) == checkpoint.latest(tmp_path)
    assert not list(tmp_path.glob(".tmp*"))


def test_an_empty_folder_has_none(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    (tmp_path / "step-00000003").mkdir()  # without its state it is not one
    assert checkpoint.latest(tmp_path) is None


def test_another_model_is_refused(tmp_path):
    model, optimizers = make()
    path = checkpoint.save(tmp_path, 1, model, optimizers, {})
    other = nn.ModuleDict({"other": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match="not a checkpoint of this model"):
        checkpoint.load(path, other, build_optimizers(other, "adamw", 1.0, 1.0, {}, 0.0))


def test_finish_marks_the_stage_and_drops_what_resuming_needed(tmp_path):
    model, optimizers = make()
    checkpoint.save(tmp_path, 1, model, optimizers, {})
    checkpoint.finish(tmp_path, json.dumps({"steps": 1}))
    assert [path.name for path in tmp_path.iterdir()] == ["done.json"]
    assert json.loads((tmp_path / "done.json").read_text()) == {"steps": 1}


class Whole(nn.Module):
    """Saves like a transformers model: one file, or several with an index where it is large."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

    def save_pretrained(self, folder, parts=1):
        from safetensors.torch import save_file

        folder.mkdir()
        state = self.state_dict()
        for i, names in enumerate([sorted(state)] if parts == 1 else [["a.weight", "a.bias"], ["b.weight", "b.bias"]]):
            save_file({n: state[n] for n in names}, folder / ("model.safetensors" if parts == 1 else f"model-0000{i + 1}-of-00002.safetensors"))


def test_a_stages_weights_are_on_disk_before_the_folder_has_its_name(tmp_path, monkeypatch):
    synced, model = [], Whole()
    processor = type("Processor", (), {"save_pretrained": lambda self, folder: (folder / "tokenizer.json").write_text("{}")})()
    monkeypatch.setattr(checkpoint, "_sync", lambda path: synced.append((path.name, (tmp_path / "checkpoint").exists())))
    checkpoint.finish_weights(tmp_path, model, processor)
    assert sorted(synced[:-1]) == [("model.safetensors", False), ("tokenizer.json", False)] and synced[-1] == (tmp_path.name, True)
    other = Whole()
    checkpoint.load_weights(tmp_path, other)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_stages_weights_may_lie_in_several_files(tmp_path):
    model, other = Whole(), Whole()
    model.save_pretrained(tmp_path / "checkpoint", parts=2)
    checkpoint.load_weights(tmp_path, other)
    assert torch.equal(model.b.weight, other.b.weight) and torch.equal(model.a.bias, other.a.bias)
    (tmp_path / "checkpoint" / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match="not of this model"):
        checkpoint.load_weights(tmp_path, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: there dropout draws from the CPU's generator, which the first test covers")
def test_the_generator_of_the_gpu_is_restored(tmp_path):
    model, optimizers = make()
    path = checkpoint.save(tmp_path, 1, model, optimizers, {})
    expected = torch.rand(3, device="cuda")
    checkpoint.load(path, model, optimizers)
    assert torch.equal(torch.rand(3, device="cuda"), expected)
