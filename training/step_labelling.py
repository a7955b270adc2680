"""Labels for the solutions of a rollout, from one source or several: the exact verifier, Monte-Carlo completions, a judge, or their consensus.

Solutions that a policy says twice are labelled once, and count twice. What the exact verifier says stands beside every other label, where a record
has facts, so that each source can be checked against it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor

from configs.schema import Strict
from data import protocol
from data.drawn_solutions import GIVEN, Drawn, exactly_labelled
from data.record import Record
from data.solutions import Label
from data.step_errors import corrupt
from data.step_labels import UNMEASURED, Estimate, consensus, hard_labels, monotone, soft_labels, solution_labels
from data.worlds.base import generator

ROWS = 1024  # completions that are drawn at a time


class LabelSettings(Strict):
    """Where labels come from. Monte Carlo: `samples` completions of each prefix by the policy, at `temperature`, of at most `max_new_tokens`; a step
    is right where more than `threshold` of them are; `soft` keeps the share itself; `monotone` repairs what is right behind a wrong step;
    `early_stop` measures nothing behind a measured zero. `judge`: a checkpoint, a PRM (its first step below `judge_threshold` is wrong) or a
    reasoner that names the first wrong step."""

    source: Literal["verifier", "monte_carlo", "judge", "consensus_strict", "consensus_loose", "judge_if_mc_zero"] = "verifier"
    samples: int = Field(16, ge=1)
    temperature: float = Field(1.0, gt=0)
    max_new_tokens: int = Field(96, gt=0)
    threshold: float = Field(0.0, ge=0, lt=1)
    soft: bool = False
    monotone: bool = True
    early_stop: bool = True
    judge: str | None = None
    judge_threshold: float = Field(0.5, gt=0, lt=1)

    @property
    def sampled(self) -> bool:
        return self.source not in ("verifier", "judge")

    @property
    def judged(self) -> bool:
        return self.source not in ("verifier", "monte_carlo")

    @model_validator(mode="after")
    def complete(self) -> "LabelSettings":
        if self.judged and self.judge is None:
            raise ValueError(f"labels from {self.source} need judge: a checkpoint that names the first wrong step")
        if self.soft and self.source != "monte_carlo":
            raise ValueError(f"soft labels are the shares of monte_carlo completions, {self.source} has none")
        return self


def injected_solutions(records: Sequence[Record], count: int, seed: tuple, answer_with: str = "letter") -> list[Drawn]:
    """`count` gold solutions of each record with one seeded error each (see `data.step_errors`); records without facts give none."""
    texts = [(o, corrupt(record, generator(*seed, "inject", o, k), answer_with)) for o, record in enumerate(records) for k in range(count)]
    drawn = [Drawn(o, 1, exactly_labelled(records[o], text)) for o, text in texts if text is not None]
    for d in drawn:
        d.solution.source = "injected"
    return drawn


def gold_solutions(records: Sequence[Record], answer_with: str = "letter") -> list[Drawn]:
    """The gold solution of each record; records without steps give none."""
    drawn = [Drawn(o, 1, exactly_labelled(r, protocol.completion(r, answer_with=answer_with))) for o, r in enumerate(records) if r.steps]
    for d in drawn:
        d.solution.source = "gold"
    return drawn


Judge = Callable[[Sequence[Drawn]], list[int | None]]  # the first wrong step of each solution, None where it finds none


def label(drawn: list[Drawn], settings: LabelSettings, measure: Callable[[Sequence[Drawn]], list[list[Estimate]]], judge: Judge) -> list[Drawn]:
    """The solutions whose labels the settings' source gives; a consensus drops those on which its sources do not agree. The answer's label is always
    whether it is right, and gold solutions and injected errors keep their exact labels."""
    if settings.source == "verifier":
        return drawn
    todo = [d for d in drawn if d.solution.source not in GIVEN]
    estimates = measure(todo) if settings.sampled else [[] for _ in todo]
    errors = judge(todo) if settings.judged else [None for _ in todo]
    kept = [d for d in drawn if d.solution.source in GIVEN]
    for d, counts, error in zip(todo, estimates, errors, strict=True):
        labels = combined(counts, error, len(d.solution.steps), settings)
        if labels is None:
            continue
        stored = [(e.correct, e.valid, e.failed) for e in counts] if settings.sampled else None
        known = dataclasses.replace(d.solution, labels=[*labels, d.solution.labels[-1]], source=settings.source, counts=stored)
        kept.append(dataclasses.replace(d, solution=known))
    return sorted(kept, key=lambda d: d.owner)


def combined(estimates: Sequence[Estimate], error: int | None, steps: int, settings: LabelSettings) -> list[Label] | None:
    """Labels of the steps of one solution, or None where a consensus drops it. error: the judge's first wrong step."""
    if settings.soft:
        return list(soft_labels(estimates))
    if settings.source == "judge":
        return list(consensus([1] * steps, error, "judge") or [])
    hard = hard_labels(estimates, settings.threshold)
    hard = monotone(hard) if settings.monotone else hard
    if settings.source == "monte_carlo":
        return list(hard)
    agreed = consensus(hard, error, settings.source)
    return None if agreed is None else list(agreed)


def measure_steps(model: Any, processor: Any, batch: dict[str, Tensor], drawn: Sequence[Drawn], settings: LabelSettings, seed: tuple):
    """Monte-Carlo estimates of every step: for each solution, one `Estimate` per step.

    One tree per prompt: it is read once, a prefix that several solutions begin with is read and measured once, and all completions of a prefix
    continue its keys. `early_stop` follows no branch behind a measured zero: what lies there is unmeasured.
    """
    from models.sampler import Session

    lines = [_pieces(d.solution.steps) for d in drawn]
    estimates: list[list[Estimate]] = [[UNMEASURED] * len(line) for line in lines]
    session = Session.prefill(model, batch)
    place = {i: d.owner for i, d in enumerate(drawn)}  # the row of the session at which each solution that is still followed stands
    for level in range(max((len(line) for line in lines), default=0)):
        branches: dict[tuple[int, str], list[int]] = {}
        for i, row in place.items():
            if level < len(lines[i]):
                branches.setdefault((row, lines[i][level]), []).append(i)
        if not branches:
            break
        session = session.fork([row for row, _ in branches])
        session.extend(processor.tokenizer([piece for _, piece in branches], add_special_tokens=False)["input_ids"])
        prefixes = [(drawn[members[0]].solution.record, "".join(lines[members[0]][: level + 1])) for members in branches.values()]
        found = _complete(session, processor.tokenizer, prefixes, settings, seed)
        place = {}
        for row, (members, estimate) in enumerate(zip(branches.values(), found, strict=True)):
            dead = settings.early_stop and estimate.valid and not estimate.correct
            for i in members:
                estimates[i][level] = estimate
                if not dead:
                    place[i] = row
    return estimates


def _complete(session: Any, tokenizer: Any, prefixes: Sequence[tuple[Record, str]], settings: LabelSettings, seed: tuple) -> list[Estimate]:
    """`samples` completions behind each row of a session, which stands behind these prefixes, judged; so many rows at a time as `ROWS` allows."""
    from models.sampler import Stops

    stops, count, estimates = Stops((tokenizer.convert_tokens_to_ids(protocol.END),)), settings.samples, []
    together = max(1, ROWS // count)
    for start in range(0, len(prefixes), together):
        chosen = prefixes[start : start + together]
        rows = [start + k for k in range(len(chosen)) for _ in range(count)]
        # A prefix has its own seeds, so that its estimate does not depend on what else is measured.
        seeds = [s for record, prefix in chosen for s in generator(*seed, "monte_carlo", record.id, prefix).integers(1 << 62, size=count).tolist()]
        said = session.fork(rows).generate(
            settings.max_new_tokens, stops, temperature=settings.temperature, seeds=seeds, pad_id=tokenizer.pad_token_id
        )
        ends = tokenizer.batch_decode([ids[:n].tolist() for ids, n in zip(said.ids, said.lengths.tolist(), strict=True)])
        for k, (record, prefix) in enumerate(chosen):
            mine = slice(k * count, (k + 1) * count)
            estimates.append(count_right(record, [prefix + end for end in ends[mine]], said.finished[mine].tolist()))
    return estimates


def _pieces(steps: Sequence[str]) -> list[str]:
    """What each step adds to the text: the tag before the first, and behind each what stood there in the solution, so that a completion begins where
    the next step or the answer does."""
    ends = [protocol.STEP_DELIMITER] * (len(steps) - 1) + [protocol.END_THINK]
    lines = [protocol.escape(step) + end for step, end in zip(steps, ends, strict=False)]
    return [protocol.THINK + lines[0], *lines[1:]] if lines else []


def count_right(record: Record, texts: Sequence[str], finished: Sequence[bool]) -> Estimate:
    """How many of these whole completions end in the gold answer. One that was cut off or has no answer failed: it is no evidence either way."""
    valid = [text for text, done in zip(texts, finished, strict=True) if done and protocol.parse(text).answer is not None]
    right = sum(solution_labels(record, text)[-1] for text in valid)  # type: ignore[index]
    return Estimate(int(right), len(valid), len(texts) - len(valid))
