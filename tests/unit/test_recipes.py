"""Every recipe that ships parses, strictly, and survives its own resolved form."""

from pathlib import Path

import pytest
import yaml

from configs.load import dump, load_recipe, to_yaml
from eval.run import check_evaluations

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES)
def test_recipe_parses_and_its_resolved_form_is_the_same_recipe(path, tmp_path):
    recipe = load_recipe(ROOT / path)
    resolved = tmp_path / "recipe.yaml"
    resolved.write_text(to_yaml(recipe))
    assert dump(load_recipe(resolved)) == dump(recipe)
    assert yaml.safe_load(resolved.read_text())["name"] == recipe.name
    check_evaluations(recipe)


@pytest.mark.parametrize("path", RECIPES)
def test_an_unknown_key_in_any_recipe_is_refused_by_name(path):
    with pytest.raises(ValueError, match=r"sede.*seed"):
        load_recipe(ROOT / path, ["sede=1"])


def test_the_quickstart_from_scratch_dry_runs_and_starts_as_the_base_checkpoint_did(monkeypatch):
    """The base's model and stages, then the quickstart's supervised sources."""
    import training.tokenizer
    from training.dry_run import describe

    small = training.tokenizer.build_tokenizer(["vision"], 512, per_level=2)
    monkeypatch.setattr(training.tokenizer, "build_tokenizer", lambda *_: small)
    recipe, base, quick = (load_recipe(ROOT / "configs" / path) for path in ("smoke/from_scratch.yaml", "base/nano.yaml", "quickstart.yaml"))
    assert (recipe.model, recipe.protocol, recipe.seed) == (base.model, base.protocol, base.seed)
    assert recipe.stages[:-1] == base.stages
    learned = recipe.stages[-1].mixture
    assert {name: recipe.data.sources[name] for name in learned} == {name: quick.data.sources[name] for name in learned}
    page = describe(recipe)
    assert [f"stage {s.name} (sft)" in page for s in recipe.stages] == [True] * 4
    assert {"image.encoder", "audio.encoder", "video.encoder"} <= set(page.split())


TW_GRPO = [path for path in RECIPES if "/tw_grpo" in path]
BASE = ROOT / "checkpoints" / "focal-nano-base"


@pytest.mark.parametrize("path", TW_GRPO)
def test_reinforcement_recipes_dry_run(path, tmp_path):
    from data.render import render_format
    from training.dry_run import describe

    if not (BASE / "config.json").is_file():
        pytest.skip(f"{BASE} is not there: python train.py configs/base/nano.yaml makes it")
    render_format("clevrer", "video", 6, 3, 0, "train", tmp_path / "video_clevrer", ["counterfactual"])
    page = describe(load_recipe(ROOT / path, [f"model.init={BASE}", f"data.root={tmp_path}"]))
    assert "(tw_grpo)" in page and "prompt" in page


@pytest.mark.parametrize("path", TW_GRPO)
def test_reinforcement_recipes_name_components_that_exist(path):
    """Stages look their parts up when they are built, so this is what would end a run before any work."""
    from configs.registry import STAGES

    stages = [STAGES.get(stage.kind)(stage) for stage in load_recipe(ROOT / path).stages]
    assert [stage.config.kind for stage in stages] == ["sft", "tw_grpo"]


def test_the_study_has_every_arm_of_the_question_and_each_differs_from_its_baseline():
    from eval.study import sweep_run

    recipe = load_recipe(ROOT / "configs/video/tw_grpo_study.yaml")
    assert set(recipe.study.arms) == {"sft", "grpo_strict", "grpo_soft", "token_mean", "tw_official", "tw_masked", "tw_jsd"}
    budgets = set()
    for arm in recipe.study.arms:
        run = sweep_run(recipe, ROOT / "runs", arm, 1e-4)
        (stage,) = load_recipe(ROOT / "configs/video/tw_grpo_study.yaml", [*run.overrides, "study="]).stages[1:]
        budgets.add(stage.token_budget)
        assert stage.lr == 1e-4 and (stage.kind == "sft") == (arm == "sft")
    assert len(budgets) == 1


def test_the_published_recipe_has_the_published_settings():
    stage = load_recipe(ROOT / "configs/video/tw_grpo_clevrer.yaml").stages[1]
    published = {
        "num_generations": 8, "batch_size": 2, "steps": 500, "lr": 1e-6, "schedule": "linear", "clip": 20.0, "temperature": 1.0, "top_p": 1.0,
        "beta": 0.0, "epsilon_low": 0.2, "epsilon_high": 0.28, "loss": "tw_grpo", "freeze": ["video.encoder"], "updates": 1,
    }  # fmt: skip
    assert {key: getattr(stage, key) for key in published} == published
    assert (stage.token_weights.mode, stage.token_weights.alpha, stage.token_weights.renorm) == ("official", 1.7, False)
    assert stage.rewards == [{"name": "soft_choice", "rule": "official", "weight": 1.0}, {"name": "format", "rule": "official", "weight": 1.0}]
