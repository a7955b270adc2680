"""A study: arms that differ in a few keys of one recipe, at several seeds, from one start, judged on the same held-out items.

The recipe's `study:` says what is compared (`configs/schema.py`). Every run is a plain `train.py` in a process of its own, so a study resumes like
any run: what has a `results.json` is not run again. Settings are chosen on the sweep's `select` items and seed, which no result uses.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from configs.load import dump, load_recipe
from configs.schema import Recipe
from eval.compare import describe_place, full_name
from eval.item_log import read_items
from eval.metrics import accuracy, clustered_interval, paired_bootstrap
from eval.results import mean_effective_ratio, measure, read_results, write_atomic
from eval.run import check_evaluations
from eval.study_table import table

TRAIN = Path(__file__).resolve().parents[1] / "train.py"


class Run(NamedTuple):
    """One training run of a study: `name` is its folder, `tree` its recipe as plain data, `overrides` what its arm changes."""

    name: str
    tree: dict[str, Any]
    overrides: list[str]


def run_study(path: str | Path, runs_dir: str | Path, overrides: Sequence[str] = (), jobs: int = 1) -> Path:
    """Run or resume the study of a recipe below `runs_dir`; returns its folder with `study.json` and `study.md`. `jobs` runs go on at a time."""
    recipe = load_recipe(path, list(overrides))
    if recipe.study is None:
        raise ValueError(f"{path} has no study: section, so there is nothing to compare")
    check_evaluations(recipe)  # the shared start is trained without them, and would come first
    folder = Path(runs_dir) / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    study, sweep = recipe.study, recipe.study.sweep
    seeds = [*study.seeds, *([sweep.seed] if sweep else [])]
    if study.start is not None:
        launch(folder, [start_run(recipe, seed) for seed in seeds], jobs)
    trials = {arm: {value: sweep_run(recipe, folder, arm, value) for value in sweep.values} for arm in study.arms} if sweep else {}
    launch(folder, [run for of_arm in trials.values() for run in of_arm.values()], jobs)
    tried = {arm: {value: _score(folder / run.name) for value, run in of_arm.items()} for arm, of_arm in trials.items()}
    runs = {arm: [arm_run(recipe, folder, arm, seed, _chosen(recipe, tried.get(arm))) for seed in study.seeds] for arm in study.arms}
    launch(folder, [run for of_arm in runs.values() for run in of_arm], jobs)
    facts = summarise(recipe, {arm: [folder / run.name for run in of_arm] for arm, of_arm in runs.items()}, tried)
    write_atomic(folder / "study.json", json.dumps(facts, indent=1) + "\n")
    write_atomic(folder / "study.md", table(facts))
    return folder


def start_run(recipe: Recipe, seed: int) -> Run:
    """The stages up to the shared start, without evaluation."""
    tree = _tree(recipe)
    count = [stage.name for stage in recipe.stages].index(recipe.study.start) + 1
    return Run(f"start-s{seed}", tree | {"seed": seed, "stages": tree["stages"][:count], "evaluate": []}, [])


def arm_run(recipe: Recipe, folder: Path, arm: str, seed: int, extra: list[str]) -> Run:
    """An arm at a seed: the stages behind the start, from its checkpoint."""
    tree = _tree(recipe) | {"seed": seed}
    names = [stage.name for stage in recipe.stages]
    count = 0 if recipe.study.start is None else names.index(recipe.study.start) + 1
    tree["stages"] = tree["stages"][count:]
    if count:
        tree["model"] |= {"init": str(folder / f"start-s{seed}" / "stages" / f"{count - 1}-{names[count - 1]}" / "checkpoint")}
        tree["model"] |= {"llm": None, "tokenizer": None, "streams": {}}
    return Run(f"{arm}-s{seed}", tree, [*recipe.study.arms[arm], *extra])


def sweep_run(recipe: Recipe, folder: Path, arm: str, value: float) -> Run:
    """An arm at one value of the swept key, judged on the items for choosing alone."""
    sweep = recipe.study.sweep
    run = arm_run(recipe, folder, arm, sweep.seed, [f"{sweep.key}={value}"])
    return Run(f"sweep-{arm}-{value:g}", run.tree | {"evaluate": [sweep.select.model_dump(mode="json")]}, run.overrides)


def launch(folder: Path, runs: Sequence[Run], jobs: int) -> None:
    """Train what has no results yet; the first failure is a `ValueError` that names the log."""
    waiting = [run for run in runs if not (folder / run.name / "results.json").is_file()]
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for number, run in enumerate(pool.map(lambda run: _train(folder, run), waiting), 1):
            print(f"{number}/{len(waiting)}  {run}", flush=True)


def _train(folder: Path, run: Run) -> str:
    recipe, log = folder / f"{run.name}.yaml", folder / f"{run.name}.log"
    write_atomic(recipe, OmegaConf.to_yaml(OmegaConf.create(run.tree | {"name": run.name})))
    with log.open("w", encoding="utf-8") as out:
        command = [sys.executable, str(TRAIN), str(recipe), *run.overrides, "--runs", str(folder)]
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        raise ValueError(f"{run.name} ended with exit code {code}: see {log}")
    return run.name


def _tree(recipe: Recipe) -> dict[str, Any]:
    return dump(recipe) | {"study": None, "release": False}


def _score(run: Path) -> float:
    """The mean score of a run's evaluations."""
    return accuracy([row["score"] for row in read_results(run)["evaluations"]])


def _chosen(recipe: Recipe, scores: dict[float, float] | None) -> list[str]:
    return [f"{recipe.study.sweep.key}={best(scores)}"] if scores else []


def best(scores: dict[float, float]) -> float:
    """The value with the highest score; of equal ones the smallest, which is the more careful one."""
    return max(sorted(scores), key=lambda value: scores[value])


def summarise(recipe: Recipe, runs: dict[str, list[Path]], tried: dict[str, dict[float, float]]) -> dict[str, Any]:
    """Scores per arm and evaluation over all seeds, and paired differences to the baseline. An item at several seeds counts as one group."""
    study = recipe.study
    rows = {arm: [_named(read_results(run)["evaluations"]) for run in of_arm] for arm, of_arm in runs.items()}
    wanted = rows[study.baseline][0]
    for arm, of_arm in rows.items():
        if not of_arm[0] or any(r.keys() != of_arm[0].keys() or not r.keys() <= wanted.keys() for r in of_arm):
            told = "an arm may leave out evaluations and change a strategy's options, not add to the list"
            raise ValueError(f"arm {arm!r} was judged on what {study.baseline!r} was not: {told}")
    evaluations = []
    for place, row in wanted.items():
        if row["scorer"] is None and row["strategy"] != "greedy":  # a vote, in which no arm's scorer has a part: see `searches`
            continue
        judged = [arm for arm in runs if place in rows[arm][0]]
        if judged == [study.baseline]:
            continue
        items = {arm: [read_items(run / r[place]["per_item"]) for run, r in zip(runs[arm], rows[arm], strict=True)] for arm in judged}
        arms = {arm: _arm(items[arm], items[study.baseline], study.margin) for arm in judged}
        several = (place[0], 1) in wanted
        name = f"{place[0]} ({full_name(row)})" if several else place[0]
        evaluations.append({"evaluation": name, "n": len(items[study.baseline][0]), "arms": arms})
    spent = {arm: [_spent(run) for run in of_arm] for arm, of_arm in runs.items()}
    return {
        "study": recipe.name, "seeds": study.seeds, "baseline": study.baseline, "margin": study.margin, "evaluations": evaluations, "spent": spent,
        "searches": searches(runs[study.baseline], rows[study.baseline], study.margin), "errors": found_errors(runs),
        "sweep": {arm: {f"{value:g}": score for value, score in scores.items()} for arm, scores in tried.items()},
        "chosen": {arm: best(scores) for arm, scores in tried.items()},
    }  # fmt: skip


def searches(runs: list[Path], rows: list[dict[tuple[str, int], dict[str, Any]]], margin: float) -> dict[str, dict[str, Any]]:
    """Of one arm: every strategy at each place where several were tried, against the first one there, with the tokens that an item cost."""
    found: dict[str, dict[str, Any]] = {}
    for key, row in rows[0].items():
        place = describe_place(row)
        items = [read_items(run / of_run[key]["per_item"]) for run, of_run in zip(runs, rows, strict=True)]
        strategies = found.setdefault(place, {})
        first = next(iter(strategies.values()))["items"] if strategies else items
        tokens = [of_run[key]["tokens"] for of_run in rows]
        spent = {kind: accuracy([t[kind] for t in tokens]) for kind in ("sequential", "total", "scorer_total")}
        strategies[full_name(row)] = {"items": items, **_arm(items, first, margin), "tokens": spent}
    for strategies in found.values():
        for facts in strategies.values():
            del facts["items"]
    return {place: strategies for place, strategies in found.items() if len(strategies) > 1}


def found_errors(runs: dict[str, list[Path]]) -> dict[str, dict[str, Any]]:
    """Of arms with a process reward model: over the held-out solutions of all seeds, how many have a first error of perception or of reasoning and
    which share of these is found, at its very step; mean AUROC of steps and share of a question's (right, wrong) pairs in the right order."""
    found = {}
    for arm, of_arm in runs.items():
        metrics = [json.loads(path.read_text())["all"] for run in of_arm for path in sorted(run.glob("stages/*/prm_metrics.json"))]
        if not metrics:
            continue
        kinds: dict[str, dict[str, float]] = {}
        for kind in ("perception", "reasoning"):
            parts = [m["first_error_found"][kind] for m in metrics if m["first_error_found"].get(kind, {}).get("n")]
            n = sum(p["n"] for p in parts)
            kinds[kind] = {"n": n, "found": sum(p["n"] * p["found"] for p in parts) / n if n else 0.0}
        pairs = [m["selection"]["pairs"] for m in metrics if m["selection"]["pairs"] is not None]
        found[arm] = {"auroc": accuracy([m["steps"]["auroc"] for m in metrics]), "pairs": accuracy(pairs) if pairs else None, **kinds}
    return found


def _arm(mine: list[list[dict[str, Any]]], theirs: list[list[dict[str, Any]]], margin: float) -> dict[str, Any]:
    pairs = [(a, b) for x, y in zip(theirs, mine, strict=True) for a, b in zip(x, y, strict=True)]
    if any(a["id"] != b["id"] for a, b in pairs):
        raise ValueError("the arms were judged on different items: their scores do not compare")
    before, after, groups = ([float(a["correct"]) for a, _ in pairs], [float(b["correct"]) for _, b in pairs], [b["id"] for _, b in pairs])
    difference, low, high = paired_bootstrap(before, after, groups)
    verdict = "better" if low > 0 and difference >= margin else "worse" if high < 0 and -difference >= margin else "not shown"
    by_seed = [accuracy([item["correct"] for item in rows]) for rows in mine]
    return {
        "score": accuracy(after), "ci95": list(clustered_interval(after, groups)), "by_seed": by_seed, "difference": difference,
        "difference_ci95": [low, high], "verdict": verdict,
    }  # fmt: skip


def _named(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    """Rows by what was measured and by which strategy, with a running number: one strategy may stand there with several scorers, and a scorer may
    be what an arm changes, so that it cannot tell rows apart across arms."""
    named: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        level = "" if row["level"] is None else f" L{row['level']}"
        name = f"{measure(row)[0]}{level} {row['protocol']} {row['strategy']} after {row['stage']}"
        named[name, sum(known == name for known, _ in named)] = row
    return named


def _spent(run: Path) -> dict[str, float]:
    """Tokens that the run's stages learned from, its steps, and its mean effective ratio where it is logged."""
    done = [json.loads(path.read_text()) for path in sorted(run.glob("stages/*/done.json"))]
    ratio = mean_effective_ratio(run)
    spent = {"tokens": float(sum(d["tokens"] for d in done)), "steps": float(sum(d["steps"] for d in done))}
    return spent | ({} if ratio is None else {"effective_ratio": ratio})
