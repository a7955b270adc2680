"""A recipe becomes a run directory: stages one after the other, an evaluation where the recipe asks for one, results, report, release.

Everything is resumable: a finished stage is marked by `done.json` and skipped, an unfinished one continues at its last checkpoint, an evaluation
at its last item.
"""

import contextlib
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from configs.load import dump, load_recipe, to_yaml
from configs.registry import SINKS, STAGES
from configs.schema import Recipe


class Judge(NamedTuple):
    """What judges a run: functions of `eval`, handed in by the entry point, because `training` never imports `eval`."""

    run_evaluations: Any
    write_results: Any
    write_report: Any


class Clock:
    """Seconds per phase; phases never overlap. Kept in `phases.json`, so that a resumed run still knows what the first part took."""

    def __init__(self, path: Path):
        self.path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}

    def time(self, phase: str, work: Any, *args: Any) -> Any:
        start = time.perf_counter()
        try:
            return work(*args)
        finally:
            self.seconds[phase] = round(self.seconds.get(phase, 0.0) + time.perf_counter() - start, 2)
            self.path.write_text(json.dumps(self.seconds))

    def split(self) -> str:
        """`wall time 12.5 s: build 0.5, sft 10.0, report 2.0`, in the order in which the phases began; what was done before a resume is in it."""
        return f"wall time {sum(self.seconds.values()):.1f} s: " + ", ".join(f"{phase} {s:.1f}" for phase, s in self.seconds.items())


def run(recipe: Recipe, run_dir: Path, judge: Judge) -> Path:
    """Run or resume a recipe in `run_dir`; returns it. A directory that holds another recipe is a `ValueError`."""
    import torch
    import transformers

    from data.media import Quarantine
    from training.build import build_reasoner
    from training.stages.context import StageContext, build_accelerator

    transformers.utils.logging.disable_progress_bar()  # one live line is enough
    stages = [STAGES.get(config.kind)(config) for config in recipe.stages]  # a wrong component name ends the run before any work
    _claim(recipe, run_dir)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    accelerator = build_accelerator()
    clock = Clock(run_dir / "phases.json")
    model, processor = clock.time("build", build_reasoner, recipe)
    if recipe.model.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    model.to(accelerator.device)
    sinks = [SINKS.get(name)(run_dir) for name in recipe.sinks] if accelerator.is_main_process else []
    quarantine = Quarantine(run_dir / "quarantine.jsonl", recipe.data.quarantine_limit)
    context = StageContext(recipe, model, processor, run_dir, accelerator, quarantine, sinks)
    with contextlib.ExitStack() as open_sinks:  # a run that ends with an error keeps what was logged
        for sink in sinks:
            open_sinks.callback(sink.close)
        rows = _evaluate(context, judge, clock, "base")
        for index, (config, stage) in enumerate(zip(recipe.stages, stages, strict=True)):
            clock.time(config.name, _stage, context, stage, run_dir / "stages" / f"{index}-{config.name}")
            rows += _evaluate(context, judge, clock, config.name)
    if accelerator.is_main_process:
        _finish(recipe, context, judge, clock, rows)
        print(clock.split())
    return run_dir


def _claim(recipe: Recipe, run_dir: Path) -> None:
    """Write the resolved recipe, or check that the directory belongs to the same one."""
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / "recipe.yaml"
    if path.is_file() and load_recipe(path) != recipe:
        raise ValueError(f"{run_dir} holds a run of a different recipe: choose another name (name=…) or remove the directory")
    path.write_text(to_yaml(recipe))


def _stage(context: Any, stage: Any, stage_dir: Path) -> None:
    """Run one stage, or load what it left."""
    from training.checkpoint import load_weights

    stage_dir.mkdir(parents=True, exist_ok=True)
    if not (stage_dir / "done.json").is_file():
        stage.run(context, stage_dir)
    elif getattr(stage, "changes_policy", True):
        load_weights(stage_dir, context.model)


def _evaluate(context: Any, judge: Judge, clock: Clock, stage: str) -> list[dict]:
    """Rows of results for this stage, from the evaluations that name it (those without `after` follow the last stage)."""
    recipe = context.recipe
    last = recipe.stages[-1].name if recipe.stages else "base"
    wanted = [e for e in recipe.evaluate if (stage in e.after if e.after is not None else stage == last)]
    if not wanted or not context.is_main:
        return []
    return clock.time(f"eval_{stage}", judge.run_evaluations, context.model, context.processor, recipe, wanted, stage, context.run_dir)


def _finish(recipe: Recipe, context: Any, judge: Judge, clock: Clock, rows: list[dict]) -> None:
    run_dir = context.run_dir
    judge.write_results(run_dir, dump(recipe), rows, clock.seconds)
    if recipe.release:
        from training.release import write_release

        clock.time("release", write_release, context.model, context.processor, recipe, run_dir)
    clock.time("report", judge.write_report, run_dir)
    judge.write_results(run_dir, dump(recipe), rows, clock.seconds)
