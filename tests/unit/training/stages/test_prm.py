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
        "stages.prm.likelihood=true", "stages.prm.lm_weight=1", "stages.prm.gold=true",
    ],
)  # fmt: skip
def test_its_options_run(start, override):
    folder = start("stages.prm.steps=2", override)
    found = rows(folder)
    assert len(found) == 2 and all(row["loss"] is not None and row["skipped"] == 0 and row["grad_norm"] > 0 for row in found)


def test_gold_steps_learn_what_is_likely_and_judge_nothing(start):
    folder = start(
        "stages.prm.steps=3", "stages.prm.gold_steps=2", "stages.prm.lm_weight=1", "stages.prm.likelihood=true", "stages.prm.value_weight=1"
    )
    found = rows(folder)
    assert [row["unmeasured"] for row in found] == [1, 1, 0] and "pass_rate" not in found[0] and "pass_rate" in found[2]
    assert found[1]["loss"] < found[0]["loss"] and all(row["grad_norm"] > 0 for row in found)


def test_gold_steps_without_a_loss_on_them_are_refused(start):
    with pytest.raises(ValueError, match="gold_steps needs a mixture"):
        start("stages.prm.gold_steps=2")


def test_micro_batches_give_the_same_step(start):
    options = ("stages.prm.steps=1", "stages.prm.balance=equal")
    one, many = start("name=one", *options), start("name=many", *options, "stages.prm.micro_tokens=8")
    assert rows(one)[0]["grad_norm"] == pytest.approx(rows(many)[0]["grad_norm"], rel=1e-4)
    assert rows(one)[0]["loss"] == pytest.approx(rows(many)[0]["loss"], abs=1e-5)
    assert rows(one)[0]["accuracy"] == rows(many)[0]["accuracy"]


def test_outcome_supervision_learns_from_answers_alone(start):
    assert rows(start("stages.prm.steps=1", "stages.prm.supervise=outcome"))[0]["unmeasured"] > 0.4


def test_held_out_scores_and_a_report_on_the_labels(start, monkeypatch):
    folder = start("stages.prm.steps=2", "stages.prm.heldout=6", "stages.prm.value_weight=1", "stages.prm.inject=1") / "stages/0-prm"
    lines = [json.loads(line) for line in (folder / "step_scores.jsonl").read_text().splitlines()]
    assert len({line["id"] for line in lines}) == 6 and len(lines) == 12  # injected errors are for training alone
    for line in lines:
        assert len(line["scores"]) == len(line["labels"]) == len(line["kinds"]) + 1 and line["modality"] == "image" and line["pass_rate"] <= 1
        assert all(0 < score < 1 for score in line["scores"]) and 0 < line["value"] < 1
    assert json.loads((folder / "label_report.json").read_text())["agreement"]["steps"] == 1.0
    assert json.loads((folder / "done.json").read_text())["heldout"] == {"prompts": 6, "solutions": 12, "split": "dev"}
    from eval.prm_report import write_metrics

    assert write_metrics(folder)["all"]["answers"]["n"] == 12


SCRIPT = """
import sys
import numpy as np
from transformers import AutoModel, AutoProcessor
folder = sys.argv[1]
prm = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
batch = processor(text=["<|image|>?<think>red: 7<|step|></think><answer>7</answer><|step|>"], media=[[np.zeros((32, 32, 3), np.uint8)]])
scores = prm.step_scores(**batch)
print(type(prm).__name__, len(scores[0]), round(scores[0][1], 5), type(prm).__module__.split(".")[0])
"""


def test_the_release_loads_in_a_fresh_process_and_its_card_says_where_labels_came_from(start, tmp_path):
    import os
    import subprocess
    import sys

    import numpy as np

    from models.prm import FocalPRM
    from models.processing import FocalProcessor

    folder = start("release=true", "stages.prm.steps=2", "stages.prm.lora={rank: 2}") / "prm"
    card = (folder / "README.md").read_text()
    assert "Source of the labels: **verifier** (every step and answer judged exactly" in card and "easy (1)" in card
    environment = {"PATH": os.environ["PATH"], "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    name, count, score, module = done.stdout.split()
    assert (name, count, module) == ("FocalPRM", "2", "transformers_modules")
    mine, processor = FocalPRM.from_pretrained(folder).eval(), FocalProcessor.from_pretrained(folder)
    text = "<|image|>?<think>red: 7<|step|></think><answer>7</answer><|step|>"
    batch = processor(text=[text], media=[[np.zeros((32, 32, 3), np.uint8)]])
    assert mine.step_scores(**batch)[0][1] == pytest.approx(float(score), abs=2e-5)
    assert mine.config.lora is None and not any("lora" in n for n, _ in mine.named_parameters())


def test_monte_carlo_labels_in_the_stage(start, monkeypatch):
    from data.step_labels import Estimate
    from training import step_labeller

    monkeypatch.setattr(
        step_labeller,
        "measure_steps",
        lambda model, processor, batch, drawn, settings, seed: [[Estimate(1, 2)] * len(d.solution.steps) for d in drawn],
    )
    folder = start("stages.prm.steps=2", "stages.prm.labels={source: monte_carlo, samples: 2, soft: true}", "stages.prm.heldout=4")
    report = json.loads((folder / "stages/0-prm/label_report.json").read_text())
    assert report["sources"] == {"monte_carlo": 8} and report["histogram"][5] == report["steps"] and report["noise"]["completions"] == 2
    assert json.loads((folder / "stages/0-prm/done.json").read_text())["label_source"] == "monte_carlo"
    lines = (folder / "stages/0-prm/step_scores.jsonl").read_text().splitlines()
    assert any(0 in json.loads(line)["labels"][:-1] for line in lines)  # held against exact labels whatever the model learned from


def test_what_a_run_leaves_is_judged_on_fresh_questions(start, monkeypatch, tmp_path, capsys):
    from configs.load import load_recipe
    from data import protocol
    from eval.__main__ import main
    from reasoning.policy import ModelPolicy
    from reasoning.trace import Generation
    from training.build import build_reasoner

    def saying(text_of):
        def sample(self, asked, ks, temperature, max_new_tokens):
            return [[Generation(k, 0, text_of(item.record), 9, True) for k in ks[i]] for i, item in enumerate(asked)]

        monkeypatch.setattr(ModelPolicy, "sample", sample)

    run, out = start("stages.prm.steps=2"), tmp_path / "fresh"
    for part in build_reasoner(load_recipe(tmp_path / "speck.yaml")):
        part.save_pretrained(tmp_path / "policy")
    asked = ["--benchmark", "world/vision", "--n", "3", "--samples", "2", "--out", str(out), "--json"]
    command = ["prm", "--model", str(tmp_path / "policy"), "--scorer", f"prm:{run}", *asked]
    saying(lambda record: "no tags at all")
    assert main(command) == 2 and "no completion had an answer" in capsys.readouterr().err
    saying(protocol.completion)
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)[str(out)]["all"]["solutions"] == 6
    lines = [json.loads(line) for line in (out / "step_scores.jsonl").read_text().splitlines()]
    assert [line["count"] for line in lines] == [2, 2, 2] and all(0 < score < 1 for line in lines for score in line["scores"])
    assert main([*command, "--scorer", "self_judge"]) == 0  # the policy as the judge of itself, and no other model is looked for
    mine = [json.loads(line) for line in (out / "step_scores.jsonl").read_text().splitlines()]
    assert [len(line["scores"]) for line in mine] == [len(line["scores"]) for line in lines] and mine != lines
    assert main([*command, "--scorer", "random"]) == 2 and "no score to every step" in capsys.readouterr().err
