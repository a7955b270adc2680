"""A user's mistakes end with exit code 2 and one line that names what is wrong and where, before any work; `--debug` shows the traceback."""

import json

import pytest

from tests.faults.conftest import RECIPE, record

GOOD = [record("a", "image", "good.png"), record("b", "audio", "good.wav")]


def lines(*extra):
    return "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in [*GOOD, *extra])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (lines("{broken"), ("records.jsonl, line 3",)),
        (lines("", "[]"), ("line 4", "must be a JSON object")),
        (lines(record("a", "image", "good.png")), ("records.jsonl", "the id 'a'")),
        (lines(record("c", "image", "good.png", options=["x", "y"], answer=["C"], answer_type="choice")), ("line 3", "'c'", "'C' is not a letter")),
        (lines(record("c", "imagine", "good.png")), ("line 3", "'c'", "imagine")),
        (lines(record("c", "image", "good.png", anwser=["x"])), ("line 3", "anwser: unknown field")),
        (lines(record("c", "image", "../../outside.png")), ("'c'", "leads out")),
        ("", ("no record",)),
    ],
)
def test_mistakes_in_a_file_of_records(train, home, rows, words):
    code, errors = train(rows)
    assert code == 2 and "Traceback" not in errors
    assert all(word in errors for word in words), errors
    assert not (home / "runs/speck/stages/0-sft/checkpoint").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stages.sft.learning_rate=1", ("recipe.yaml", "stages.0.learning_rate", "known:")),
        ("sede=1", ("recipe.yaml", "'sede'", "did you mean 'seed'")),
        ("model.lllm={}", ("'model.lllm'", "did you mean 'llm'")),
        ("model.llm.config.num_key_value_heads=3", ("num_attention_heads 2", "num_key_value_heads 3")),
        ("model.llm.config.head_dim=7", ("head_dim", "even")),
        ("model.llm.config={model_type: llama, hidden_size: 15, num_attention_heads: 2}", ("15", "multiple")),
        ("model.llm.config={model_type: llama, hidden_size: 12, num_attention_heads: 4}", ("heads of 3 are odd",)),
        ("model.llm.config.model_type=qwen9", ("'qwen9'",)),
        ("model.llm.config.model_type=bert", ("'bert' is not supported",)),
        ("model.llm.config.hidden_size=-1", ("hidden_size", "-1")),
        ("model.llm={path: /no/such/model}", ("model.llm.path", "/no/such/model")),
        ("model.tokenizer={path: /no/such/tokenizer}", ("model.tokenizer.path", "/no/such/tokenizer")),
        ("model.init=/no/such/checkpoint", ("/no/such/checkpoint", "config.json")),
        ("model.streams.image.encoder.heads=3", ("width 8", "3 heads")),
        ("model.streams.image.encoder.width=wide", ("width must be int", "'wide'")),
        ("model.streams.image.encoder.name=cnov", ("unknown encoder 'cnov'", "did you mean 'conv'")),
        ("model.streams.image.projector={name: merge, factor: 0}", ("factor 0",)),
        ("model.streams.image.projector={name: resampler, heads: 3}", ("16", "3 heads")),
        ("model.streams.image.fusion=[{as: residual, from_layer: 7}]", ("from_layer 7", "1 layers")),
        ("model.streams.smell={encoder: {name: conv}}", ("'smell'", "audio, image or video")),
        ("data.sources.mine.path=none.jsonl", ("no records file", "none.jsonl")),
        ("data.sources.mine.reader=jsonn", ("unknown reader 'jsonn'",)),
        ("stages.sft.mixture={yours: 1.0}", ("'yours'", "data.sources")),
        ("stages.sft.mixture.mine=-1", ("at least 0",)),
        ("stages.sft.steps=0", ("stages.0.steps", "greater than 0")),
        ("evaluate=[{benchmark: world/audoi}]", ("unknown world 'audoi'",)),
        ("evaluate=[{benchmark: world/audio, protocol: strickt}]", ("'strickt'", "strict")),
        ("evaluate=[{benchmark: world/audio, controls: [blnk_media]}]", ("'blnk_media'",)),
        ("evaluate=[{benchmark: world/audio, strategies: [{name: gredy}]}]", ("evaluate.0", "'gredy'", "greedy")),
        ("evaluate=[{benchmark: world/audio, level: 99}]", ("evaluate.0", "level 99", "1, 2, 3")),
        ("evaluate=[{benchmark: world/audio}, {benchmark: world/video, level: 0}]", ("evaluate.1", "level 0", "'world/video'")),
        ("evaluate=[{benchmark: world/audio, n: -4}]", ("evaluate.0.n", "greater than or equal to 1")),
        ("evaluate=[{benchmark: world/audio, n: 0}]", ("evaluate.0.n", "greater than or equal to 1")),
        ("evaluate=[{benchmark: world/audio, batch_size: 0}]", ("evaluate.0.batch_size", "greater than or equal to 1")),
        ("evaluate=[{benchmark: world/audio, max_new_tokens: 0}]", ("evaluate.0.max_new_tokens", "greater than or equal to 1")),
        ("evaluate=[{benchmark: world/audio, strategies: []}]", ("evaluate.0.strategies", "at least 1")),
        ("evaluate=[{benchmark: world/audio, strategies: [{name: majority, n: 0}]}]", ("evaluate.0", "'majority'", "n 0", "equal to 1")),
        ("evaluate=[{benchmark: world/audio, strategies: [{name: majority, nn: 8}]}]", ("evaluate.0", "'majority'", "no option 'nn'", "n, temp")),
        ("evaluate=[{benchmark: world/audio, strategies: [{name: best_of_n}]}]", ("evaluate.0", "'best_of_n' needs a scorer")),
        ("evaluate=[{benchmark: world/audio, strategies: [{name: best_of_n, scorer: prmm}]}]", ("evaluate.0", "scorer 'prmm'", "mean 'prm'")),
        ("evaluate=[{benchmark: world/audio, strategies: [{name: best_of_n, scorer: oracle, k: 2}]}]", ("'oracle'", "no option 'k'")),
        ("study={arms: {a: []}, baseline: a, sweep: {key: seed, values: [1], select: {benchmark: world/audio, level: 99}}}", ("select", "level 99")),
        ("sinks=[tensorbord]", ("unknown sink 'tensorbord'",)),
        ("nonsense", ("'nonsense'", "key=value")),
    ],
)
def test_impossible_recipes(train, override, words):
    code, errors = train(GOOD, override, "--dry-run")
    assert code == 2 and "Traceback" not in errors
    assert all(word in errors for word in words), errors


def test_debug_shows_where(train):
    with pytest.raises(ValueError, match="sede"):
        train(GOOD, "sede=1", "--debug")


def test_a_recipe_that_is_not_there_or_no_yaml(train, home, capsys):
    from train import main

    assert main([str(home / "none.yaml")]) == 2
    assert "no recipe at" in capsys.readouterr().err
    (home / "broken.yaml").write_text("a: [1")
    assert main([str(home / "broken.yaml")]) == 2
    assert "broken.yaml: not valid YAML" in capsys.readouterr().err


def test_a_run_directory_that_cannot_be_written(train, home):
    (home / "runs").write_text("a file")
    code, errors = train(GOOD)
    assert code == 2 and "runs" in errors and "Traceback" not in errors


def test_a_mistake_after_the_start_keeps_what_was_done(train, home):
    """The records break after a run began: it ends, and goes on when they are mended."""
    recipe = RECIPE | {"stages": [RECIPE["stages"][0] | {"steps": 2, "save_every": 1}, RECIPE["stages"][0] | {"name": "more", "steps": 1}]}
    assert train(GOOD, recipe=recipe)[0] == 0
    marks = sorted(p.parent.name for p in (home / "runs/speck/stages").glob("*/done.json"))
    assert marks == ["0-sft", "1-more"]
    (home / "runs/speck/stages/1-more/done.json").unlink()
    code, errors = train(lines("{broken"), recipe=recipe)
    assert code == 2 and "line 3" in errors
    assert train(GOOD, recipe=recipe)[0] == 0
    assert sorted(p.parent.name for p in (home / "runs/speck/stages").glob("*/done.json")) == marks
