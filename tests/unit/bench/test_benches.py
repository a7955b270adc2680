"""Every bench runs at its smallest size, its two sides agree, and its command line prints what it found."""

import json
from types import SimpleNamespace

import pytest
import torch

from bench import reasoner, startup
from bench.__main__ import main
from bench.fusion import flops
from bench.harness import DifferentError, Setting, describe, measure
from bench.rollout import beside_static, copy_bandwidth, roof
from configs.registry import BENCHES

SPEED = ("rollout", "update", "tw_loss", "grpo_step", "media_step", "sft", "fusion")


@pytest.mark.parametrize("name", SPEED)
def test_both_sides_compute_the_same(name):
    if name == "grpo_step":
        pytest.importorskip("trl", reason="TRL is the peer; pip install -r requirements-dev.txt")
    setting = Setting(quick=True)
    result = measure(name, BENCHES.get(name)(setting), setting, repeats=1, warmup=1)
    assert result["same"] and result["ratios"]["time"]["median"] > 0
    assert all(side["per_s"] > 0 for side in result["seconds"].values())
    assert json.loads(json.dumps(result)) == result


def test_the_help_is_timed_and_both_sides_print_it():
    """No time is asserted: it depends on the machine."""
    setting = Setting(quick=True)
    result = measure("startup", BENCHES.get("startup")(setting), setting, repeats=2, warmup=1)
    assert result["same"] == "the pages are equal" and "train.py --help" in describe(result)
    assert all(0 < side["low"] <= side["median"] <= side["high"] for side in result["seconds"].values())
    with pytest.raises(DifferentError, match="differ"):
        startup.same("usage: train.py", "usage: other.py")


class Shape:
    """The layer of the reference table: Llama-3.2-1B, d 2048, feed-forward 8192, keys and values 512 wide."""

    hidden_size, intermediate_size, num_attention_heads, num_key_value_heads, head_dim = 2048, 8192, 32, 8, 64


TABLE = [(32, 64, 11.8, 8.1), (128, 64, 23.7, 8.8), (512, 64, 72.8, 11.8), (512, 256, 98.2, 36.5), (1500, 64, 210.3, 19.6)]


@pytest.mark.parametrize(("media", "text", "prepend", "kv"), TABLE)
def test_predicted_flops_are_those_of_a_llama_layer(media, text, prepend, kv):
    """GFLOP of a Llama-3.2-1B layer by hand; kv has a projector from 768 wide of its own at every layer there."""
    projector = 2 * media * 768 * 2048
    assert flops(Shape, media, text, "residual") / 1e9 == pytest.approx(prepend, abs=0.06)
    assert (flops(Shape, media, text, "kv") + projector) / 1e9 == pytest.approx(kv, abs=0.06)


def test_the_roof_of_decoding_by_hand():
    """On a small model, and at the 0.5 B shape: 2 x 24 layers x 2 heads x 64 x 640 tokens x 2 bytes = 7.86 MB of keys and values a row."""
    model = reasoner.build(Setting(quick=True)).llm
    config = model.config
    kept = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 640 * 4
    weights = 4 * sum(p.numel() for p in model.parameters())
    assert roof(model, 64, 640, 3e12) == pytest.approx(64 * 3e12 / (weights + 64 * kept))
    shape = SimpleNamespace(tie_word_embeddings=True, num_hidden_layers=24, num_key_value_heads=2, head_dim=64)
    half = torch.nn.Linear(10, 10, bias=False, dtype=torch.bfloat16)
    half.config = shape
    assert roof(half, 1, 640, 1.0) == pytest.approx(1 / (200 + 7_864_320))


def test_a_static_cache_is_timed_by_turns():
    calls = []
    found = beside_static(lambda: calls.append("ours"), lambda: calls.append("static"), rounds=2, gpu=False)
    assert calls.count("ours") == calls.count("static") == 4 and found["over_static_cache"] == found["static_cache_s"] / found["ours_s"]
    assert copy_bandwidth("cpu", 1 << 10, 2) > 0


def test_command_line(capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(any(line.startswith(f"{name} ") for line in listed.splitlines()) for name in SPEED)
    assert main(["no_such_bench"]) == 2
    assert "unknown bench 'no_such_bench'" in capsys.readouterr().err
    assert main(["update", "--quick", "--json", "--device", "cpu"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["bench"] == "update" and printed["quick"] and "relative L2" in printed["same"]
