"""The training loop that all stages share: take a batch, let the stage make gradients, step, log, save. What a stage learns from is its own business.

`compute(batch, step) -> metrics` leaves gradients on the model. A loss or gradient that is not finite never reaches the weights: the step is
dropped and counted, and a run of such steps ends the stage with an error.
"""

import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training import checkpoint
from training.optimizers import Optimizers, schedule
from training.sinks import JsonlSink, Progress, Sink

MOST_BAD_STEPS = 20  # in a row


class DivergedError(ValueError):
    """The loss or its gradient stayed non-finite."""


class Loop:
    """One stage's run. `settings` is the stage's configuration: steps, warmup, schedule, clip, save_every. `agree` says whether all processes that
    share the run can take the step."""

    def __init__(
        self, model: nn.Module, optimizers: Optimizers, settings: Any, run_dir: Path, stage_dir: Path, sinks: Iterable[Sink] = (), main: bool = True,
        agree: Callable[[bool], bool] = bool,
    ):  # fmt: skip
        self.model, self.optimizers, self.settings = model, optimizers, settings
        self.stage_dir, self.sinks, self.main, self.agree = stage_dir, list(sinks), main, agree
        self.kept: Any = None
        self.step, self.tokens_seen, self.bad_steps, self.skipped = 0, 0, 0, 0
        self.state: dict[str, Any] = {}
        found = checkpoint.latest(stage_dir)
        offset = _first_row(run_dir / "metrics.jsonl", settings.name)  # cut before the first checkpoint: the stage begins anew
        if found:
            self.step, self.state = checkpoint.load(found, model, optimizers)
            self.tokens_seen, self.skipped, offset = self.state["tokens_seen"], self.state["skipped"], self.state["metrics_offset"]
        self.metrics = JsonlSink(run_dir / "metrics.jsonl", offset) if main else None

    def keep(self, kept: Any) -> None:
        """Save and resume one more thing with the run: an object with `state_dict` (JSON) and `load_state_dict`."""
        self.kept = kept
        if "kept" in self.state:
            kept.load_state_dict(self.state["kept"])

    def run(self, stream: Any, compute: Callable[[Any, int], dict[str, float]], on_failures: Callable[[list], None]) -> None:
        """Train to the last step. `stream` yields (batch, failures) and resumes by its own state."""
        if "stream" in self.state:
            stream.load_state_dict(self.state["stream"])
        progress = Progress(self.settings.name, self.settings.steps)
        if self._finished():
            return
        for batch, failures in stream:
            on_failures(failures)
            if self.agree(batch is not None):
                self._one(batch, compute, progress)
            self.step += 1
            if self._finished():
                return
            if self.settings.save_every and self.step % self.settings.save_every == 0:
                self._save(stream)

    def _finished(self) -> bool:
        budget = self.settings.token_budget
        return self.step >= self.settings.steps or (budget is not None and self.tokens_seen >= budget)

    def _one(self, batch: Any, compute: Callable, progress: Progress) -> None:
        start = time.perf_counter()
        self.optimizers.set_scale(
            schedule(self.step, self.settings.schedule_steps or self.settings.steps, self.settings.warmup, self.settings.schedule)
        )
        self.optimizers.zero_grad()
        metrics = compute(batch, self.step)
        metrics["grad_norm"] = self.apply(metrics["loss"])
        elapsed = time.perf_counter() - start
        self.tokens_seen += int(metrics.get("tokens", 0))
        metrics["tokens_per_s"] = metrics.get("tokens", 0) / elapsed
        self._log(metrics, progress)

    def apply(self, loss: float) -> float:
        """Clip and step, unless loss or gradient is not finite; returns the gradient norm before clipping."""
        trained = [p for p in self.model.parameters() if p.grad is not None]
        if not trained:  # a step with nothing to learn from (no group with variance)
            return 0.0
        norm = float(torch.nn.utils.clip_grad_norm_(trained, self.settings.clip))
        if math.isfinite(norm) and math.isfinite(loss):
            self.optimizers.step()
            self.bad_steps = 0
            return norm
        self.optimizers.zero_grad()
        self.bad_steps, self.skipped = self.bad_steps + 1, self.skipped + 1
        if self.bad_steps >= MOST_BAD_STEPS:
            what = f"{MOST_BAD_STEPS} steps in a row had a loss or gradient that is not finite"
            raise DivergedError(f"stage {self.settings.name!r}: {what}: lower lr or clip")
        return norm

    def _log(self, metrics: dict[str, float], progress: Progress) -> None:
        if not self.main:
            return
        finite = {k: round(v, 6) if math.isfinite(v) else None for k, v in metrics.items()}
        lr = self.optimizers.all[0].param_groups[0]["lr"]
        row = {"stage": self.settings.name, "step": self.step + 1, **finite, "skipped": self.skipped, "lr": lr}
        for sink in (self.metrics, *self.sinks):
            sink.write(row)
        progress.show(self.step + 1, metrics["loss"], metrics["tokens_per_s"])

    def _save(self, stream: Any) -> None:
        if not self.main:
            return
        extra = {
            "stream": stream.state_dict(), "tokens_seen": self.tokens_seen, "skipped": self.skipped, "metrics_offset": self.metrics.offset,
        }  # fmt: skip
        if self.kept is not None:
            extra["kept"] = self.kept.state_dict()
        checkpoint.save(self.stage_dir, self.step, self.model, self.optimizers, extra)

    def close(self, facts: dict[str, Any]) -> None:
        """Write the stage's manifest, which marks it as finished, and drop its mid-stage checkpoints."""
        if not self.main:
            return
        self.metrics.close()
        manifest = {"steps": self.step, "tokens": self.tokens_seen, "skipped_steps": self.skipped, **facts}
        checkpoint.finish(self.stage_dir, json.dumps(manifest, indent=1))


def _first_row(path: Path, stage: str) -> int | None:
    """Where the rows of a stage begin in `metrics.jsonl`; None where it has none."""
    offset = 0
    for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else ():
        if line.endswith(b"\n") and json.loads(line)["stage"] == stage:
            return offset
        offset += len(line)
    return None
