"""From rewards to one number: weights, gates and a sum, as the recipe writes them. The reward worker boundary: nothing that a reward does can
end a run.

A reward that raises, runs out of time or returns something that is no finite number earns 0 with a reason, is counted, and keeps its traceback in the
ledger. It never earns 1: a broken reward must not teach. Time-outs depend on the machine's mood, so they are written down, and a resumed run takes
them from there.
"""

import collections
import contextlib
import dataclasses
import json
import math
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from data import answers, protocol
from data.record import Record
from data.verdict import Verdict
from data.worlds.base import verify
from training.options import bind
from training.rewards.rollout import Rollout

MAX_TRACEBACKS = 20  # a reward that always fails would fill the ledger with one story


class RewardTimeoutError(TimeoutError):
    """A reward took longer than it may. Being an `OSError`, it also makes the mathematics worker drop a question that it interrupts."""


@dataclasses.dataclass(frozen=True, slots=True)
class Term:
    """`weight * reward`, times the value of the term named by `gate` where one is named (format as a gate: no credit without it)."""

    name: str
    reward: Callable[[Rollout], float]
    weight: float = 1.0
    gate: str | None = None


@dataclasses.dataclass(slots=True)
class Ledger:
    """Failures by `term: reason`, with the first tracebacks. `seconds` is what one reward may take. `path` is where time-outs are written down, by
    the name of the rollout."""

    failures: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    tracebacks: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 60.0
    path: Path | None = None
    timeouts: set[str] = dataclasses.field(default_factory=set)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.is_file():
            self.timeouts |= {json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines() if line.endswith('"')}

    def add(self, term: str, reason: str, trace: str | None = None) -> None:
        self.failures[f"{term}: {reason}"] += 1
        if trace and len(self.tracebacks) < MAX_TRACEBACKS:
            self.tracebacks.append(trace)

    def timed_out(self, term: str, place: str) -> None:
        self.add(term, "timeout")
        if place not in self.timeouts:
            self.timeouts.add(place)
            if self.path is not None:
                with self.path.open("a", encoding="utf-8") as out:
                    out.write(json.dumps(place) + "\n")

    def state_dict(self) -> dict[str, Any]:
        return {"failures": dict(self.failures), "tracebacks": list(self.tracebacks)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.failures, self.tracebacks = collections.Counter(state["failures"]), list(state["tracebacks"])


def build_terms(lines: Sequence[dict], lookup: Callable[[str], Callable]) -> list[Term]:
    """Terms from recipe lines `{name, weight, gate, **options}`; `lookup` finds a reward by name. A gate must name another term of the list."""
    names = [line["name"] for line in lines]
    terms = []
    for line in lines:
        options = {k: v for k, v in line.items() if k not in ("name", "weight", "gate")}
        gate = line.get("gate")
        if gate is not None and (gate not in names or gate == line["name"]):
            raise ValueError(f"reward {line['name']!r}: gate {gate!r} is not another reward of the list ({', '.join(names)})")
        terms.append(Term(line["name"], bind(line["name"], lookup(line["name"]), options), line.get("weight", 1.0), gate))
    if len(set(names)) < len(names):
        raise ValueError(f"a reward is listed twice: {', '.join(names)}")
    return terms


def judge(record: Record, text: str, ledger: Ledger, place: str = "") -> Verdict:
    """The verdict on a completion; one whose answer the mathematics worker could not settle in time is wrong, with the reason `timeout`."""
    mark = f"{place}/verdict"
    before = answers.WORKER.timeouts
    verdict = verify(record, text) if mark not in ledger.timeouts else None
    if verdict is not None and answers.WORKER.timeouts == before:
        return verdict
    ledger.timed_out("verdict", mark)
    return Verdict(False, 0.0, protocol.parse(text).format_ok, reason="timeout")


def score(rollout: Rollout, terms: Sequence[Term], ledger: Ledger, place: str = "") -> tuple[float, dict[str, float]]:
    """(total, value of each term before weight and gate). `place` names the rollout, so that its time-outs can be found again."""
    parts = {term.name: _guarded(term, rollout, ledger, f"{place}/{term.name}") for term in terms}
    total = sum(t.weight * parts[t.name] * (parts[t.gate] if t.gate else 1.0) for t in terms)
    return total, parts


def _guarded(term: Term, rollout: Rollout, ledger: Ledger, mark: str) -> float:
    if mark in ledger.timeouts:
        ledger.timed_out(term.name, mark)
        return 0.0
    try:
        with time_limit(ledger.seconds):
            value = float(term.reward(rollout))
    except RewardTimeoutError:
        ledger.timed_out(term.name, mark)
        return 0.0
    except Exception as error:  # noqa: BLE001 - the reward worker boundary
        ledger.add(term.name, type(error).__name__, traceback.format_exc())
        return 0.0
    if not math.isfinite(value):
        ledger.add(term.name, "not finite")
        return 0.0
    return value


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `RewardTimeoutError` in the body after so many seconds. Works in the main thread of systems with interval timers, where training runs;
    elsewhere there is no limit."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise RewardTimeoutError(f"more than {seconds} s")

    former = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
