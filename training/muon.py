"""Muon in float32, with equal matrices orthogonalised together.

torch.optim.Muon runs its Newton-Schulz iteration in bfloat16, one matrix after the other: 113 ms a step for the 51 matrices of the nano model on
two CPU cores
without bf16 units, against 20-40 ms here. The update is the same rule (Nesterov momentum, five quintic iterations, rate scaled by sqrt(max(1,
rows/columns))), and a test
compares the two.
"""

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(batch: Tensor, iterations: int = 5) -> Tensor:
    """Approximate U V^T of each matrix of a batch [K, m, n] by quintic Newton-Schulz iterations."""
    a, b, c = COEFFICIENTS
    tall = batch.shape[1] > batch.shape[2]
    x = batch.mT if tall else batch
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """For two-dimensional hidden weights only."""

    def __init__(self, params, lr: float = 0.01, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            if any(p.ndim != 2 for p in group["params"]):
                raise ValueError("Muon takes matrices only; give everything else to AdamW")

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append(p)
            for shape, params in by_shape.items():
                self._step_shape(params, group, max(1.0, shape[0] / shape[1]) ** 0.5)

    def _step_shape(self, params: list[Tensor], group: dict, scale: float) -> None:
        momentum = group["momentum"]
        directions = []
        for p in params:
            state = self.state[p]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(p)
            buffer = state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
            directions.append(p.grad.lerp(buffer, momentum))
        updates = orthogonalise(torch.stack(directions).float())
        for p, update in zip(params, updates, strict=True):
            p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update.to(p.dtype), alpha=-group["lr"] * scale)
