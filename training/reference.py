"""The policy that a KL term holds on to: the stage's start, or the model below its LoRA adapters. No second model is kept.

Only parameters that are trained can differ from the reference, so only they are kept, and put in place for the length of a forward pass. Under LoRA
that is the adapters alone.
"""

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn


class Reference:
    """`start`: the policy as it is now. `base`: the same without its adapters (TRL's reference under PEFT); it needs LoRA."""

    def __init__(self, model: nn.Module, kind: Literal["start", "base"] = "start"):
        if kind == "base" and getattr(model.config, "lora", None) is None:
            raise ValueError("reference: base is the model without its LoRA adapters, and this model has none: set model.lora, or reference: start")
        self.model, self.kind = model, kind
        self.kept = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad and not (kind == "base" and "lora_" in n)}

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Inside, the model is the reference, without dropout and without gradient; behind it, it is the policy again."""
        model, training = self.model, self.model.training
        policy = {}
        try:
            for name, parameter in model.named_parameters():
                if name in self.kept:
                    policy[name], parameter.data = parameter.data, self.kept[name]
            model.eval()
            with torch.no_grad(), self._without_adapters():
                yield
        finally:
            for name, parameter in model.named_parameters():
                if name in policy:
                    parameter.data = policy[name]
            model.train(training)

    @contextlib.contextmanager
    def _without_adapters(self) -> Iterator[None]:
        if self.kind != "base":
            yield
            return
        from peft.tuners.tuners_utils import BaseTunerLayer

        layers = [m for m in self.model.modules() if isinstance(m, BaseTunerLayer)]
        learns = {id(p): p.requires_grad for p in self.model.parameters()}  # PEFT's switch also changes what is trained
        try:
            for layer in layers:
                layer.enable_adapters(False)
            yield
        finally:
            for layer in layers:
                layer.enable_adapters(True)
            for parameter in self.model.parameters():
                parameter.requires_grad_(learns[id(parameter)])
