"""One way to measure everything: two sides that compute the same thing, by turns in one run, as a ratio with its spread.

A bench is a function `(Setting) -> Comparison` with a line in `configs/registry.py`. The harness warms both sides up, checks that they computed the
same thing, times them alternately (the order turns every round), and says plainly where we lose.
"""

import dataclasses
import datetime
import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

TABLE_HEAD = "| bench | sizes | ratio (quartiles) | goal | ours | peer | date, device, threads, torch |\n|---|---|---|---|---|---|---|"
PACKAGES = ("torch", "transformers", "trl", "numpy")


@dataclasses.dataclass(frozen=True)
class Setting:
    """quick: the smallest sizes, to see that a bench runs; on a GPU benches take their larger sizes and bfloat16 by themselves."""

    quick: bool = False
    device: str = "cpu"
    seed: int = 0

    @property
    def gpu(self) -> bool:
        return self.device != "cpu"

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.gpu else torch.float32

    def pick(self, quick: Any, cpu: Any, gpu: Any) -> Any:
        """The size that fits the setting."""
        return quick if self.quick else gpu if self.gpu else cpu


@dataclasses.dataclass
class Comparison:
    """ours, peer: one whole run of either side, each from the same state. `same` takes both results and returns what it found equal, or raises
    `DifferentError`. work: tokens (or another unit) that one run of a side is worth, ours and the peer's, for rates. goals: the smallest ratio peer /
    ours of `time` and, where given, of `memory` (peak extra memory of one run), that we want to reach."""

    ours: Callable[[], Any]
    peer: Callable[[], Any]
    peer_name: str
    same: Callable[[Any, Any], str]
    sizes: dict[str, Any]
    goals: dict[str, float]
    work: tuple[float, float] | None = None
    unit: str = "tokens"
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


class DifferentError(ValueError):
    """Both sides did not compute the same thing: their times mean nothing."""


def close(ours: torch.Tensor, peer: torch.Tensor, tolerance: float, what: str) -> str:
    """What `same` says of two tensors within a relative L2 distance; `DifferentError` beyond it."""
    distance = float((ours.double() - peer.double()).norm() / peer.double().norm().clamp(min=1e-30))
    if ours.shape != peer.shape or not distance <= tolerance:
        raise DifferentError(f"{what} differ: relative L2 {distance:.1e} > {tolerance:.0e} (shapes {tuple(ours.shape)}, {tuple(peer.shape)})")
    return f"{what} equal (relative L2 {distance:.1e})"


def measure(name: str, comparison: Comparison, setting: Setting, *, repeats: int = 7, warmup: int = 2) -> dict[str, Any]:
    """Everything there is to say about a comparison, as plain JSON values. Times in seconds, memory in bytes, ratios peer / ours."""
    same = comparison.same(comparison.ours(), comparison.peer())
    times = alternate((comparison.ours, comparison.peer), repeats, warmup - 1, setting.gpu)
    rounds = [theirs / mine for mine, theirs in zip(*times, strict=True)]
    sides = {side: spread(seconds) for side, seconds in zip(("ours", "peer"), times, strict=True)}
    ratios = {"time": {**spread(rounds), "median": sides["peer"]["median"] / sides["ours"]["median"]}}
    if comparison.work is not None:
        for side, work in zip(sides, comparison.work, strict=True):
            sides[side]["per_s"] = work / sides[side]["median"]
    if "memory" in comparison.goals:
        peaks = [peak_memory(run, setting.gpu) for run in (comparison.ours, comparison.peer)]
        ratios["memory"] = {"median": peaks[1] / max(1, peaks[0]), "ours_bytes": peaks[0], "peer_bytes": peaks[1]}
    for measure_name, goal in comparison.goals.items():
        ratios[measure_name] |= {"goal": goal, "reached": ratios[measure_name]["median"] >= goal}
    return {
        "bench": name, "peer": comparison.peer_name, "sizes": comparison.sizes, "same": same, "seconds": sides, "unit": comparison.unit,
        "ratios": ratios, "facts": comparison.facts, "repeats": repeats, "quick": setting.quick, "seed": setting.seed, **surroundings(setting),
    }  # fmt: skip


def alternate(sides: Sequence[Callable[[], Any]], repeats: int, warmup: int, gpu: bool) -> list[list[float]]:
    """Seconds of each run of each side, taken by turns; every other round goes the other way round."""
    times: list[list[float]] = [[] for _ in sides]
    order = list(range(len(sides)))
    for number in range(warmup + repeats):
        for i in order if number % 2 == 0 else reversed(order):
            _wait(gpu)
            start = time.perf_counter()
            sides[i]()
            _wait(gpu)
            if number >= warmup:
                times[i].append(time.perf_counter() - start)
    return times


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"low": low, "median": middle, "high": high}


def peak_memory(run: Callable[[], Any], gpu: bool) -> int:
    """Bytes that a run holds at its peak above what was held before: by the allocator's own count on a GPU, by the profiler's record of every
    allocation on a CPU."""
    if gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    records = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(records, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def _wait(gpu: bool) -> None:
    if gpu:
        torch.cuda.synchronize()


def surroundings(setting: Setting) -> dict[str, Any]:
    """Device, threads, versions and date: a number without them is worth nothing."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    device = torch.cuda.get_device_name() if setting.gpu else platform.processor() or platform.machine()
    return {
        "device": device, "threads": torch.get_num_threads(), "dtype": str(setting.dtype).removeprefix("torch."), "versions": versions,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }  # fmt: skip


def describe(result: dict[str, Any]) -> str:
    """A result for people, losses in plain words."""
    lines = [f"{result['bench']}: ours against {result['peer']}"]
    lines.append("  sizes    " + ", ".join(f"{k} {v}" for k, v in result["sizes"].items()))
    lines.append(f"  check    {result['same']}")
    for side, seconds in result["seconds"].items():
        rate = f"   {seconds['per_s']:,.0f} {result['unit']}/s" if "per_s" in seconds else ""
        lines.append(f"  {side:8} {seconds['median']:.4f} s   quartiles {seconds['low']:.4f} to {seconds['high']:.4f}{rate}")
    for name, ratio in result["ratios"].items():
        lines.append(f"  {name:8} {verdict(name, ratio)}")
    lines += [f"  {name:8} {value:.3g}" if isinstance(value, float) else f"  {name:8} {value}" for name, value in result["facts"].items()]
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items() if v)
    lines.append(f"  on       {result['device']}, {result['threads']} threads, {result['dtype']}; {versions}; {result['date']}")
    if result["quick"]:
        lines.append("  quick sizes: this shows that the bench runs; its numbers say nothing")
    return "\n".join(lines)


def verdict(name: str, ratio: dict[str, Any]) -> str:
    better, worse = ("faster", "slower") if name == "time" else ("smaller", "larger")
    value = ratio["median"]
    said = f"{value:.2f} x {better}" if value >= 1 else f"WE LOSE: {1 / value:.2f} x {worse}"
    quartiles = f" (quartiles of the rounds {ratio['low']:.2f} to {ratio['high']:.2f})" if "low" in ratio else ""
    if "goal" in ratio:
        said += f"; goal {ratio['goal']:.2f}: " + ("reached" if ratio["reached"] else "NOT reached")
    return said + quartiles


def table_row(result: dict[str, Any]) -> str:
    """A result as a row under `TABLE_HEAD`."""
    ratios, goals = [], []
    for name, ratio in result["ratios"].items():
        quartiles = f" ({ratio['low']:.2f} to {ratio['high']:.2f})" if "low" in ratio else ""
        ratios.append(f"{name} {ratio['median']:.2f} ×{quartiles}")
        if "goal" in ratio:
            goals.append(f"{name} {ratio['goal']:.2f} ×: {'reached' if ratio['reached'] else 'not reached'}")
    facts = [f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in result["facts"].items()]
    sides = [
        f"{side['median']:.3g} s" + (f", {side['per_s']:,.0f} {result['unit']}/s" if "per_s" in side else "") for side in result["seconds"].values()
    ]
    sizes = ", ".join(f"{name} {value}" for name, value in result["sizes"].items())
    where = f"{result['date']}, {result['device']}, {result['threads']}, {result['versions']['torch']}"
    return f"| `{result['bench']}` | {sizes} | {'; '.join(ratios + facts)} | {'; '.join(goals) or 'shown'} | {sides[0]} | {sides[1]} | {where} |"
