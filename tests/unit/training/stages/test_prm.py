"""The prm stage on a model of a few thousand parameters whose solutions are given: it learns, logs, resumes and leaves the policy alone."""

import json

import pytest
import torch
from safetensors.torch import load_file

TIMED = ("tokens_per_s", "generate_s", "label_s")


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
