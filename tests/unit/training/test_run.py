"""A whole run on a model of a few thousand parameters: what it leaves, how it resumes, what it refuses."""

import json
import types

import pytest
import torch
import yaml

from configs.load import load_recipe
from training import run as runs
from training.stages.sft import SFTStage

RECIPE = {
    "name": "speck",
    "threads": 1,
    "model": {
        "llm": {
            "config": {
                "model_type": "qwen3",
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "head_dim": 8,
                "tie_word_embeddings": True,
            }
        },
        "tokenizer": {"worlds": ["vision"], "vocab_size": 512},
        "streams": {"image": {"encoder": {"name": "conv", "kind": "image", "width": 16, "depth": 1, "heads": 2, "size": 32}}},
    },
    "data": {"sources": {"easy": {"world": "vision", "level": 1}}},
    "stages": [
        {"name": "sft", "kind": "sft", "mixture": {"easy": 1.0}, "steps": 3, "batch_size": 2, "num_workers": 0, "save_every": 2},
        {"name": "align", "kind": "align", "mixture": {"easy": 1.0}, "steps": 2, "batch_size": 2, "num_workers": 0},
    ],
    "evaluate": [{"benchmark": "world/vision", "level": 1, "after": ["base", "sft"]}, {"benchmark": "world/vision", "level": 2}],
    "release": False,
}


@pytest.fixture(scope="module")
def tokenizer():
    from training.tokenizer import build_tokenizer

    return build_tokenizer(["vision"], 512, per_level=2)


@pytest.fixture
def start(tmp_path, tokenizer, monkeypatch):
    """Runs the recipe with overrides in `tmp_path/<name>` and returns what the judge was asked, as (stage, levels)."""
    import training.tokenizer

    monkeypatch.setattr(training.tokenizer, "build_tokenizer", lambda *_: tokenizer)
    path = tmp_path / "speck.yaml"
    path.write_text(yaml.safe_dump(RECIPE))

    def start(*overrides):
        asked = []

        def evaluate(model, processor, recipe, wanted, stage, run_dir):
            asked.append((stage, [e.level for e in wanted]))
            return [{"stage": stage}]

        def write_results(run_dir, recipe, rows, seconds):
            (run_dir / "results.json").write_text(json.dumps([rows, sorted(seconds)]))

        def write_report(run_dir):
            (run_dir / "report.html").write_text("report")

        recipe = load_recipe(path, list(overrides))
        before = torch.get_num_threads()
        folder = runs.run(recipe, tmp_path / recipe.name, runs.Judge(evaluate, write_results, write_report))
        torch.set_num_threads(before)
        return asked, folder

    return start


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "checkpoint" / "model.safetensors")


def test_a_run_leaves_everything_it_promises(start):
    asked, folder = start()
    assert asked == [("base", [1]), ("sft", [1]), ("align", [2])]
    rows, phases = json.loads((folder / "results.json").read_text())
    assert rows == [{"stage": "base"}, {"stage": "sft"}, {"stage": "align"}]
    assert phases == ["align", "build", "eval_align", "eval_base", "eval_sft", "report", "sft"]
    assert {p.name for p in (folder / "stages").iterdir()} == {"0-sft", "1-align"}
    assert json.loads((folder / "stages" / "0-sft" / "done.json").read_text())["steps"] == 3
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in metrics] == [("sft", 1), ("sft", 2), ("sft", 3), ("align", 1), ("align", 2)]
    assert (folder / "recipe.yaml").is_file() and (folder / "report.html").is_file()


def test_a_run_ends_with_the_split_of_its_wall_time(start, capsys):
    _, folder = start()
    phases = json.loads((folder / "phases.json").read_text())
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"wall time {sum(phases.values()):.1f} s: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in phases.items())
    )
    assert list(phases) == ["build", "eval_base", "sft", "eval_sft", "align", "eval_align", "report"]


def test_align_trains_the_projectors_alone(start):
    _, folder = start("stages.align.lr=0.05")
    before, after = weights(folder / "stages" / "0-sft"), weights(folder / "stages" / "1-align")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert {name for name in changed if ".projector." not in name} == set()


def test_a_finished_run_is_not_done_again_and_its_weights_are_loaded(start):
    _, folder = start()
    metrics = (folder / "metrics.jsonl").read_text()
    stamps = {p: p.stat().st_mtime_ns for p in folder.glob("stages/*/checkpoint/model.safetensors")}
    start()
    assert (folder / "metrics.jsonl").read_text() == metrics
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps


@pytest.mark.parametrize("moment", ["in the steps", "before the weights are kept", "before the mark"])
def test_a_run_that_was_cut_ends_with_the_same_weights(start, monkeypatch, moment):
    from training.loop import Loop
    from training.stages import context, sft

    class CutError(Exception):
        pass

    def cut(*_args, **_options):
        raise CutError

    _, whole = start("name=whole")
    with monkeypatch.context() as patch:
        if moment == "in the steps":
            original = sft.supervised_step
            patch.setattr(sft, "supervised_step", lambda m, c, b, step: cut() if step == 2 else original(m, c, b, step))
        elif moment == "before the mark":
            patch.setattr(Loop, "close", cut)
        else:
            patch.setattr(context, "finish_weights", cut)
        with pytest.raises(CutError):
            start("name=cut")
    asked, folder = start("name=cut")
    assert [stage for stage, _ in asked] == ["base", "sft", "align"]
    for stage in ("0-sft", "1-align"):
        a, b = weights(whole / "stages" / stage), weights(folder / "stages" / stage)
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_adapters_resume_exactly_dropout_included(start, monkeypatch):
    from training.stages import sft

    class CutError(Exception):
        pass

    def cut_at_two(model, context, batch, step):
        if step == 2:
            raise CutError
        return original(model, context, batch, step)

    original = sft.supervised_step
    lora = "model.lora={rank: 2, dropout: 0.5, targets: [q_proj], parts: [llm]}"
    _, whole = start("name=whole", lora)
    with monkeypatch.context() as patch:
        patch.setattr(sft, "supervised_step", cut_at_two)
        with pytest.raises(CutError):
            start("name=cut", lora)
    _, folder = start("name=cut", lora)
    a, b = weights(whole / "stages" / "0-sft"), weights(folder / "stages" / "0-sft")
    assert any(name.endswith("lora_B.default.weight") and tensor.any() for name, tensor in a.items())
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_sinks_are_closed_when_a_run_ends_with_an_error(start, monkeypatch):
    from training.stages import sft

    class Kept:
        closed = 0

        def __init__(self, run_dir):
            self.rows = []

        def write(self, row):
            self.rows.append(row)

        def close(self):
            Kept.closed += 1

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(runs, "SINKS", type("Table", (), {"get": staticmethod(lambda name: Kept)}))
    with monkeypatch.context() as patch:
        patch.setattr(sft, "supervised_step", fail)
        with pytest.raises(OSError, match="disk full"):
            start("sinks=[kept]")
    assert Kept.closed == 1
    start("sinks=[kept]")
    assert Kept.closed == 2


def test_half_precision_only_where_the_device_computes_in_it(monkeypatch):
    from training.stages.context import StageContext

    def context(dtype, device):
        accelerator = types.SimpleNamespace(device=torch.device(device))
        return StageContext(types.SimpleNamespace(dtype=dtype), None, None, None, accelerator, None)

    with context("bfloat16", "cpu").autocast():
        assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    with context("float32", "cpu").autocast():
        assert not torch.is_autocast_enabled("cpu")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)  # as on a card before Ampere
    with context("bfloat16", "cuda").autocast():
        assert not torch.is_autocast_enabled("cuda")


def test_a_directory_of_another_recipe_is_refused(start):
    start()
    with pytest.raises(ValueError, match=r"speck holds a run of a different recipe.*name="):
        start("seed=5")


def test_the_same_seed_gives_the_same_weights_and_another_one_others(start):
    folders = [start(f"name={name}", f"seed={seed}")[1] for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    a, b, c = (weights(folder / "stages" / "1-align") for folder in folders)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


def test_only_the_completion_is_learned(start, monkeypatch):
    """Labels are -100 on the prompt, on media and on padding, and the completion elsewhere, its end token included."""
    from training.stages import sft

    batches = []
    original = sft.supervised_step
    monkeypatch.setattr(sft, "supervised_step", lambda m, c, b, step: (batches.append((c, b)), original(m, c, b, step))[1])
    start("stages.sft.steps=1")
    context, batch = batches[0]
    decode = context.processor.tokenizer.decode
    for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        learned = labels != -100
        assert torch.equal(ids[learned], labels[learned]) and mask[learned].all()
        text = decode(ids[learned])
        assert text.startswith("<think>") and text.endswith("</answer><|end|>")
        first = int(learned.nonzero()[0])
        assert decode(ids[:first]).endswith("<|assistant|>") and not learned[:first].any()


def test_stage_classes_say_their_configuration():
    assert SFTStage.config_class(name="s", kind="sft", mixture={}, steps=1, batch_size=1).steps_in_completion is True
