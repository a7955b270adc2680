"""Labels for the steps of a solution: from completions of its prefixes, from a judge, from both, or exactly from a world's verifier.

A label says whether the solution is right *up to* its step. *Not measured* is never the same as *measured zero*: an unmeasured step has no label
and takes no part in a loss. Sources: Math-Shepherd, VisualPRM, "Lessons of Developing PRMs" (consensus); the public codebases' faults are in the
tests.
"""

import dataclasses
import math
from collections.abc import Sequence

from data import protocol
from data.record import Record, StepKind
from data.solutions import Label
from data.verdict import Verdict
from data.worlds.base import verify

CONSENSUS_MODES = ("mc", "judge", "consensus_strict", "consensus_loose", "judge_if_mc_zero")


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """Completions from one prefix: `correct` of `valid` ended in the right answer; `failed` ones (no answer, an exception) are no evidence
    either way."""

    correct: int
    valid: int
    failed: int = 0

    @property
    def soft(self) -> float | None:
        return self.correct / self.valid if self.valid else None

    @property
    def noise(self) -> float | None:
        """Standard deviation of `soft` as a binomial estimate."""
        return None if self.soft is None else math.sqrt(self.soft * (1 - self.soft) / self.valid)


UNMEASURED = Estimate(0, 0)


def soft_labels(estimates: Sequence[Estimate]) -> list[float | None]:
    """Share of right completions per step; None where nothing valid was measured."""
    return [e.soft for e in estimates]


def hard_labels(estimates: Sequence[Estimate], threshold: float = 0.0) -> list[int | None]:
    """1 where the share of right completions is strictly above the threshold (0: any right completion, as Math-Shepherd), else 0; None
    unmeasured."""
    return [None if e.soft is None else int(e.soft > threshold) for e in estimates]


def monotone(labels: Sequence[int | None]) -> list[int | None]:
    """Repair: once a step is wrong, what follows is wrong. `0 0 0 1 0` becomes `0 0 0 0 0`; unmeasured steps stay unmeasured."""
    repaired: list[int | None] = []
    alive = 1
    for label in labels:
        alive = alive if label is None else alive * label
        repaired.append(None if label is None else alive)
    return repaired


def stop_early(estimates: Sequence[Estimate]) -> list[Estimate]:
    """What a sampler that stops at the first measured zero has paid for: everything behind it is unmeasured. The published rule in the plain, kept as
    the reference for `training.step_labelling.measure_steps`, which follows no branch behind a zero in the first place."""
    for i, estimate in enumerate(estimates):
        if estimate.valid and not estimate.correct:
            return [*estimates[: i + 1], *[UNMEASURED] * (len(estimates) - i - 1)]
    return list(estimates)


def first_error(labels: Sequence[int | None]) -> int | None:
    """Index of the first step labelled wrong, None where none is."""
    return next((i for i, label in enumerate(labels) if label == 0), None)


def verifier_labels(verdict: Verdict) -> list[int | None]:
    """Exact labels of a world's completion: 1 up to the first wrong step, 0 from there on; steps that claim nothing before it are unmeasured."""
    labels: list[int | None] = []
    for i, step in enumerate(verdict.steps):
        wrong = verdict.first_error is not None and i >= verdict.first_error
        labels.append(0 if wrong else (1 if step == "ok" else None))
    return labels


def solution_labels(record: Record, text: str) -> list[int | None] | None:
    """Exact labels of a completion's steps and, last, of its answer; None where it has no answer."""
    verdict = verify(record, text)
    return None if protocol.parse(text).answer is None else [*verifier_labels(verdict), int(verdict.answer_ok)]


def step_kinds(record: Record, steps: Sequence[str]) -> list[StepKind | None]:
    """Is each step one of perception or of reasoning? A step that writes down a gold step's key, or its very text, is of the gold step's kind; any
    other fact of the scene can only have been seen; what is neither is None."""
    gold = record.steps or []
    by_key = {s.text.partition(":")[0].strip(): s.kind for s in gold if ":" in s.text}
    by_text = {s.text.strip(): s.kind for s in gold}
    facts = record.meta.get("facts", {})
    kinds: list[StepKind | None] = []
    for step in steps:
        key = step.partition(":")[0].strip()
        seen: StepKind | None = "perception" if key in facts else None
        kinds.append(by_key.get(key) or by_text.get(step.strip()) or seen)
    return kinds


def supervised(labels: Sequence[Label], kinds: Sequence[StepKind | None], supervise: str = "all") -> list[Label]:
    """The labels that are learned from: of `all` steps, of those of kind `perception` or `reasoning`, or of none (`outcome`). The answer's, the last,
    always is."""
    if supervise == "all":
        return list(labels)
    kept = [label if kind == supervise else None for label, kind in zip(labels, kinds, strict=False)]
    return [*kept, *labels[len(kinds) :]]


def consensus(mc: Sequence[int | None], judge_error: int | None, mode: str = "consensus_strict") -> list[int | None] | None:
    """Labels from Monte-Carlo labels and a judge's first-error index (None: no error found), or None where the trace is dropped.

    `mc` and `judge` trust one source. `consensus_strict` keeps a trace where both name the same first error, or neither any; `consensus_loose`
    where both find an error or neither does, and takes the earlier. `judge_if_mc_zero` believes the judge only where sampling found an error
    too. Steps behind the first error are unmeasured.
    """
    if mode not in CONSENSUS_MODES:
        raise ValueError(f"consensus mode {mode!r} is not one of {', '.join(CONSENSUS_MODES)}")
    mc_error = first_error(mc)
    if mode == "mc":
        return _up_to(mc_error, len(mc))
    if mode == "judge":
        return _up_to(judge_error, len(mc))
    if mode == "judge_if_mc_zero":
        return _up_to(None if mc_error is None else judge_error, len(mc))
    if mode == "consensus_strict":
        return _up_to(mc_error, len(mc)) if mc_error == judge_error else None
    if (mc_error is None) != (judge_error is None):
        return None
    return _up_to(None if mc_error is None else min(mc_error, judge_error), len(mc))


def _up_to(error: int | None, count: int) -> list[int | None]:
    if error is None:
        return [1] * count
    return [1] * error + [0] + [None] * (count - error - 1)


def merge_steps(pieces: Sequence[str], most: int, delimiter: str = "\n") -> list[str]:
    """At most `most` steps: consecutive pieces joined in groups of ceil(len / most), so that 25 pieces with most=12 become 9. VisualPRM's published
    rule, kept as a reference for whoever brings its solutions here: ours have one step a line, and are never joined."""
    if most < 1:
        raise ValueError(f"a solution needs at least one step, not {most}")
    size = max(1, math.ceil(len(pieces) / most))
    return [delimiter.join(pieces[i : i + size]) for i in range(0, len(pieces), size)]


def false_minus(rate: float, samples: int) -> float:
    """Probability that a step whose completions are right at `rate` gets no right one in `samples`, and so a wrong hard label: (1 - p)^N."""
    return (1 - rate) ** samples
