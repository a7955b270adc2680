"""The `step_labels` stage makes data: solutions of the policy, labelled step by step, as a JSONL file with the media they are about.

`prm` learns from such a file (`solutions:`), and a judge is taught by the critiques beside it. Nothing is trained.
"""

import dataclasses
import functools
import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import Field

from configs.schema import StageConfig
from data.critiques import critique
from data.label_report import LABEL_REPORT, label_report
from data.media import write_media
from data.record import MediaRef, write_jsonl
from data.solutions import LabelledSolution, read_solutions, write_solutions
from training.checkpoint import finish
from training.rollout import Sampling
from training.stages.context import StageContext, hash_seed
from training.step_labeller import Labeller, encode_row
from training.step_labelling import LabelSettings

FILE, CRITIQUES = "step_labels.jsonl", "critiques.jsonl"


class StepLabelsConfig(StageConfig):
    """`batches` of `batch_size` prompts from the `mixture`, `num_generations` solutions each, labelled as `labels` says; `inject`: gold solutions
    with a seeded error, per prompt; `critiques` also writes the question of the first wrong step for each solution, with its answer."""

    kind: str = "step_labels"
    mixture: dict[str, float]
    batches: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    num_generations: int = Field(4, ge=1)
    temperature: float = Field(1.0, gt=0)
    max_new_tokens: int = Field(96, gt=0)
    labels: LabelSettings = LabelSettings()
    inject: int = Field(0, ge=0)
    critiques: bool = False
    max_tokens: int = Field(2048, gt=0)
    num_workers: int = Field(0, ge=0)

    @property
    def steps(self) -> int:
        return self.batches


class StepLabelsStage:
    """Leaves the policy as it is. A run that was cut goes on behind its last whole batch."""

    config_class = StepLabelsConfig
    changes_policy = False

    def __init__(self, config: StepLabelsConfig):
        self.config = config

    def run(self, context: StageContext, stage_dir: Path) -> None:
        """Leave `step_labels.jsonl`, `label_report.json` and `media/` in `stage_dir`."""
        config = self.config
        if context.world_size > 1:
            raise ValueError("step_labels runs in one process for now: start it without accelerate launch")
        labeller = Labeller(context, Sampling(config.num_generations, config.temperature, config.max_new_tokens), config.labels, config.inject)
        parts = stage_dir / "parts"
        parts.mkdir(parents=True, exist_ok=True)
        done = len(list(parts.glob("*.jsonl")))
        stream = context.stream(config, functools.partial(encode_row, context, config.max_tokens, True), list)
        stream.load_state_dict({"position": done, "batch_size": config.batch_size})
        seed = hash_seed(context.recipe.seed, config.name)
        for number, (rows, failures) in zip(range(done, config.batches), stream, strict=False):
            context.quarantine_all(failures)
            drawn = labeller(rows, (seed, number)).drawn if rows else []
            owners = {d.owner for d in drawn}
            stored = {o: _store_media(rows[o][2], stage_dir, f"{number:05d}-{o:03d}") for o in owners}
            solutions = [dataclasses.replace(d.solution, record=stored[d.owner], meta={"count": d.count}) for d in drawn]
            write_whole(parts / f"{number:05d}.jsonl", solutions)
        self._finish(context, stage_dir, parts)

    def _finish(self, context: StageContext, stage_dir: Path, parts: Path) -> None:
        solutions = [s for part in sorted(parts.glob("*.jsonl")) for s in read_solutions(part)]
        if not solutions:
            raise ValueError(f"stage {self.config.name!r}: no completion had an answer, so there is nothing to label; look at the policy's samples")
        write_solutions(stage_dir / FILE, solutions)
        report = label_report(solutions)
        (stage_dir / LABEL_REPORT).write_text(json.dumps(report, indent=1))
        if self.config.critiques:
            questions = {record.id: record for record in map(critique, solutions)}
            write_jsonl(stage_dir / CRITIQUES, list(questions.values()))
        shutil.rmtree(parts)
        facts = {k: report[k] for k in ("solutions", "steps", "sources", "unmeasured", "agreement")}
        finish(stage_dir, json.dumps({"kind": self.config.kind, "mixture": self.config.mixture, **facts}, indent=1))


def write_whole(path: Path, solutions: list[LabelledSolution]) -> None:
    """The file appears whole or not at all."""
    temporary = path.with_name(f".tmp-{path.name}")
    write_solutions(temporary, solutions)
    temporary.rename(path)


def _store_media(sample: Any, folder: Path, name: str) -> Any:
    """The sample's record with its media as files in `folder/media`; files that are there already stay where they are."""
    refs = []
    for i, (ref, medium) in enumerate(zip(sample.record.media, sample.media, strict=True)):
        if Path(ref.path).exists():
            refs.append(dataclasses.replace(ref, path=str(Path(ref.path).resolve())))
            continue
        file = write_media(folder / "media" / f"{name}-{i}", medium)
        refs.append(MediaRef(ref.kind, file.relative_to(folder).as_posix()))
    return dataclasses.replace(sample.record, media=refs)
