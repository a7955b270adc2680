"""Studies, with a stand-in for train.py that writes results at once: what is run, in which order, from where, and what the table says."""

import json

import pytest
import yaml

from configs.load import load_recipe
from eval import study
from eval.study import best, run_study, table

STAND_IN = """
import json, pathlib, sys
recipe, *overrides, _, runs = sys.argv[1:]
import yaml
tree = yaml.safe_load(open(recipe))
run = pathlib.Path(runs) / tree["name"]
(run / "stages/0-learn").mkdir(parents=True)
(run / "asked.json").write_text(json.dumps([overrides, tree["seed"], tree["model"]["init"], [s["name"] for s in tree["stages"]]]))
if "fails" in overrides[0:1]:
    sys.exit("no such thing")
arm, seed = tree["name"].rpartition("-")[0], tree["seed"]
right = {"plain": 4, "better": 8}.get(arm, 6 if "lr=0.01" in str(overrides) else 2)
(run / "items.jsonl").write_text("".join(json.dumps({"id": f"i{i}", "correct": i < right}) + "\\n" for i in range(10)))
row = {"stage": "learn", "benchmark": "world/video", "modality": "video", "level": 3, "strategy": "greedy", "scorer": None, "samples": 1,
       "temperature": 0.0, "seed": 1, "protocol": "strict", "n": 10, "score": right / 10, "ci95": [0, 1], "controls": {}, "effective_ratio": None,
       "tokens": {"sequential": 1, "total": 1, "scorer_total": 0}, "prompt_sha256": "", "extractor": "", "per_item": "items.jsonl"}
(run / "results.json").write_text(json.dumps({"schema": 1, "recipe": "x", "commit": "", "device": "", "wall_s": {}, "evaluations": [row]}))
(run / "stages/0-learn/done.json").write_text(json.dumps({"tokens": 100 + seed, "steps": 5}))
(run / "metrics.jsonl").write_text(json.dumps({"effective_ratio": 0.5}) + "\\n")
"""
TINY = {
    "name": "duel", "model": {"llm": {"config": {}}, "tokenizer": {"worlds": ["video"]}}, "data": {"sources": {"v": {"world": "video"}}},
    "stages": [
        {"name": "warm", "kind": "sft", "mixture": {"v": 1.0}, "steps": 2, "batch_size": 2},
        {"name": "learn", "kind": "sft", "mixture": {"v": 1.0}, "steps": 2, "batch_size": 2},
    ],
    "evaluate": [{"benchmark": "world/video", "level": 3, "after": ["learn"]}],
    "study": {
        "arms": {"plain": [], "better": ["stages.learn.clip=0.5"]}, "baseline": "plain", "seeds": [0, 1], "start": "warm", "margin": 0.05,
        "sweep": {"key": "stages.learn.lr", "values": [0.001, 0.01], "select": {"benchmark": "world/video", "options": {"split": "dev"}}},
    },
}  # fmt: skip


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.setattr(study, "TRAIN", tmp_path / "stand_in.py")
    path = tmp_path / "duel.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def asked(folder):
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/asked.json")}


def test_arms_start_from_one_checkpoint_sweep_apart_and_are_compared_on_pairs(recipe, tmp_path):
    folder = run_study(recipe, tmp_path / "runs", jobs=2)
    runs = asked(folder)
    trials = {f"sweep-{arm}-{value}" for arm in ("plain", "better") for value in ("0.001", "0.01")}
    assert set(runs) == {"start-s0", "start-s1", "start-s100", *trials, *(f"{arm}-s{s}" for arm in ("plain", "better") for s in (0, 1))}
    assert runs["start-s1"] == [[], 1, None, ["warm"]]
    overrides, seed, init, stages = runs["better-s1"]
    assert overrides == ["stages.learn.clip=0.5", "stages.learn.lr=0.01"]  # the better value of its own sweep, behind what the arm is
    assert (seed, stages, init) == (1, ["learn"], str(folder / "start-s1/stages/0-warm/checkpoint"))
    assert runs["sweep-plain-0.001"][1:3] == [100, str(folder / "start-s100/stages/0-warm/checkpoint")]
    facts = json.loads((folder / "study.json").read_text())
    arms = facts["evaluations"][0]["arms"]
    assert arms["better"]["score"] == 0.8 and arms["better"]["by_seed"] == [0.8, 0.8]
    assert arms["better"]["difference"] == pytest.approx(0.4) and arms["better"]["verdict"] == "better"
    assert arms["plain"]["difference"] == 0.0 and facts["chosen"] == {"plain": 0.01, "better": 0.01}
    assert facts["sweep"]["plain"] == {"0.001": 0.2, "0.01": 0.6}
    assert facts["spent"]["plain"] == [
        {"tokens": 100.0, "steps": 5.0, "effective_ratio": 0.5},
        {"tokens": 101.0, "steps": 5.0, "effective_ratio": 0.5},
    ]
    text = (folder / "study.md").read_text()
    assert "| better | 0.01 | 80.0 [" in text and "+40.0 [" in text and "(n 10 per seed)" in text
    assert table(facts) == text


def test_finished_runs_are_not_run_again(recipe, tmp_path):
    folder = run_study(recipe, tmp_path / "runs")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/asked.json")}
    (folder / "better-s1/results.json").unlink()
    (folder / "better-s1/asked.json").unlink()
    for path in (folder / "better-s1/stages/0-learn", folder / "better-s1/stages"):
        [inner.unlink() for inner in path.iterdir()]
        path.rmdir()
    run_study(recipe, tmp_path / "runs")
    after = {path: path.stat().st_mtime_ns for path in folder.glob("*/asked.json")}
    assert [path.parent.name for path in after if after[path] != before[path]] == ["better-s1"]


def test_a_failed_run_is_named_with_its_log(recipe, tmp_path):
    with pytest.raises(ValueError, match=r"sweep-plain-0.001 ended with exit code 1: see .*sweep-plain-0.001.log"):
        run_study(recipe, tmp_path / "runs", ["study.arms.plain=[fails]"])
    assert "no such thing" in (tmp_path / "runs/duel/sweep-plain-0.001.log").read_text()


@pytest.mark.parametrize("override", ["evaluate.0.level=99", "study.sweep.select.level=99"])
def test_a_study_that_could_not_be_judged_trains_nothing(recipe, tmp_path, override):
    with pytest.raises(ValueError, match=r"(evaluate\.0|study\.sweep\.select) \(world/video\): level 99"):
        run_study(recipe, tmp_path / "runs", [override])
    assert not (tmp_path / "runs").exists()


def test_one_strategy_with_several_scorers_is_several_evaluations(recipe, tmp_path):
    """An arm may change a scorer, so rows pair by their place; it may leave out rows, and what the baseline was not judged on is named."""
    folder = run_study(recipe, tmp_path / "runs", ["study.sweep="])

    def search(arm, hits):
        for run in folder.glob(f"{arm}-s?"):
            tree = json.loads((run / "results.json").read_text())
            for scorer, right in hits.items():
                (run / f"{scorer}.jsonl").write_text("".join(json.dumps({"id": f"i{i}", "correct": i < right}) + "\n" for i in range(10)))
                searched = {"strategy": "best_of_n", "scorer": scorer, "samples": 8, "per_item": f"{scorer}.jsonl"}
                tree["evaluations"].append({**tree["evaluations"][0], **searched})
            (run / "results.json").write_text(json.dumps(tree))

    search("better", {"orm": 9, "random": 2})
    with pytest.raises(ValueError, match="arm 'better' was judged on what 'plain' was not"):
        run_study(recipe, tmp_path / "runs", ["study.sweep="])
    search("plain", {"prm": 6, "random": 3, "shortest": 1})
    run_study(recipe, tmp_path / "runs", ["study.sweep="])
    greedy, model, chance = json.loads((folder / "study.json").read_text())["evaluations"]
    assert [e["arms"]["better"]["score"] for e in (greedy, model, chance)] == [0.8, 0.9, 0.2]
    assert model["evaluation"].endswith("best_of_n after learn (best of n of 8 by prm)")
    assert chance["arms"]["plain"]["score"] == 0.3 and "(" not in greedy["evaluation"]


def test_strategies_of_the_baseline_are_compared_with_the_first_and_errors_found_are_pooled(recipe, tmp_path):
    """Majority right on 4 of 10, best-of-n on 9: +50 points at 8 tokens, 20 with the scorer's. Errors found: (10 x 0.5 + 30 x 0.1) / 40 = 0.2."""
    folder = run_study(recipe, tmp_path / "runs", ["study.sweep="])
    for number, run in enumerate(sorted(folder.glob("*-s?"))):
        if run.name.startswith("start"):
            continue
        tree = json.loads((run / "results.json").read_text())
        for strategy, scorer, right in (("majority", None, 4), ("best_of_n", "prm", 9)):
            (run / f"{strategy}.jsonl").write_text("".join(json.dumps({"id": f"i{i}", "correct": i < right}) + "\n" for i in range(10)))
            searched = {"strategy": strategy, "scorer": scorer, "samples": 8, "per_item": f"{strategy}.jsonl"}
            tokens = {"sequential": 1, "total": 8, "scorer_total": 12 if scorer else 0}
            tree["evaluations"].append({**tree["evaluations"][0], **searched, "tokens": tokens})
        tree["evaluations"] = tree["evaluations"][1:]
        (run / "results.json").write_text(json.dumps(tree))
        n, found = ((10, 0.5), (30, 0.1))[number % 2]
        kinds = {"perception": {"n": n, "found": found}, "reasoning": {"n": 0}}
        metrics = {"steps": {"auroc": 0.75}, "selection": {"pairs": 0.625}, "first_error_found": kinds}
        (run / "stages/0-learn/prm_metrics.json").write_text(json.dumps({"all": metrics}))
    run_study(recipe, tmp_path / "runs", ["study.sweep="])
    facts = json.loads((folder / "study.json").read_text())
    (place,) = facts["searches"]
    assert place == "world/video L3 strict" and list(facts["searches"][place]) == ["majority of 8", "best of n of 8 by prm"]
    assert facts["searches"][place]["best of n of 8 by prm"]["difference"] == pytest.approx(0.5)
    assert facts["errors"]["plain"]["perception"] == {"n": 40, "found": pytest.approx(0.2)} and facts["errors"]["plain"]["pairs"] == 0.625
    assert [e["evaluation"] for e in facts["evaluations"]] == ["world/video L3 strict best_of_n after learn"]  # no scorer has a part in a vote
    text = (folder / "study.md").read_text()
    assert (
        "| best of n of 8 by prm | 90.0 [" in text and "| better | 8 | 20 |" in text and "| plain | 0.750 | 0.62 | 20.0 % (40) | 0.0 % (0) |" in text
    )


def test_the_smallest_of_equally_good_values_is_chosen():
    assert best({0.1: 0.5, 0.01: 0.5, 0.001: 0.4}) == 0.01


def test_mistakes_are_named(recipe, tmp_path):
    with pytest.raises(ValueError, match="has no study: section"):
        run_study(recipe, tmp_path, ["study="])
    with pytest.raises(ValueError, match="baseline 'plane' is not one of the arms"):
        load_recipe(recipe, ["study.baseline=plane"])
    with pytest.raises(ValueError, match="start names stage 'worm'"):
        load_recipe(recipe, ["study.start=worm"])
