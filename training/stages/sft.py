"""Supervised stages: `sft` on completions with their steps, and `align`, the same with only the projectors trained."""

import functools
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from configs.schema import StageConfig, Strict
from models.logprob import chosen_logps
from models.lora import freeze_base
from training.loop import Loop
from training.optimizers import build_optimizers, freeze
from training.stages.context import StageContext
from training.update import Weighting


class TrainSettings(StageConfig):
    """What every stage that trains has: `mixture` names sources of the recipe with their weights; `lr_parts` multiplies rates of parts; `warmup`
    is a share of the steps; `save_every: 0` keeps no checkpoint on the way. The stage ends after `steps`, or before, when it has learned from
    `token_budget` tokens."""

    mixture: dict[str, float]
    steps: int = Field(gt=0)
    token_budget: int | None = Field(None, gt=0)
    batch_size: int = Field(gt=0)
    lr: float = Field(1e-3, gt=0)
    muon_lr: float = Field(0.01, gt=0)
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr_parts: dict[str, Annotated[float, Field(ge=0)]] = {}
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.03, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    schedule_steps: int | None = Field(None, gt=0)
    clip: float = Field(1.0, gt=0)
    freeze: list[str] = []
    num_workers: int = Field(1, ge=0)
    save_every: int = Field(500, ge=0)
    max_tokens: int = Field(2048, gt=0)


class TokenWeighting(Strict):
    """See `training/token_weights.py`. `mode: none` is the plain token mean."""

    mode: str = "jsd"
    alpha: float = Field(1.7, ge=1)
    renorm: bool = False

    def build(self) -> Weighting:
        """The rule by its registry name; an unknown one is a `ValueError`."""
        from configs.registry import TOKEN_WEIGHTS

        return Weighting(None if self.mode == "none" else TOKEN_WEIGHTS.get(self.mode), self.alpha, self.renorm)


class SFTConfig(TrainSettings):
    """`steps_in_completion: false` teaches answers alone. `token_weights`: each completion is a group of its own, so of our rules `entropy` alone
    says something."""

    kind: str = "sft"
    steps_in_completion: bool = True
    token_weights: TokenWeighting = TokenWeighting(mode="none")


class AlignConfig(SFTConfig):
    kind: str = "align"


class SFTStage:
    """Next-token loss on the completion only; prompt, media and padding are masked."""

    config_class = SFTConfig

    def __init__(self, config: SFTConfig):
        self.config, self.weighting = config, config.token_weights.build()

    def frozen(self, model: torch.nn.Module) -> list[str]:
        return self.config.freeze

    def run(self, context: StageContext, stage_dir: Path) -> None:
        """Train `context.model` in place and leave the stage's manifest in `stage_dir`."""
        config, model = self.config, context.model
        context.check_whole_model(config.kind)
        freeze(model, self.frozen(model))
        optimizers = build_optimizers(model, config.optimizer, config.lr, config.muon_lr, config.lr_parts, config.weight_decay)
        if self.weighting.rule is None:
            step = functools.partial(supervised_step, context.prepare(model), context)
        else:
            step = functools.partial(weighted_step, self.weighting, context)
        encode = functools.partial(context.encode, steps=config.steps_in_completion, max_tokens=config.max_tokens)
        stream = context.stream(config, encode)
        loop = Loop(model, optimizers, config, context.run_dir, stage_dir, context.sinks, context.is_main, context.agree)
        model.train()
        loop.run(stream, step, context.quarantine_all)
        context.keep_weights(stage_dir)  # before the mark that says the stage is finished
        loop.close({"kind": config.kind, "mixture": config.mixture})
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        freeze_base(model)


def supervised_step(model: torch.nn.Module, context: StageContext, batch: dict[str, Any], step: int) -> dict[str, float]:
    """Gradients of the mean loss over all completion tokens of the step, across all processes."""
    batch = context.to_device(batch)
    count = (batch["labels"][:, 1:] != -100).sum()
    everywhere = context.total(count)
    with context.autocast():
        loss = model(**batch, num_items_in_batch=everywhere / context.world_size).loss
    context.backward(loss)
    return {"loss": float(context.mean(loss.detach())), "tokens": float(everywhere)}


def weighted_step(weighting: Weighting, context: StageContext, batch: dict[str, Any], step: int) -> dict[str, float]:
    """The same with a weight per token; the denominator stays the number of tokens, so that `alpha: 1` is `supervised_step`."""
    model = context.model
    batch = context.to_device(batch)
    labels = batch.pop("labels")[:, 1:]
    keep = labels != -100
    everywhere = context.total(keep.sum())
    with context.autocast():
        hidden = model.hidden_states(**batch)[:, :-1]
        logps, _, norms = chosen_logps(hidden[keep], model.head, labels[keep])
    weights = weighting(hidden, model.head, keep, torch.zeros_like(keep, dtype=norms.dtype).masked_scatter(keep, norms), 1, 1.0)[keep]
    loss = -(weights * logps).sum() / everywhere
    loss.backward()
    context.sum_gradients(model)
    return {"loss": float(context.total(loss.detach())), "tokens": float(everywhere), "weight_mean": float(weights.mean())}


class AlignStage(SFTStage):
    """Only the projectors learn: the usual first stage with a pretrained encoder and a pretrained LLM."""

    config_class = AlignConfig

    def frozen(self, model: torch.nn.Module) -> list[str]:
        return [*self.config.freeze, "llm", *(f"{name}.encoder" for name in model.streams)]
