"""One command prints what the published runs score, beside what was published."""

import json

import pytest

from eval.__main__ import main
from eval.replay import mmau_floor, pooled, replay


@pytest.fixture(scope="module")
def found(data_root):
    return replay(data_root)


def test_published_scores_come_out_with_every_cell_under_the_rule_of_their_time(found):
    assert {name: run["published"] for name, run in found["runs"].items()} == {
        "frequent_guess": 263, "idefics_9b_instruct": 198, "instruct_blip2_vicuna_13b": 253,
    }  # fmt: skip
    for run in found["runs"].values():
        assert run["correct"]["official-2023"] == run["published"] and run["n"] == 1000
        assert run["cells_same"]["official-2023"] == run["cells"] == 74
    assert found["runs"]["idefics_9b_instruct"]["correct"]["official"] == 200  # truncated integers are another rule


def test_queries_and_floors(found):
    assert found["queries"] == 1000
    assert found["floors"] == {"strict": 0, "official": 168, "official-2023": 168, "official-ignore-empty": 0}


def test_constant_answers_are_floors_of_the_official_rule(found):
    assert found["constants"] == {"": 168, "None": 170, "A": 179, "0": 191, "1": 200, "2": 231, "I cannot answer": 175, "N/A": 167}


def test_the_first_option_of_mmau(found):
    if found["mmau"] is None:
        pytest.skip("no mmau/mmau-test-mini.json below the data root")
    assert found["mmau"] == {"n": 1000, "correct": {"strict": 395, "official": 398}, "task": {"music": 0.3024, "sound": 0.4925, "speech": 0.3904}}


def test_mmau_is_optional(tmp_path):
    assert mmau_floor(tmp_path / "no.json") is None


def test_the_rules_agree_with_the_published_extractions(found):
    """At least 90 % of the responses that hold text; what the rules read is right more often than that."""
    together = found["agreement"]
    assert together["rows"] == 3000 and together["texts"] == 2657
    assert together["texts_same"] / together["texts"] >= 0.915
    assert together["parsed_same"] / together["parsed"] >= 0.96
    assert together["parsed"] / together["texts"] >= 0.82
    assert together == pooled([run["agreement"] for run in found["runs"].values()])


def test_it_is_one_command(data_root, capsys):
    assert main(["replay", "--data-root", str(data_root)]) == 0
    text = capsys.readouterr().out
    assert "1000 of 1000" in text and "263 of 1000" in text and "official 168" in text and "'2' 231" in text
    assert "strict 39.5%" in text or "MMAU: no" in text
    assert main(["replay", "--data-root", str(data_root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"]["frequent_guess"]["published"] == 263


def test_what_is_missing_is_listed(tmp_path, capsys):
    assert main(["replay", "--data-root", str(tmp_path)]) == 2
    assert "testmini.json" in capsys.readouterr().err
    (tmp_path / "mathvista").mkdir()
    (tmp_path / "mathvista" / "testmini.json").write_text("{}")
    (tmp_path / "scored").mkdir()
    (tmp_path / "scored" / "output_x.json").write_text("{}")
    assert main(["replay", "--data-root", str(tmp_path)]) == 2
    assert "scores_x.json" in capsys.readouterr().err
