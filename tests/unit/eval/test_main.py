"""The command line: exit codes, JSON on request, and what it finds by itself."""

import json
import shutil

import pytest

from eval.__main__ import main
from eval.loading import find_model, load_reasoner
from eval.results import write_results
from eval.run import evaluate
from eval.run_cli import book, named_things, parse_options, stage_dir


def test_list_names_what_is_registered(capsys):
    assert main(["list", "--json"]) == 0
    things = json.loads(capsys.readouterr().out)
    assert things == named_things()
    assert "strict" in things["benchmark"]["world"] and "world/audio" in things["benchmark"]["world"]
    assert things["benchmark"]["mathvista"].endswith("(mathvista/testmini, mathvista/test)"), things["benchmark"]["mathvista"]
    assert {"audio", "video", "vision"} <= set(things["world"]) and "conv" in things["encoder"] and "greedy" in things["strategy"]
    assert "blank_media" in things["control"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--model", "no/such/model", "--benchmark", "world/audio"], "no/such/model"),
        (["run", "--model", ".", "--benchmark", "world/sound"], "unknown world 'sound'"),
        (["run", "--model", ".", "--benchmark", "world/audio", "--control", "nothing"], "unknown control 'nothing'"),
        (["run", "--model", ".", "--benchmark", "mmau/nonsense"], "no variant 'nonsense' (variants: mini, full)"),
        (["score", "gsm8k/train", "predictions.json"], "no variant 'train' (variants: none)"),
        (["run", "--model", ".", "--benchmark", "world/audio", "--level", "99"], "level 99 is not one of the levels 1, 2"),
        (["run", "--model", ".", "--benchmark", "world/audio", "--n", "0"], "greater than or equal to 1"),
        (["run", "--model", ".", "--benchmark", "world/audio", "--strategy", "majority", "n=0"], "strategy 'majority': n 0"),
        (["run", "--model", ".", "--benchmark", "world/audio", "--strategy", "majority", "nn=8"], "no option 'nn'"),
        (["run", "--model", ".", "--benchmark", "world/audio", "--strategy", "best_of_n", "scorer=prmm"], "unknown scorer 'prmm'"),
        (["compare", "no/a", "no/b"], "no results at"),
        (["report", "no/run"], "no run directory at no/run"),
        (["leaderboard", "tests"], "holds results"),
    ],
)
def test_a_users_mistake_exits_2_and_says_what(arguments, said, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="no/run"):
        main(["--debug", "report", "no/run"])


def test_options_of_a_strategy_are_typed():
    assert parse_options(["temperature=0.7", "n=16", "scorer=prm:runs/x"]) == {"temperature": 0.7, "n": 16, "scorer": "prm:runs/x"}
    with pytest.raises(ValueError, match="key=value"):
        parse_options(["n"])


def checkpoint(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_a_model_is_found_in_whatever_is_named(tmp_path):
    run = tmp_path / "run"
    first, second = checkpoint(run / "stages/0-align/checkpoint"), checkpoint(run / "stages/1-sft/checkpoint")
    with pytest.raises(ValueError, match="neither a model"):
        find_model(run)
    (run / "recipe.yaml").write_text("name: x\n")
    assert (find_model(run).folder, find_model(run).stage) == (second, "sft")
    assert (find_model(run, "align").folder, find_model(run, "align").run) == (first, run)
    with pytest.raises(ValueError, match="finished: align, sft"):
        find_model(run, "prm")
    release = checkpoint(run / "release")
    assert (find_model(run).folder, find_model(run).stage) == (release, "sft")
    assert (find_model(first).stage, find_model(first).run) == ("align", run.resolve())
    assert find_model(checkpoint(tmp_path / "elsewhere")).stage == "elsewhere"
    assert stage_dir(run, "sft").name == "1-sft" and stage_dir(run, "base").name == "base"


def test_a_reward_model_is_never_taken_for_a_policy(tmp_path):
    run = tmp_path / "run"
    for name, config in (("0-sft", {}), ("1-prm", {"step_token_id": 5})):
        folder = run / "stages" / name / "checkpoint"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config))
    (run / "recipe.yaml").write_text("name: x\n")
    assert find_model(run).stage == "sft"
    with pytest.raises(ValueError, match=r"reward model, not a policy; use it as a scorer \(prm:"):
        load_reasoner(find_model(run, "prm").folder)
    shutil.rmtree(run / "stages" / "0-sft")
    with pytest.raises(ValueError, match=r"holds only reward models \(prm\)"):
        find_model(run)
    begun = checkpoint(tmp_path / "begun")
    (run / "recipe.yaml").write_text(f"model: {{init: {begun}}}\n")
    assert (find_model(run).folder, find_model(run).stage, find_model(run).run) == (begun, "base", run)


def test_rows_are_booked_into_results_once(pictures, looker, tmp_path):
    row = evaluate(None, None, pictures(6), stage="sft", n=None, out_dir=tmp_path / "run", answerer=looker(), media={})
    book(tmp_path / "run", row, "model")
    book(tmp_path / "run", row | {"score": 0.5, "ci95": [0.2, 0.8]}, "model")
    tree = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [r["score"] for r in tree["evaluations"]] == [0.5] and tree["recipe"] == "model"


def test_compare_and_leaderboard_print(pictures, looker, tmp_path, capsys):
    for name, wrong in [("one", ["item-001"]), ("two", [])]:
        root = tmp_path / name
        row = evaluate(None, None, pictures(6), stage="sft", n=None, out_dir=root / "eval", root=root, answerer=looker(wrong=wrong), media={})
        write_results(root, {"name": name}, [row], {"sft": 1.0})
    (tmp_path / "empty").mkdir()
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "two"), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["only_a"], found["only_b"], found["n"]) == (0, 1, 6)
    page = tmp_path / "board.html"
    runs = [str(tmp_path / name) for name in ("one", "two", "empty")]
    assert main(["leaderboard", *runs, "--out", str(page)]) == 0
    text = page.read_text()
    assert text.index(">two<") < text.index(">one<") and "empty" in text and "http" not in text.replace("http://www.w3.org", "")
    assert "left out: empty" in capsys.readouterr().out
