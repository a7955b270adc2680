"""docs/your_data.md, run: somebody's folder and JSONL -> SFT -> evaluation -> report -> release, with one bad file on the way."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image

from eval.results import read_results
from train import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/your_data.md").read_text()


def recipe_of_the_page(folder):
    """The page's recipe on `folder`, from the base checkpoint; where there is none, on the smallest model, from scratch."""
    block = next(b for b in PAGE.split("```yaml\n")[1:] if "reader: jsonl" in b)
    recipe = yaml.safe_load(block.split("```")[0])
    recipe["base"] = str(ROOT / "configs/quickstart.yaml")
    checkpoint, tiny = ROOT / "checkpoints/focal-nano-base", yaml.safe_load((ROOT / "configs/smoke/tiny.yaml").read_text())
    recipe["model"] = {"init": str(checkpoint)} if checkpoint.is_dir() else {"init": None, **tiny["model"]}
    recipe["data"]["sources"]["mine"]["path"] = recipe["evaluate"][0]["path"] = str(folder / "records.jsonl")
    return recipe | {"threads": 1}


@pytest.fixture(autouse=True)
def quick_tokenizer(monkeypatch):
    """Where the tokenizer is built anew, from fewer sentences than a real one."""
    import training.tokenizer

    monkeypatch.setattr(training.tokenizer, "build_tokenizer", functools.partial(training.tokenizer.build_tokenizer, per_level=4))


@pytest.fixture
def folder(tmp_path):
    """Twelve clips and twelve pictures; one clip is no sound at all."""
    home = tmp_path / "mydata"
    (home / "clips").mkdir(parents=True)
    (home / "photos").mkdir()
    rows = []
    for i in range(12):
        soundfile.write(home / f"clips/{i}.wav", np.sin(np.arange(8000) * 0.02 * (i + 1)).astype(np.float32) * 0.3, 16_000)
        Image.new("RGB", (64, 64), (20 * i, 0, 255 - 20 * i)).save(home / f"photos/{i}.png")
        split = "test" if i >= 8 else "train"
        common = {"split": split, "group": f"g{i}"}
        rows.append({"id": f"a{i}", "question": "Is it high?", "answer": ["yes" if i > 5 else "no"], "answer_type": "text",
                     "media": [{"kind": "audio", "path": f"clips/{i}.wav"}], **common})  # fmt: skip
        rows.append({"id": f"p{i}", "question": "Which color?", "options": ["red", "blue"], "answer": ["A" if i > 6 else "B"],
                     "answer_type": "choice", "media": [{"kind": "image", "path": f"photos/{i}.png"}], **common})  # fmt: skip
    (home / "clips/3.wav").write_bytes(b"this is no sound")
    (home / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return home


def test_the_page_runs(folder, tmp_path):
    recipe = recipe_of_the_page(folder)
    recipe["stages"][0] |= {"steps": 3, "batch_size": 8, "num_workers": 0}
    recipe["evaluate"][0] |= {"max_new_tokens": 12, "batch_size": 8}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main([str(folder / "recipe.yaml"), "--runs", str(tmp_path / "runs"), "--debug"]) == 0
    run = tmp_path / "runs" / "mine"
    row = read_results(run)["evaluations"][0]
    assert row["n"] == 8 and {"blank_media", "shuffled_media"} <= set(row["controls"])
    bad = [json.loads(line) for line in (run / "quarantine.jsonl").read_text().splitlines()]
    assert {b["file"].rpartition("/")[2] for b in bad} == {"3.wav"}
    assert "3.wav" in bad[0]["reason"]
    assert (run / "report.html").stat().st_size > 10_000
    assert (run / "release" / "README.md").is_file() and (run / "release" / "model.safetensors").is_file()


def test_a_wrong_letter_ends_it_before_it_starts(folder, tmp_path, capsys):
    lines = (folder / "records.jsonl").read_text().splitlines()
    lines[1] = lines[1].replace('"answer": ["B"]', '"answer": ["Q"]')
    (folder / "records.jsonl").write_text("\n".join(lines))
    recipe = recipe_of_the_page(folder)
    recipe["evaluate"] = []
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main([str(folder / "recipe.yaml"), "--runs", str(tmp_path / "runs")]) == 2
    message = capsys.readouterr().err
    assert "line 2" in message and "'Q'" in message and "Traceback" not in message
