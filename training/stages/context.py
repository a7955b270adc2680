"""What a stage is given: the model, its processor, the recipe, data, devices and ledgers. Built once per run; stages share it."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from configs.schema import Recipe
from data import protocol
from data.stream import Failure, Mixture, Stream
from data.worlds.base import Sample
from training.checkpoint import finish_weights
from training.sources import build_source


@dataclasses.dataclass
class StageContext:
    """`accelerator` is accelerate's; on one CPU process it does nothing."""

    recipe: Recipe
    model: Any
    processor: Any
    run_dir: Path
    accelerator: Any
    quarantine: Any
    sinks: list = dataclasses.field(default_factory=list)

    @property
    def is_main(self) -> bool:
        return self.accelerator.is_main_process

    @property
    def world_size(self) -> int:
        return self.accelerator.num_processes

    @property
    def rank(self) -> int:
        return self.accelerator.process_index

    def check_whole_model(self, kind: str) -> None:
        """Refuse set-ups in which a process does not hold the whole model: stages that sample from it need all of it."""
        held = self.accelerator.distributed_type.value
        if held not in ("NO", "MULTI_CPU", "MULTI_GPU"):
            raise ValueError(f"{kind} needs the whole model in each process, and {held} cuts it up: launch with plain data parallelism")

    def prepare(self, model: Any) -> Any:
        """The model as the processes share it. It must be called through its forward."""
        return self.accelerator.prepare(model) if self.world_size > 1 else model.to(self.accelerator.device)

    def to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {k: v.to(self.accelerator.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}

    def autocast(self) -> contextlib.AbstractContextManager:
        """bf16 where the recipe's dtype is bfloat16 and the device has it; weights stay float32."""
        if self.recipe.dtype == "bfloat16" and has_bfloat16(self.accelerator.device):
            return torch.autocast(self.accelerator.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        self.accelerator.backward(loss) if self.world_size > 1 else loss.backward()

    def total(self, count: torch.Tensor) -> torch.Tensor:
        return self.accelerator.reduce(count, "sum") if self.world_size > 1 else count

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        return self.accelerator.reduce(value, "mean") if self.world_size > 1 else value

    def agree(self, ready: bool) -> bool:
        """Whether all processes are ready; where one is not, none goes on, and none waits for it."""
        if self.world_size == 1:
            return ready
        return int(self.total(torch.tensor(int(ready), device=self.accelerator.device))) == self.world_size

    def sum_gradients(self, model: torch.nn.Module) -> None:
        """Add up the gradients of all processes, each of which holds those of its own part of a step's sum (zero where it had none)."""
        if self.world_size == 1:
            return
        for parameter in model.parameters():
            if parameter.requires_grad:
                own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = self.accelerator.reduce(own, "sum")

    def mean_of(self, metrics: dict[str, float]) -> dict[str, float]:
        """Metrics averaged over the processes, which all have the same names."""
        if self.world_size == 1:
            return metrics
        values = torch.tensor(list(metrics.values()), dtype=torch.float64, device=self.accelerator.device)
        return dict(zip(metrics, self.mean(values).tolist(), strict=True))

    def stream(self, config: Any, encode: Callable[[Sample], Any], collate: Callable[[list], Any] | None = None) -> Stream:
        """The stage's mixture as batches; the seed of a source depends on the stage, so that no two stages see the same fresh items."""
        sources = {name: build_source(self.recipe, name, (self.recipe.seed, config.name)) for name in config.mixture}
        mixture = Mixture(sources, config.mixture, hash_seed(self.recipe.seed, config.name))
        right = collate or (lambda rows: dict(self.processor.collate(rows, "right")))
        return Stream(mixture, config.batch_size, encode, right, config.num_workers, self.accelerator.process_index, self.world_size)

    def keep_weights(self, stage_dir: Path) -> None:
        """Write what the stage made of the policy as a loadable checkpoint."""
        if self.is_main:
            finish_weights(stage_dir, self.model, self.processor)

    def prompt_text(self, sample: Sample) -> str:
        chat = protocol.messages(sample.record, self.recipe.protocol.instruction)
        return self.processor.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)

    def encode(self, sample: Sample, steps: bool = True, max_tokens: int = 2048) -> Any:
        """A sample with its gold completion; one that is longer than the budget is a `ValueError` (quarantined), never cut."""
        completion = protocol.completion(sample.record, steps, self.recipe.protocol.answer_with) + protocol.END
        row = self.processor.encode(self.prompt_text(sample), sample.media, completion)
        if len(row.prompt) + len(row.completion) > max_tokens:
            raise ValueError(f"{len(row.prompt) + len(row.completion)} tokens are more than the stage's max_tokens {max_tokens}")
        return row

    def quarantine_all(self, failures: list[Failure]) -> None:
        for f in failures:
            self.quarantine.add(f.id, f.file, f.reason, f.trace)


def build_accelerator() -> Any:
    """accelerate's, on the GPUs where there are any. A process whose batch has no sound leaves the sound encoder without gradients: the exchange of
    gradients must expect that."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    on_cpu = not torch.accelerator.is_available()  # said, so that torchrun shares the work on CPU too
    return Accelerator(cpu=on_cpu, kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself; graphics cards before Ampere only emulate it, slower than float32."""
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def hash_seed(*purpose: object) -> int:
    """A seed that follows from its purpose."""
    from data.worlds.base import generator

    return int(generator(*purpose).integers(1 << 62))
