"""The harness: who runs when, what the numbers mean, and that a loss is called a loss."""

import pytest
import torch

from bench import harness
from bench.harness import (
    TABLE_HEAD,
    Comparison,
    DifferentError,
    Setting,
    alternate,
    close,
    describe,
    measure,
    peak_memory,
    spread,
    table_row,
    verdict,
)


def comparison(ours, peer, goals, same=lambda a, b: "the same", **more):
    return Comparison(ours, peer, "a peer", same, {"n": 1}, goals, **more)


def test_sides_take_turns_and_swap_every_round():
    log = []
    times = alternate((lambda: log.append("a"), lambda: log.append("b")), repeats=2, warmup=1, gpu=False)
    assert log == ["a", "b", "b", "a", "a", "b"]
    assert [len(t) for t in times] == [2, 2] and min(min(t) for t in times) >= 0


def test_median_and_quartiles_by_hand():
    assert spread([5.0, 1.0, 2.0, 4.0, 3.0]) == {"low": 2.0, "median": 3.0, "high": 4.0}
    assert spread([2.0]) == {"low": 2.0, "median": 2.0, "high": 2.0}


class Clock:
    """A clock that moves only as a side says it takes time."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def takes(self, *seconds: float):
        left = list(seconds)

        def run() -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(harness, "time", clock)
    return clock


def test_a_ratio_is_peer_over_ours_and_rates_are_work_per_second(clock):
    """Ours takes 1, 2, 3 s after the run that is checked, the peer 8, 4, 6: medians 2 and 6, rounds 8, 2, 2."""
    sides = clock.takes(50, 1, 2, 3), clock.takes(50, 8, 4, 6)
    result = measure("nap", comparison(*sides, {"time": 2.0}, work=(100, 60)), Setting(), repeats=3, warmup=1)
    assert result["ratios"] == {"time": {"low": 2.0, "median": 3.0, "high": 5.0, "goal": 2.0, "reached": True}}
    assert result["seconds"] == {
        "ours": {"low": 1.5, "median": 2.0, "high": 2.5, "per_s": 50.0}, "peer": {"low": 5.0, "median": 6.0, "high": 7.0, "per_s": 10.0}
    }  # fmt: skip
    assert {"bench", "peer", "sizes", "same", "device", "threads", "versions", "date", "dtype", "quick", "repeats"} <= set(result)
    assert result["versions"]["torch"] and result["threads"] == torch.get_num_threads()


def test_losses_are_said_plainly(clock):
    assert verdict("time", {"median": 0.5}).startswith("WE LOSE: 2.00 x slower")
    assert verdict("memory", {"median": 0.25, "goal": 8.0, "reached": False}) == "WE LOSE: 4.00 x larger; goal 8.00: NOT reached"
    assert verdict("memory", {"median": 9.0, "goal": 8.0, "reached": True}) == "9.00 x smaller; goal 8.00: reached"
    result = measure("nap", comparison(clock.takes(4), clock.takes(2), {"time": 1.0}), Setting(quick=True), repeats=2, warmup=1)
    row = table_row(result)
    assert row.startswith("| `nap` | n 1 | time 0.50 ×") and "not reached" in row and row.count("|") == TABLE_HEAD.splitlines()[0].count("|")
    assert "WE LOSE: 2.00 x slower" in describe(result) and "its numbers say nothing" in describe(result)


def test_sides_that_differ_are_not_timed():
    runs = []

    def same(ours, peer):
        return close(ours, peer, 1e-5, "sums")

    with pytest.raises(DifferentError, match=r"sums differ: relative L2 5\.0e-01"):
        measure("wrong", comparison(lambda: runs.append(1) or torch.tensor([3.0]), lambda: torch.tensor([2.0]), {}, same), Setting())
    assert len(runs) == 1
    with pytest.raises(DifferentError):
        close(torch.tensor([float("nan")]), torch.tensor([1.0]), 1e-5, "x")
    assert close(torch.ones(3), torch.ones(3), 0.0, "ones") == "ones equal (relative L2 0.0e+00)"


def test_peak_memory_counts_what_is_held_at_once():
    """Four megabytes at a time, ten times over, are four; two at a time are eight. What was there before does not count."""
    standing = torch.zeros(1 << 20)

    def one_by_one():
        for _ in range(10):
            torch.ones(1 << 20)

    def together():
        first = torch.ones(1 << 20)
        return first + standing

    assert peak_memory(one_by_one, False) == pytest.approx(4 << 20, rel=0.01)
    assert peak_memory(together, False) == pytest.approx(8 << 20, rel=0.01)
    result = measure("sum", comparison(one_by_one, together, {"memory": 1.5}), Setting(), repeats=1, warmup=1)
    assert result["ratios"]["memory"]["median"] == pytest.approx(2.0, rel=0.02) and result["ratios"]["memory"]["reached"]


def test_sizes_follow_the_setting():
    assert [Setting(quick=True).pick(1, 2, 3), Setting().pick(1, 2, 3), Setting(device="cuda").pick(1, 2, 3)] == [1, 2, 3]
    assert Setting(device="cuda").dtype == torch.bfloat16 and Setting().dtype == torch.float32
