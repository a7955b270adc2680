"""configs/video/tw_grpo_clevrer.yaml for real, at its smallest: CLEVRER files that the video world rendered -> SFT -> TW-GRPO -> evaluation."""

import functools
import json
from pathlib import Path

import pytest
import yaml

from data.render import render_format
from eval.results import read_results
from train import main

ROOT = Path(__file__).resolve().parents[2]
ITEMS = 12
SMALL = [
    "threads=1", "data.media.num_frames=4", "stages.sft.steps=2", "stages.sft.batch_size=4", "stages.sft.num_workers=0", "stages.tw_grpo.steps=2",
    "stages.tw_grpo.max_new_tokens=12", "evaluate.0.n=4", "evaluate.0.max_new_tokens=8",
]  # fmt: skip


@pytest.fixture
def rendered(tmp_path):
    """A data root with the recipe's files, rendered as its header says."""
    render_format("clevrer", "video", 6, ITEMS, 0, "train", tmp_path / "data" / "video_clevrer", ["counterfactual"])
    return tmp_path / "data"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """The recipe on the smallest model, from scratch, judged on CLEVRER's own layout too."""
    import training.tokenizer

    monkeypatch.setattr(training.tokenizer, "build_tokenizer", functools.partial(training.tokenizer.build_tokenizer, per_level=4))
    told = yaml.safe_load((ROOT / "configs/video/tw_grpo_clevrer.yaml").read_text())
    told["model"] = yaml.safe_load((ROOT / "configs/smoke/tiny.yaml").read_text())["model"]
    own = {
        "after": ["tw_grpo"],
        "benchmark": "clevrer",
        "path": "video_clevrer/questions/train.json",
        "n": 4,
        "protocol": "official",
        "max_new_tokens": 8,
    }
    told["evaluate"].append(own)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(told))
    return path


def test_it_trains_on_rendered_files_and_is_evaluated(recipe, rendered, tmp_path):
    assert main([str(recipe), *SMALL, f"data.root={rendered}", "--runs", str(tmp_path / "runs"), "--debug"]) == 0
    run = tmp_path / "runs" / "video_tw_grpo_clevrer"
    steps = [row for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if row.get("stage") == "tw_grpo"]
    assert [row["step"] for row in steps] == [1, 2]
    assert all(any(key.startswith("reward") for key in row) for row in steps)
    rows = [(row["stage"], row["benchmark"], row["n"]) for row in read_results(run)["evaluations"]]
    assert rows == [("sft", "world/video", 4), ("tw_grpo", "world/video", 4), ("tw_grpo", "clevrer", 4)]
    assert (run / "report.html").is_file() and (run / "release" / "model.safetensors").is_file()
    assert not (run / "quarantine.jsonl").is_file() or not (run / "quarantine.jsonl").read_text()


def test_without_the_files_it_says_what_is_missing(recipe, tmp_path, capsys):
    assert main([str(recipe), *SMALL, f"data.root={tmp_path / 'nowhere'}", "--runs", str(tmp_path / "runs")]) == 2
    message = capsys.readouterr().err
    assert "video_clevrer/questions/train.json" in message and "Traceback" not in message
