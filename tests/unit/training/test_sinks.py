"""Where metrics go: lines that a resumed run cuts back to its checkpoint, TensorBoard, Weights & Biases, and the live line."""

import builtins
import json
import sys
import types

import pytest

from training.sinks import JsonlSink, Progress, TensorBoardSink, WandbSink


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_resumed_run_cuts_off_what_lies_behind_its_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    sink = JsonlSink(path)
    sink.write({"step": 1})
    kept = sink.offset
    sink.write({"step": 2, "loss": 0.5})
    sink.close()
    assert rows(path) == [{"step": 1}, {"step": 2, "loss": 0.5}] and kept == len('{"step": 1}\n')
    again = JsonlSink(path, kept)
    again.write({"step": 2, "loss": 0.4})
    again.close()
    assert rows(path) == [{"step": 1}, {"step": 2, "loss": 0.4}]


def test_without_an_offset_lines_are_added(tmp_path):
    for step in (1, 2):
        sink = JsonlSink(tmp_path / "metrics.jsonl")
        sink.write({"step": step})
        sink.close()
    assert rows(tmp_path / "metrics.jsonl") == [{"step": 1}, {"step": 2}]


def test_tensorboard_gets_the_numbers_by_stage_and_step(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sink = TensorBoardSink(tmp_path)
    for step in (1, 2):
        sink.write({"stage": "sft", "step": step, "loss": 1 / step, "note": "words are left out"})
    sink.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("sft/loss")] == [(1, 1.0), (2, 0.5)]
    assert not [tag for tag in events.Tags()["scalars"] if "note" in tag]


def test_wandb_is_offline_and_gets_the_numbers(tmp_path, monkeypatch):
    logged, asked = [], {}
    run = types.SimpleNamespace(log=logged.append, finish=lambda: logged.append("finished"))
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=lambda **options: asked.update(options) or run))
    sink = WandbSink(tmp_path / "mine")
    sink.write({"stage": "sft", "step": 3, "loss": 0.5, "note": "x"})
    sink.close()
    assert asked["mode"] == "offline" and asked["name"] == "mine"
    assert logged == [{"sft/step": 3, "sft/loss": 0.5}, "finished"]


def test_a_missing_package_is_named_with_its_remedy(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "wandb":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="wandb is not installed: pip install wandb"):
        WandbSink(tmp_path)


def test_the_live_line_says_step_loss_speed_and_time_left(capsys, monkeypatch):
    """Ten seconds a step from step 3 on: two steps are left after step 4, so twenty seconds. The last step is always shown."""
    now = [0.0]
    monkeypatch.setattr("training.sinks.time.perf_counter", lambda: now[0])
    progress = Progress("sft", 6)
    progress.terminal = False
    for step in (3, 4, 5, 6):
        now[0] += 10.0
        progress.show(step, 1.25, 1234.0)
    shown = capsys.readouterr().err.splitlines()
    assert shown[1] == "sft  step 4/6  loss 1.2500  1,234 tokens/s  0:20 left" and shown[-1].endswith("0:00 left")
    now[0] += 1.0
    Progress("sft", 6).show(2, 1.0, 1.0)
    assert capsys.readouterr().err == ""  # not every step
