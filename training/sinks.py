"""Where metrics go: always `metrics.jsonl` and one live line; TensorBoard and Weights & Biases (offline) where the recipe asks for them."""

import json
import sys
import time
from pathlib import Path
from typing import Protocol


class Sink(Protocol):
    def write(self, row: dict) -> None: ...
    def close(self) -> None: ...


class JsonlSink:
    """One JSON line per step. `offset` is the size of the file, so that a resumed run cuts off the rows behind its checkpoint."""

    def __init__(self, path: Path, offset: int | None = None):
        path.touch()
        self.file = path.open("r+", encoding="utf-8")
        self.file.seek(0, 2)
        if offset is not None:
            self.file.seek(offset)
            self.file.truncate()

    @property
    def offset(self) -> int:
        self.file.flush()
        return self.file.tell()

    def write(self, row: dict) -> None:
        self.file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        self.file.close()


class TensorBoardSink:
    def __init__(self, run_dir: Path):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(run_dir / "tensorboard")

    def write(self, row: dict) -> None:
        for key, value in row.items():
            if isinstance(value, (int, float)):
                self.writer.add_scalar(f"{row['stage']}/{key}", value, row["step"])

    def close(self) -> None:
        self.writer.close()


class WandbSink:
    """Writes offline; `wandb sync` uploads later. The package is the user's to install."""

    def __init__(self, run_dir: Path):
        try:
            import wandb
        except ImportError:
            raise ValueError("sinks: wandb is not installed: pip install wandb, or take it out of the recipe's sinks") from None
        self.run = wandb.init(dir=str(run_dir), project="focal", name=run_dir.name, mode="offline")

    def write(self, row: dict) -> None:
        self.run.log({f"{row['stage']}/{k}": v for k, v in row.items() if isinstance(v, (int, float))})

    def close(self) -> None:
        self.run.finish()


class Progress:
    """A live line on a terminal, a plain one every few seconds elsewhere: step, loss, tokens/s, time left."""

    def __init__(self, stage: str, steps: int, every_s: float = 10.0):
        self.stage, self.steps, self.every_s = stage, steps, every_s
        self.terminal = sys.stderr.isatty()
        self.start = self.last = time.perf_counter()
        self.first: int | None = None

    def show(self, step: int, loss: float, tokens_per_s: float) -> None:
        now = time.perf_counter()
        self.first = step if self.first is None else self.first
        if step < self.steps and now - self.last < (0.2 if self.terminal else self.every_s):
            return
        self.last = now
        done = step - self.first + 1
        left = (now - self.start) / done * (self.steps - step)
        line = f"{self.stage}  step {step}/{self.steps}  loss {loss:.4f}  {tokens_per_s:,.0f} tokens/s  {int(left) // 60}:{int(left) % 60:02d} left"
        end = "\n" if step >= self.steps or not self.terminal else ""
        print(f"\r{line}" if self.terminal else line, end=end, file=sys.stderr, flush=True)
