"""The shipped PRM recipes: their stages and strategies can be built, and each arm of the study differs from its baseline in what its name says."""

from pathlib import Path

from configs.load import load_recipe

ROOT = Path(__file__).resolve().parents[3]
STUDY = ROOT / "configs/omni/prm_study.yaml"


def test_every_stage_strategy_and_scorer_of_the_recipes_can_be_built():
    from configs.registry import STAGES
    from reasoning.build import build_strategy

    for path in ("configs/omni/prm.yaml", "configs/omni/prm_study.yaml"):
        recipe = load_recipe(ROOT / path)
        assert [STAGES.get(stage.kind)(stage).config.kind for stage in recipe.stages][-1] == "prm"
        assert {row.benchmark for row in recipe.evaluate} == {"world/audio", "world/vision", "world/video"}
        for row in recipe.evaluate:
            for line in row.strategies:
                strategy, scorer = build_strategy(dict(line), Path("runs/none"))
                assert strategy.name == line["name"] and (scorer is not None) == ("scorer" in line)


def test_the_table_of_the_recipe_holds_its_controls():
    recipe = load_recipe(ROOT / "configs/omni/prm.yaml")
    for row in recipe.evaluate:
        names = [(line["name"], line.get("scorer")) for line in row.strategies]
        assert row.n == 600 and {("best_of_n", s) for s in ("prm", "random", "shortest", "oracle")} <= set(names)
        assert {("greedy", None), ("majority", None), ("majority_same_tokens", "prm")} <= set(names)
        assert len({line.get("n") for line in row.strategies if line["name"] != "greedy"}) == 1  # equal samples


def test_arms_of_the_study_differ_in_the_prm_alone_and_its_strategies_begin_with_the_vote():
    from eval.study import arm_run

    base = load_recipe(STUDY)
    plain = base.stages[-1]
    for arm in base.study.arms:
        run = arm_run(base, ROOT / "runs", arm, 1, [])
        recipe = load_recipe(STUDY, [*run.overrides, "study="])
        stage = recipe.stages[-1]
        changed = {k for k in type(stage).model_fields if getattr(stage, k) != getattr(plain, k)}
        assert changed == {"perception": {"supervise"}, "reasoning": {"supervise"}, "small": {"layers"}}.get(arm, set())
        asked = base.evaluate[0].strategies if arm == base.study.baseline else [{"name": "best_of_n", "n": 8, "scorer": "prm"}]
        assert [row.strategies for row in recipe.evaluate] == [asked] * 3
    for row in base.evaluate:
        assert row.strategies[0] == {"name": "majority", "n": 8} and row.strategies == base.evaluate[0].strategies
        scorers = [str(line.get("scorer")) for line in row.strategies if line.get("n") == 8]
        assert {"prm", "orm", "self_judge", "random", "shortest", "oracle"} <= set(scorers)
