"""Optimisers and schedule: AdamW, or Muon on the matrices with AdamW on the rest; a learning rate per part of the model; warm-up and cosine."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from training.muon import Muon


def part_of(name: str) -> str:
    """The part that a parameter belongs to: `llm`, `image.encoder`, `audio.projector` …"""
    pieces = name.removeprefix("base_model.model.").split(".")
    if pieces[0] == "streams":
        return f"{pieces[1]}.{pieces[2]}"
    return "llm" if pieces[0] in ("llm", "media_keys") else pieces[0]


def matches(part: str, wanted: str) -> bool:
    """Does a recipe's name of a part (`image`, `image.encoder`, `encoder`) cover this part?"""
    return part == wanted or part.startswith(wanted + ".") or part.endswith("." + wanted)


def freeze(model: nn.Module, frozen: Iterable[str]) -> None:
    """Switch gradients off for these parts; a name that matches no part is a `ValueError`."""
    parts = {part_of(name) for name, _ in model.named_parameters()}
    for wanted in frozen:
        if not any(matches(part, wanted) for part in parts):
            raise ValueError(f"freeze: no part is called {wanted!r} (parts: {', '.join(sorted(parts))})")
    for name, parameter in model.named_parameters():
        if any(matches(part_of(name), wanted) for wanted in frozen):
            parameter.requires_grad_(False)


class Optimizers:
    """One or two torch optimisers that act as one."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]):
        self.all = optimizers
        self.base = [[group["lr"] for group in o.param_groups] for o in optimizers]

    def set_scale(self, scale: float) -> None:
        """Learning rates = base rates times the schedule's scale in [0, 1]."""
        for optimizer, rates in zip(self.all, self.base, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * scale

    def step(self) -> None:
        for optimizer in self.all:
            optimizer.step()

    def zero_grad(self) -> None:
        for optimizer in self.all:
            optimizer.zero_grad(set_to_none=True)


def build_optimizers(model: nn.Module, kind: str, lr: float, muon_lr: float, lr_parts: dict[str, float], weight_decay: float) -> Optimizers:
    """`adamw`: everything at `lr`. `muon`: two-dimensional hidden matrices by Muon at `muon_lr`, embeddings, heads, convolutions, norms and biases
    by AdamW at
    `lr`. `lr_parts` multiplies the rates of parts. Weight decay acts on matrices only."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not trained:
        raise ValueError("nothing to train: every part is frozen")
    for wanted in lr_parts:
        if not any(matches(part_of(name), wanted) for name, _ in trained):
            raise ValueError(f"lr_parts: no trained part is called {wanted!r} (trained: {', '.join(sorted({part_of(n) for n, _ in trained}))})")
    groups: dict[tuple, dict] = {}
    for name, p in trained:
        by_muon = (
            kind == "muon" and p.ndim == 2 and not any(word in name for word in ("embed", "lm_head", "position", "queries", "judge", "value_head"))
        )
        factor = math.prod(f for wanted, f in lr_parts.items() if matches(part_of(name), wanted))
        decay = weight_decay if p.ndim >= 2 else 0.0
        group = groups.setdefault((by_muon, factor, decay), {"params": [], "lr": (muon_lr if by_muon else lr) * factor, "weight_decay": decay})
        group["params"].append(p)
    muon = [g for (by_muon, *_), g in groups.items() if by_muon]
    adamw = [g for (by_muon, *_), g in groups.items() if not by_muon]
    optimizers: list[torch.optim.Optimizer] = []
    if adamw:
        optimizers.append(torch.optim.AdamW(adamw, betas=(0.9, 0.95), foreach=True))
    if muon:
        optimizers.append(Muon(muon, momentum=0.95))
    return Optimizers(optimizers)


def schedule(step: int, steps: int, warmup: float, kind: str = "cosine", floor: float = 0.0) -> float:
    """Scale of the learning rate at a step (counted from 0): linear warm-up over the first `warmup` share of the steps, then `cosine` or `linear`
    to `floor`, or
    `constant`."""
    warm = max(1, round(warmup * steps))
    if step < warm:
        return (step + 1) / warm
    progress = min(1.0, (step - warm) / max(1, steps - warm))
    if kind == "constant":
        return 1.0
    return floor + (1 - floor) * (0.5 * (1 + math.cos(math.pi * progress)) if kind == "cosine" else 1 - progress)
