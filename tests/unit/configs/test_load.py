"""Recipes: strictness, overrides, inheritance, and errors that name the key, the file and the nearest valid key."""

import re

import pytest
import yaml

from configs.load import dump, load_recipe, to_yaml

STAGE = {"name": "sft", "kind": "sft", "mixture": {"easy": 1.0}, "steps": 10, "batch_size": 4, "lr": 0.001}
PLAIN = {
    "name": "probe",
    "seed": 3,
    "model": {"init": "checkpoints/any"},
    "data": {"sources": {"easy": {"world": "audio", "level": {1: 0.5, 2: 0.5}}}},
    "stages": [STAGE, STAGE | {"name": "more", "steps": 20}],
    "evaluate": [{"benchmark": "world/audio", "level": 2, "after": ["base", "sft"]}],
}


@pytest.fixture
def write(tmp_path):
    def write(tree, name="probe.yaml"):
        path = tmp_path / name
        path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
        return path

    return write


def refusal(path, *overrides):
    with pytest.raises(ValueError) as caught:
        load_recipe(path, list(overrides))
    return str(caught.value)


def without(tree, key):
    return {k: v for k, v in tree.items() if k != key}


def test_a_recipe_is_typed_and_has_defaults(write):
    recipe = load_recipe(write(PLAIN))
    assert (recipe.name, recipe.seed, recipe.dtype, recipe.data.root, recipe.weights.root) == ("probe", 3, "float32", "datasets", "weights")
    assert recipe.data.sources["easy"].level == {1: 0.5, 2: 0.5}
    assert [(stage.name, stage.steps) for stage in recipe.stages] == [("sft", 10), ("more", 20)]


def test_the_resolved_recipe_is_the_same_recipe(write):
    recipe = load_recipe(write(PLAIN), ["stages.more.lr=3e-5"])
    again = load_recipe(write(to_yaml(recipe), "resolved.yaml"))
    assert dump(again) == dump(recipe)
    assert to_yaml(again) == to_yaml(recipe)


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("seed=7", lambda r: r.seed, 7),
        ("stages.1.lr=1e-5", lambda r: r.stages[1].lr, 1e-5),
        ("stages.more.lr=1e-5", lambda r: r.stages[1].lr, 1e-5),
        ("stages.sft.mixture={easy: 2.0}", lambda r: r.stages[0].mixture, {"easy": 2.0}),
        ("data.root=/big disk/data", lambda r: r.data.root, "/big disk/data"),
        ("data.sources.easy.level=4", lambda r: r.data.sources["easy"].level, 4),
        ("evaluate.0.after=[base]", lambda r: r.evaluate[0].after, ["base"]),
        ("model.lora={rank: 4}", lambda r: r.model.lora.rank, 4),
        ("evaluate.0.after=null", lambda r: r.evaluate[0].after, None),
    ],
)
def test_overrides(write, override, read, value):
    assert read(load_recipe(write(PLAIN), [override])) == value


def test_overriding_one_stage_leaves_the_others_alone(write):
    recipe = load_recipe(write(PLAIN), ["stages.more.lr=1e-5"])
    assert (recipe.stages[0].lr, len(recipe.stages)) == (0.001, 2)


def test_the_last_override_wins(write):
    assert load_recipe(write(PLAIN), ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sede=1", ["sede", "seed", "probe.yaml"]),
        ("data.rot=x", ["data.rot", "root", "probe.yaml"]),
        ("stages.sft.batchsize=3", ["batchsize", "batch_size", "probe.yaml"]),
        ("stages.nope.lr=1", ["nope", "sft", "more"]),
        ("seed", ["seed", "key=value"]),
        ("=1", ["key=value"]),
        ("seed=many", ["seed", "probe.yaml"]),
        ("stages.sft.kind=sfd", ["sfd", "sft"]),
        ("stages.sft.steps=0", ["steps"]),
        ("stages.sft.mixture={hard: 1.0}", ["sft", "hard"]),
        ("stages.more.name=sft", ["sft", "same name"]),
        ("evaluate.0.after=[later]", ["later"]),
        ("dtype=float16", ["dtype", "bfloat16"]),
        ("data.sources.easy.reader=jsonl", ["world or reader"]),
        ("model.streams={image: {encodr: {name: conv}}}", ["encodr", "encoder"]),
    ],
)
def test_a_mistake_is_named_with_its_remedy(write, override, words):
    message = refusal(write(PLAIN), override)
    assert [word for word in words if word not in message] == []


MEDIA_NUMBERS = ("sample_rate", "max_seconds", "num_frames", "fps", "frame_size", "max_pixels", "max_bytes", "max_wall_s")
BOUNDED = [
    *(f"data.media.{key}={value}" for key in MEDIA_NUMBERS for value in (0, -1)),
    *(f"stages.sft.{line}" for line in (
        "lr=-1", "lr=0", "lr=.nan", "muon_lr=0", "lr_parts={llm: -0.5}", "weight_decay=-0.1", "warmup=7", "warmup=-0.1", "schedule_steps=0", "clip=0",
        "clip=-1", "num_workers=-1", "save_every=-1", "max_tokens=0", "steps=0", "batch_size=0", "token_budget=0", "token_weights.alpha=0.5",
    )),
    *(f"stages.rl.{line}" for line in ("lr=0", "warmup=1.5", "epsilon_low=-0.1", "epsilon_high=-0.1", "beta=-1", "temperature=0", "updates=0")),
    *(f"stages.judge.{line}" for line in ("lr=-1", "balance=0", "passes=0", "lora={rank: 0}", "lora={dropout: 1}", "lora={alpha: 0}")),
    *(f"stages.labels.{line}" for line in ("max_tokens=0", "num_workers=-1", "batches=0")),
    *("data.quarantine_limit=-1", "data.sources.easy.limit=0", "model.tokenizer={worlds: [text], vocab_size: 0}", "evaluate.0.n=0", "threads=0"),
    *(f"study={{arms: {{a: []}}, baseline: a, {line}}}" for line in ("seeds: []", "margin: -1")),
]  # fmt: skip


@pytest.mark.parametrize("override", BOUNDED)
def test_a_number_out_of_range_is_refused_by_its_key(write, override):
    """Whole recipes with a stage of each kind; the key as it was written stands in the message."""
    mixture = {"mixture": {"easy": 1.0}, "batch_size": 4}
    stages = [
        STAGE, {"name": "rl", "kind": "tw_grpo", "steps": 1, **mixture}, {"name": "judge", "kind": "prm", "steps": 1, **mixture},
        {"name": "labels", "kind": "step_labels", "batches": 1, **mixture},
    ]  # fmt: skip
    path = write(PLAIN | {"stages": stages})
    load_recipe(path)
    key = re.findall(r"\w+(?=[=:])", override)[-1]
    assert key in refusal(path, override)


def test_a_file_that_is_not_there_or_not_a_recipe(write, tmp_path):
    assert "gone.yaml" in refusal(tmp_path / "gone.yaml")
    assert "broken.yaml" in refusal(write("name: [unclosed", "broken.yaml"))
    assert "list.yaml" in refusal(write("- 1\n- 2\n", "list.yaml"))
    assert "name" in refusal(write(without(PLAIN, "name")))


def test_a_model_needs_a_beginning(write):
    assert "init" in refusal(write(PLAIN | {"model": {}}))
    assert "config" in refusal(write(PLAIN | {"model": {"llm": {}, "tokenizer": {"path": "x"}}}))


def test_a_base_is_inherited_key_by_key_and_its_lists_are_replaced(write):
    write(PLAIN, "parent.yaml")
    child = write({"base": "parent.yaml", "name": "child", "data": {"root": "elsewhere"}, "stages": [STAGE | {"steps": 99}]}, "child.yaml")
    recipe = load_recipe(child)
    assert (recipe.name, recipe.seed, recipe.data.root) == ("child", 3, "elsewhere")
    assert list(recipe.data.sources) == ["easy"]
    assert [stage.steps for stage in recipe.stages] == [99]


def test_a_base_that_inherits_from_itself_is_refused(write):
    write({"base": "b.yaml"}, "a.yaml")
    assert "inherits from itself" in refusal(write({"base": "a.yaml"}, "b.yaml"))


def test_a_recipe_cannot_be_changed_after_it_was_checked(write):
    recipe = load_recipe(write(PLAIN))
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 9
