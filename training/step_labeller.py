"""Where a stage gets its labelled solutions from: drawn fresh from the policy and labelled on the spot, or read from a file."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from data.drawn_solutions import GIVEN, Drawn, distinct_solutions, pass_rates
from data.solutions import LabelledSolution, read_solutions
from training.rewards.algebra import Ledger
from training.rollout import Sampling, roll_out
from training.stages.context import StageContext
from training.stages.tw_grpo import encode_prompt
from training.step_judges import load_judge
from training.step_labelling import LabelSettings, gold_solutions, injected_solutions, label, measure_steps


class Solutions(NamedTuple):
    """Left-padded prompts with their media, the solutions behind them, the pass rate of each prompt, and the step's metrics."""

    batch: dict[str, Tensor]
    drawn: list[Drawn]
    rates: list[float]
    metrics: dict[str, float]


def encode_row(context: StageContext, max_tokens: int, with_media: bool, sample: Any) -> tuple[Any, Any, Any]:
    """(record, encoded prompt, sample): what `Labeller` needs of an item; a judge, which encodes for itself, needs the sample too."""
    return (*encode_prompt(context, max_tokens, sample), sample if with_media else None)


class Labeller:
    """Draws `num_generations` solutions for each prompt from the run's policy, adds `inject` gold ones with an error and, with `gold`, the gold one,
    and labels them all."""

    def __init__(self, context: StageContext, how: Sampling, labels: LabelSettings, inject: int = 0, gold: bool = False):
        self.context, self.how, self.labels, self.inject, self.gold = context, how, labels, inject, gold
        self.judge = load_judge(labels.judge, labels.judge_threshold, context.recipe.protocol.instruction) if labels.judged and labels.judge else None

    @property
    def source(self) -> str:
        return self.labels.source

    def __call__(self, rows: Sequence[tuple[Any, Any, Any]], seed: tuple) -> Solutions:
        """rows: of `encode_row`; seed: names the step. Everything random follows from it."""
        context, size = self.context, self.how.num_generations
        rollouts = roll_out(context.model, context.processor, [row[:2] for row in rows], self.how, [], Ledger(), seed)
        drawn = distinct_solutions(rollouts.records, rollouts.texts, size)
        rates = pass_rates(drawn, len(rows), size)
        solved, start = sum(d.count for d in drawn), time.perf_counter()
        measure = functools.partial(
            measure_steps, context.model, context.processor, context.to_device(rollouts.batch), settings=self.labels, seed=seed
        )
        answer_with = context.recipe.protocol.answer_with
        given = injected_solutions(rollouts.records, self.inject, seed, answer_with)
        given += gold_solutions(rollouts.records, answer_with) if self.gold else []
        labelled = label([*drawn, *given], self.labels, measure, self._judge(rows))
        metrics = {
            "scored": solved / len(rollouts.texts), "distinct": len(drawn) / max(1, solved), "pass_rate": sum(rates) / len(rates),
            "kept": sum(d.solution.source not in GIVEN for d in labelled) / max(1, len(drawn)),
            "generate_s": rollouts.seconds["generate"], "label_s": time.perf_counter() - start,
        }  # fmt: skip
        return Solutions(rollouts.batch, labelled, rates, metrics)

    def gold_alone(self, rows: Sequence[tuple[Any, Any, Any]]) -> Solutions:
        """The gold solution of each row and nothing else, without labels: there is nothing to tell apart."""
        drawn = gold_solutions([row[0] for row in rows], self.context.recipe.protocol.answer_with)
        for d in drawn:
            d.solution.labels = [None] * len(d.solution.labels)
        return Solutions(dict(self.context.processor.collate([row[1] for row in rows], "left")), drawn, [], {})

    def _judge(self, rows: Sequence[tuple[Any, Any, Any]]) -> Any:
        return None if self.judge is None else functools.partial(self.judge, [row[2] for row in rows])


class StoredSolutions:
    """Solutions of a JSONL file (`data.solutions`, media paths relative to its folder), given out by the record they belong to."""

    def __init__(self, path: str, context: StageContext):
        self.context = context
        self.by_record: dict[str, list[LabelledSolution]] = {}
        for solution in read_solutions(path):
            if solution.labels:
                media = [dataclasses.replace(m, path=str(Path(path).parent / m.path)) for m in solution.record.media]
                solution.record = dataclasses.replace(solution.record, media=media)
                self.by_record.setdefault(solution.record.id, []).append(solution)
        if not self.by_record:
            raise ValueError(f"{path} holds no labelled solution")
        self.records = [solutions[0].record for solutions in self.by_record.values()]
        self.source = "+".join(sorted({s.source for solutions in self.by_record.values() for s in solutions}))

    def __call__(self, rows: Sequence[tuple[Any, Any, Any]], seed: tuple) -> Solutions:
        """As `Labeller`, without drawing anything."""
        batch = dict(self.context.processor.collate([row[1] for row in rows], "left"))
        drawn = [Drawn(owner, int(s.meta.get("count", 1)), s) for owner, row in enumerate(rows) for s in self.by_record[row[0].id]]
        sizes = [max(1, sum(d.count for d in drawn if d.owner == owner and d.solution.source not in GIVEN)) for owner in range(len(rows))]
        rates = [rate / size for rate, size in zip(pass_rates(drawn, len(rows), 1), sizes, strict=True)]
        return Solutions(batch, drawn, rates, {"pass_rate": sum(rates) / len(rates)})
