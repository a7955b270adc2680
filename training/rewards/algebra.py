"""From rewards to one number: weights, gates and a sum, as the recipe writes them. The reward worker boundary: nothing that a reward does can
end a run.

A reward that raises or returns something that is no finite number earns 0 with a reason, is counted, and keeps its traceback in the ledger. It
never earns 1: a broken reward must not teach.
"""

import collections
import dataclasses
import functools
import math
import traceback
from collections.abc import Callable, Sequence

from training.rewards.rollout import Rollout

MAX_TRACEBACKS = 20  # a reward that always fails would fill the ledger with one story


@dataclasses.dataclass(frozen=True, slots=True)
class Term:
    """`weight * reward`, times the value of the term named by `gate` where one is named (format as a gate: no credit without it)."""

    name: str
    reward: Callable[[Rollout], float]
    weight: float = 1.0
    gate: str | None = None


@dataclasses.dataclass(slots=True)
class Ledger:
    """Failures by `term: reason`, with the first tracebacks."""

    failures: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    tracebacks: list[str] = dataclasses.field(default_factory=list)

    def add(self, term: str, reason: str, trace: str | None = None) -> None:
        self.failures[f"{term}: {reason}"] += 1
        if trace and len(self.tracebacks) < MAX_TRACEBACKS:
            self.tracebacks.append(trace)


def build_terms(lines: Sequence[dict], lookup: Callable[[str], Callable]) -> list[Term]:
    """Terms from recipe lines `{name, weight, gate, **options}`; `lookup` finds a reward by name. A gate must name another term of the list."""
    names = [line["name"] for line in lines]
    terms = []
    for line in lines:
        options = {k: v for k, v in line.items() if k not in ("name", "weight", "gate")}
        gate = line.get("gate")
        if gate is not None and (gate not in names or gate == line["name"]):
            raise ValueError(f"reward {line['name']!r}: gate {gate!r} is not another reward of the list ({', '.join(names)})")
        terms.append(Term(line["name"], functools.partial(lookup(line["name"]), **options), line.get("weight", 1.0), gate))
    if len(set(names)) < len(names):
        raise ValueError(f"a reward is listed twice: {', '.join(names)}")
    return terms


def score(rollout: Rollout, terms: Sequence[Term], ledger: Ledger) -> tuple[float, dict[str, float]]:
    """(total, value of each term before weight and gate)."""
    parts = {term.name: _guarded(term, rollout, ledger) for term in terms}
    total = sum(t.weight * parts[t.name] * (parts[t.gate] if t.gate else 1.0) for t in terms)
    return total, parts


def _guarded(term: Term, rollout: Rollout, ledger: Ledger) -> float:
    try:
        value = float(term.reward(rollout))
    except Exception as error:  # noqa: BLE001 - the reward worker boundary
        ledger.add(term.name, type(error).__name__, traceback.format_exc())
        return 0.0
    if not math.isfinite(value):
        ledger.add(term.name, "not finite")
        return 0.0
    return value
