"""The harness: who runs when, what the numbers mean, and that a loss is called a loss."""

import time

import pytest
import torch

from bench.harness import Comparison, DifferentError, Setting, alternate, close, describe, measure, peak_memory, spread, verdict


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


def test_a_ratio_is_peer_over_ours_and_rates_are_work_per_second():
    result = measure(
        "nap", comparison(lambda: time.sleep(0.01), lambda: time.sleep(0.04), {"time": 2.0}, work=(100, 100)), Setting(), repeats=3, warmup=1
    )
    ratio = result["ratios"]["time"]
    assert 2.0 < ratio["median"] < 5.0 and ratio["goal"] == 2.0 and ratio["reached"]
    ours = result["seconds"]["ours"]
    assert ours["per_s"] == pytest.approx(100 / ours["median"]) and 0.01 <= ours["median"] < 0.04
    assert {"bench", "peer", "sizes", "same", "device", "threads", "versions", "date", "dtype", "quick", "repeats"} <= set(result)
    assert result["versions"]["torch"] == torch.__version__.split("+")[0] or result["versions"]["torch"] == torch.__version__


def test_losses_are_said_plainly():
    assert verdict("time", {"median": 0.5}).startswith("WE LOSE: 2.00 x slower")
    assert verdict("memory", {"median": 0.25, "goal": 8.0, "reached": False}) == "WE LOSE: 4.00 x larger; goal 8.00: NOT reached"
    assert verdict("memory", {"median": 9.0, "goal": 8.0, "reached": True}) == "9.00 x smaller; goal 8.00: reached"
    result = measure("nap", comparison(lambda: time.sleep(0.02), lambda: None, {"time": 1.0}), Setting(quick=True), repeats=2, warmup=1)
    assert "WE LOSE" in describe(result) and "its numbers say nothing" in describe(result)


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
