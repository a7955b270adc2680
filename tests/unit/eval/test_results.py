"""The contract of results.json: its keys, its checks, and that a file is whole or not there."""

import json

import pytest

from eval.provenance import commit, model_fingerprint, prompt_sha256
from eval.results import ROW_KEYS, Evaluation, check_row, mean_effective_ratio, merge_rows, read_results, write_atomic, write_results


def row(**changes):
    base = {
        "stage": "sft", "benchmark": "world/audio", "modality": "audio", "level": 3, "strategy": "greedy", "scorer": None, "samples": 1,
        "temperature": 0.0, "seed": 0, "protocol": "strict", "n": 400, "score": 0.71, "ci95": [0.66, 0.75],
        "controls": {"blank_media": 0.27, "shuffled_media": 0.25}, "effective_ratio": None,
        "tokens": {"sequential": 31.2, "total": 31.2, "scorer_total": 0.0}, "prompt_sha256": "ab", "extractor": "tags/1",
        "per_item": "stages/0-sft/eval/world-audio-3.jsonl",
    }  # fmt: skip
    return base | changes


def test_the_schema_is_the_contract():
    assert set(Evaluation.model_fields) == set(ROW_KEYS) == set(row())


def test_write_and_read_keep_the_rows_and_the_extra_keys(tmp_path):
    rows = [row(), row(stage="tw_grpo", breakdown={"family": {}}, level=None)]
    path = write_results(tmp_path, {"name": "quickstart", "seed": 0}, rows, {"data": 20.1, "sft": 180.0})
    assert path == tmp_path / "results.json"
    tree = read_results(tmp_path)
    assert tree == read_results(path)
    assert (tree["schema"], tree["recipe"], tree["wall_s"]) == (1, "quickstart", {"data": 20.1, "sft": 180.0})
    assert tree["evaluations"] == json.loads(json.dumps(rows))
    assert tree["commit"] == commit() and "torch" in tree["device"]
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]  # nothing temporary is left


def test_the_effective_ratio_is_meaned_over_the_steps_of_a_stage(tmp_path):
    assert mean_effective_ratio(tmp_path, "rl") is None
    steps = [
        ("sft", {}),
        ("rl", {"effective_ratio": 0.5}),
        ("rl", {"effective_ratio": 0.25}),
        ("rl", {"effective_ratio": None}),
        ("more", {"effective_ratio": 1.0}),
    ]
    lines = [json.dumps({"stage": stage, "step": i, **metrics}) + "\n" for i, (stage, metrics) in enumerate(steps)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines) + '{"stage": "rl", "effective_')
    assert (mean_effective_ratio(tmp_path, "rl"), mean_effective_ratio(tmp_path, "sft")) == (0.375, None)
    assert mean_effective_ratio(tmp_path) == round(1.75 / 3, 4)


@pytest.mark.parametrize("key", ROW_KEYS)
def test_a_row_without_a_key_is_refused_by_name(key):
    broken = row()
    del broken[key]
    with pytest.raises(ValueError, match=key):
        check_row(broken)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"score": 71.0}, "score"), ({"ci95": [0.8, 0.7]}, "ci95"), ({"controls": {"blank_media": 27}}, "blank_media"), ({"samples": 0}, "samples"),
        ({"score": float("nan")}, "score"), ({"tokens": {"total": 1.0}}, "tokens.sequential"), ({"n": -1}, "n"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_by_name(changes, named):
    with pytest.raises(ValueError, match=named):
        check_row(row(**changes))


def test_an_invalid_row_leaves_the_old_file_alone(tmp_path):
    write_results(tmp_path, {"name": "a"}, [row()], {})
    with pytest.raises(ValueError, match="score"):
        write_results(tmp_path, {"name": "a"}, [row(score=2.0)], {})
    assert read_results(tmp_path)["evaluations"][0]["score"] == 0.71


@pytest.mark.parametrize(
    ("text", "named"), [("{", "not valid JSON"), ("[]", "not a JSON object"), ('{"schema": 2}', "schema 2"), ('{"schema": 1}', "recipe")]
)
def test_a_file_that_is_no_results_file_says_why(tmp_path, text, named):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=named):
        read_results(tmp_path)


def test_a_run_without_results_says_so(tmp_path):
    with pytest.raises(ValueError, match="no results"):
        read_results(tmp_path)


def test_the_same_measurement_takes_the_place_of_the_older_one():
    merged = merge_rows([row(score=0.70), row(stage="base")], [row(score=0.72), row(strategy="sample", temperature=1.0)])
    assert [(r["stage"], r["strategy"], r["score"]) for r in merged] == [("sft", "greedy", 0.72), ("base", "greedy", 0.71), ("sft", "sample", 0.71)]


def test_atomic_write_makes_folders_and_replaces(tmp_path):
    path = write_atomic(tmp_path / "a" / "b.txt", "one")
    write_atomic(path, "two")
    assert path.read_text() == "two" and len(list(path.parent.iterdir())) == 1


def test_prompt_hash_keeps_borders():
    assert prompt_sha256(["ab", "c"]) != prompt_sha256(["a", "bc"])
    assert prompt_sha256(["ab", "c"]) == prompt_sha256(iter(["ab", "c"]))


def test_fingerprint_sees_one_changed_weight():
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(300, 50)
    before = model_fingerprint(model)
    assert before == model_fingerprint(model)
    with torch.no_grad():
        model.weight[17, 211] += 0.25
    assert model_fingerprint(model) != before
    assert model_fingerprint(object()) == "object"
