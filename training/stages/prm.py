"""The `prm` stage: a process reward model on the policy's own solutions, labelled step by step.

Each step draws fresh solutions from the frozen policy, labels them (exactly, where a world's verifier can), and trains the heads and the backbone on
them, in one update or several. Shape legend: B prompts, G solutions each, N distinct solutions, P placeholders.
"""

import functools
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from configs.schema import LoraSettings
from data.worlds.base import generator
from training.checkpoint import finish_weights
from training.loop import Loop
from training.optimizers import build_optimizers, freeze
from training.prm_batches import Part, build_prm, count_part, cut_parts, encode_part, weigh_parts
from training.rewards.algebra import Ledger
from training.rollout import Rollouts, Sampling, roll_out
from training.stages.context import StageContext, hash_seed
from training.stages.sft import TrainSettings
from training.stages.tw_grpo import encode_prompt
from training.step_labelling import Drawn, distinct_solutions, injected_solutions


class PRMConfig(TrainSettings):
    """`supervise`: which steps have a label (`all`, those of `perception`, those of `reasoning`, none: `outcome`); the answer always has one.
    `balance` weighs wrong steps, or is `equal`. `passes` over a step's solutions, each cut by prompts into `minibatches`: so many updates a step.
    `rank_weight`: of a loss on pairs of a right and a wrong solution of one prompt. `value_weight`: of the scalar head. `mixed_only` leaves out
    prompts whose solutions all agree. `inject`: gold solutions with a seeded error, per prompt. `form`, `lora`: see `models.prm`."""

    kind: str = "prm"
    lr: float = 3e-4
    num_generations: int = Field(4, ge=1)
    temperature: float = Field(1.0, gt=0)
    max_new_tokens: int = Field(96, gt=0)
    supervise: Literal["all", "perception", "reasoning", "outcome"] = "all"
    balance: float | Literal["equal"] = 1.0
    passes: int = Field(1, ge=1)
    minibatches: int = Field(1, ge=1)
    rank_weight: float = Field(0.0, ge=0)
    value_weight: float = Field(0.0, ge=0)
    mixed_only: bool = False
    inject: int = Field(0, ge=0)
    form: Literal["placeholder", "teacher_forced"] = "placeholder"
    lora: LoraSettings | None = None
    micro_tokens: int = Field(1 << 14, gt=0)
    heldout: int = Field(0, ge=0)


class PRMStage:
    """Leaves the policy as it is; the PRM is in the stage's `checkpoint/`."""

    config_class = PRMConfig
    changes_policy = False

    def __init__(self, config: PRMConfig):
        self.config = config

    def run(self, context: StageContext, stage_dir: Path) -> None:
        config, processor = self.config, context.processor
        if context.world_size > 1:
            raise ValueError("prm runs in one process for now: start it without accelerate launch")
        torch.manual_seed(hash_seed(context.recipe.seed, config.name) % (1 << 63))
        prm = build_prm(context.model, processor.tokenizer, config.form, config.lora)
        freeze(prm, config.freeze)
        optimizers = build_optimizers(prm, config.optimizer, config.lr, config.muon_lr, config.lr_parts, config.weight_decay)
        stream = context.stream(config, functools.partial(encode_prompt, context, config.max_tokens), list)
        loop = Loop(prm, optimizers, config, context.run_dir, stage_dir, context.sinks, context.is_main)
        self.context, self.prm, self.loop = context, prm, loop
        prm.train()
        loop.run(stream, self.step, context.quarantine_all)
        finish_weights(stage_dir, prm, processor)
        loop.close({"kind": config.kind, "mixture": config.mixture, "label_source": "verifier", "supervise": config.supervise})

    def step(self, rows: list, step: int) -> dict[str, float]:
        """Gradients of one step (all its updates but the last are also taken), and its metrics."""
        config, context = self.config, self.context
        seed = (hash_seed(context.recipe.seed, config.name), step)
        rollouts = roll_out(
            context.model, context.processor, rows, Sampling(config.num_generations, config.temperature, config.max_new_tokens), [], Ledger(), seed
        )
        drawn = distinct_solutions(rollouts.records, rollouts.texts, config.num_generations)
        solved = sum(d.count for d in drawn)
        drawn += injected_solutions(rollouts.records, config.inject, seed)
        metrics = {"scored": solved / len(rollouts.texts), "distinct": len(drawn) / max(1, solved), "generate_s": rollouts.seconds["generate"]}
        if config.mixed_only:
            mixed = {o for o in {d.owner for d in drawn} if len({d.solution.labels[-1] for d in drawn if d.owner == o}) > 1}
            drawn = [d for d in drawn if d.owner in mixed]
            metrics["mixed"] = len(mixed) / len(rows)
        if not drawn:
            return metrics | {"loss": 0.0, "tokens": 0.0}
        return metrics | self._update(rollouts, drawn, seed)

    def _update(self, rollouts: Rollouts, drawn: list[Drawn], seed: tuple) -> dict[str, float]:
        """`passes` times `minibatches` updates; the last one's step is the loop's."""
        config, totals, last = self.config, {}, (self.config.passes - 1, self.config.minibatches - 1)
        owners = sorted({d.owner for d in drawn})
        loss = 0.0
        for turn in range(config.passes):
            order = generator(*seed, "minibatches", turn).permutation(owners).tolist()
            for piece in range(config.minibatches):
                chosen = set(order[piece :: config.minibatches])
                if chosen:
                    loss = self._minibatch(rollouts, [d for d in drawn if d.owner in chosen], totals)
                if (turn, piece) != last:
                    self.loop.apply(loss)
                    self.loop.optimizers.zero_grad()
        count = totals.pop("labels")
        per_label = {k: totals.pop(k) / max(1.0, count) for k in ("accuracy", "share_right")}
        unmeasured = totals.pop("unmeasured") / max(1.0, totals.pop("placeholders"))
        return {"loss": loss, **per_label, "unmeasured": unmeasured, **totals}

    def _minibatch(self, rollouts: Rollouts, drawn: list[Drawn], totals: dict[str, float]) -> float:
        """Backward over the parts of one update; adds to `totals`; returns its loss."""
        from models.prm import rank_loss, step_loss

        config, loss = self.config, 0.0
        encode = functools.partial(encode_part, rollouts, self.context.processor, supervise=config.supervise, form=config.form)
        parts = [encode(members) for members in cut_parts(rollouts, drawn, config.micro_tokens)]
        total = max(1e-9, weigh_parts(parts, config.balance))
        for part in parts:
            moved = self.context.to_device({k: getattr(part, k) for k in ("ids", "owners", "targets", "weights", "last", "right")})
            ends, hidden = self.prm.hidden_behind(self.context.to_device(part.batch), moved["ids"], moved["owners"])
            marked = hidden[moved["ids"] == self.prm.config.step_token_id]
            logits = self.prm.judge_logits(marked)
            piece = step_loss(logits, moved["targets"], weights=moved["weights"], denominator=total)
            last = logits[moved["last"]]
            if config.rank_weight:
                piece = piece + config.rank_weight * rank_loss(last[:, 1] - last[:, 0], moved["right"], moved["owners"]) / len(parts)
            if config.value_weight:
                piece = piece + config.value_weight * self._value_loss(part, ends, marked[moved["last"]]) / len(parts)
            piece.backward()
            loss += float(piece.detach())
            count_part(part, logits.detach(), totals)
        return loss

    def _value_loss(self, part: Part, ends: Tensor, answers: Tensor) -> Tensor:
        """The scalar head: a prompt's pass rate at its end [B, d], a solution's outcome at its last placeholder [N, d]."""
        entropy = torch.nn.functional.binary_cross_entropy_with_logits
        prompt, whole = self.prm.values(ends).float(), self.prm.values(answers).float()
        return entropy(prompt, part.pass_rates.to(prompt.device)) + entropy(whole, part.right.float().to(whole.device))
