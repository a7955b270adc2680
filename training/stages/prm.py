"""The `prm` stage: a process reward model on the policy's own solutions, labelled step by step.

Each step draws fresh solutions from the frozen policy (or takes stored ones), labels them, and trains the heads and the backbone on them, in one
update or several. Shape legend: B prompts, G solutions each, N distinct solutions, d width.
"""

import functools
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from configs.schema import LoraSettings
from data.drawn_solutions import Drawn
from data.stream import Mixture, RecordSource, Stream
from data.worlds.base import generator
from training.checkpoint import finish_weights
from training.loop import Loop
from training.optimizers import build_optimizers, freeze
from training.prm_batches import Part, build_prm, count_part, cut_parts, encode_part, weigh_parts
from training.prm_heldout import write_heldout
from training.prm_release import write_prm_release
from training.rollout import Sampling
from training.sources import decode_record
from training.stages.context import StageContext, hash_seed
from training.stages.sft import TrainSettings
from training.step_labeller import Labeller, Solutions, StoredSolutions, encode_row
from training.step_labelling import LabelSettings


class PRMConfig(TrainSettings):
    """Solutions: `num_generations` of each prompt of the `mixture`, or those of the file `solutions`; `labels`: where their labels come from;
    `inject`: gold solutions with a seeded error, per prompt; `gold`: the gold one too. `supervise`: which steps have a label (`all`, those of
    `perception`, those of `reasoning`, none: `outcome`); the answer always has one. `balance` weighs wrong steps, or is `equal`. `passes` over a
    step's solutions, each cut by prompts into `minibatches`: so many updates a step. `rank_weight`: of a loss on pairs of a right and a wrong one
    of one prompt. `value_weight`: of the scalar head. `likelihood`: the judge also reads how likely the model itself finds the solution; `lm_weight`:
    of a next-token loss on solutions that are right throughout, which teaches it what is likely (GRM, arXiv 2406.10216, regularises likewise). The
    first `gold_steps` steps draw and judge nothing: they learn what is likely from the gold solutions alone, at the price of supervised steps.
    `mixed_only` leaves out prompts whose answers are all right or all wrong. `form`, `lora`, `layers`: see `models.prm`. `heldout`: prompts of the
    split `dev` on which the finished model is judged."""

    kind: str = "prm"
    mixture: dict[str, float] = {}
    solutions: str | None = None
    lr: float = Field(3e-4, gt=0)
    num_generations: int = Field(4, ge=1)
    temperature: float = Field(1.0, gt=0)
    max_new_tokens: int = Field(96, gt=0)
    labels: LabelSettings = LabelSettings()
    inject: int = Field(0, ge=0)
    gold: bool = False
    gold_steps: int = Field(0, ge=0)
    likelihood: bool = False
    lm_weight: float = Field(0.0, ge=0)
    supervise: Literal["all", "perception", "reasoning", "outcome"] = "all"
    balance: Annotated[float, Field(gt=0)] | Literal["equal"] = 1.0
    passes: int = Field(1, ge=1)
    minibatches: int = Field(1, ge=1)
    rank_weight: float = Field(0.0, ge=0)
    value_weight: float = Field(0.0, ge=0)
    mixed_only: bool = False
    form: Literal["placeholder", "teacher_forced"] = "placeholder"
    lora: LoraSettings | None = None
    layers: int | None = Field(None, ge=1)
    micro_tokens: int = Field(1 << 14, gt=0)
    heldout: int = Field(0, ge=0)

    @model_validator(mode="after")
    def one_source(self) -> "PRMConfig":
        if bool(self.mixture) == bool(self.solutions):
            raise ValueError("give either mixture (fresh solutions of its prompts) or solutions (a file of labelled ones)")
        if self.solutions and self.heldout:
            raise ValueError("heldout needs a mixture to draw fresh prompts from")
        if self.gold_steps and not (self.mixture and self.lm_weight):
            raise ValueError("gold_steps needs a mixture, whose gold solutions are learned, and lm_weight above 0, which learns them")
        return self


class PRMStage:
    """Leaves the policy as it is; the PRM is in the stage's `checkpoint/` and, with a card, in the run's folder of the stage's name."""

    config_class = PRMConfig
    changes_policy = False

    def __init__(self, config: PRMConfig):
        self.config = config

    def run(self, context: StageContext, stage_dir: Path) -> None:
        config = self.config
        if context.world_size > 1:
            raise ValueError("prm runs in one process for now: start it without accelerate launch")
        torch.manual_seed(hash_seed(context.recipe.seed, config.name) % (1 << 63))
        prm = build_prm(context.model, context.processor.tokenizer, config.form, config.lora, config.layers, config.likelihood).to(
            context.accelerator.device
        )
        freeze(prm, config.freeze)
        optimizers = build_optimizers(prm, config.optimizer, config.lr, config.muon_lr, config.lr_parts, config.weight_decay)
        self.context, self.prm = context, prm
        self.draw, stream = self._source()
        self.loop = Loop(prm, optimizers, config, context.run_dir, stage_dir, context.sinks, context.is_main)
        prm.train()
        self.loop.run(stream, self.step, context.quarantine_all)
        prm.eval()
        facts: dict[str, Any] = {
            "kind": config.kind, "mixture": config.mixture, "label_source": self.draw.source, "supervise": config.supervise,
            "form": config.form, "balance": config.balance,
        }  # fmt: skip
        if config.heldout:
            facts["heldout"] = write_heldout(context, config, prm, self.draw, stage_dir)
        finish_weights(stage_dir, prm, context.processor)
        if context.recipe.release:
            write_prm_release(prm, context, config.name, facts)
        self.loop.close(facts)

    def _source(self) -> tuple[Labeller | StoredSolutions, Stream]:
        """Where solutions come from, and the stream of their prompts."""
        config, context = self.config, self.context
        if config.solutions:
            stored = StoredSolutions(config.solutions, context)
            seed = hash_seed(context.recipe.seed, config.name)
            records = RecordSource(stored.records, functools.partial(decode_record, recipe=context.recipe), seed)
            encode = functools.partial(encode_row, context, config.max_tokens, False)
            return stored, Stream(Mixture({"solutions": records}, {"solutions": 1.0}, seed), config.batch_size, encode, list, config.num_workers)
        how = Sampling(config.num_generations, config.temperature, config.max_new_tokens)
        labeller = Labeller(context, how, config.labels, config.inject, config.gold)
        return labeller, context.stream(config, functools.partial(encode_row, context, config.max_tokens, config.labels.judged), list)

    def step(self, rows: list, step: int) -> dict[str, float]:
        """Gradients of one step (all its updates but the last are also taken), and its metrics."""
        seed = (hash_seed(self.context.recipe.seed, self.config.name), step)
        learn_gold = step < self.config.gold_steps
        found = self.draw.gold_alone(rows) if learn_gold else self.draw(rows, seed)
        metrics = dict(found.metrics)
        if self.config.mixed_only and not learn_gold:
            mixed = {o for o in {d.owner for d in found.drawn} if len({d.solution.labels[-1] for d in found.drawn if d.owner == o}) > 1}
            found = found._replace(drawn=[d for d in found.drawn if d.owner in mixed])
            metrics["mixed"] = len(mixed) / len(rows)
        if not found.drawn:
            return metrics | {"loss": 0.0, "tokens": 0.0}
        return metrics | self._update(found, seed)

    def _update(self, found: Solutions, seed: tuple) -> dict[str, float]:
        """`passes` times `minibatches` updates; the last one's step is the loop's."""
        config, totals, loss = self.config, {}, 0.0
        owners = sorted({d.owner for d in found.drawn})
        pieces = min(config.minibatches, len(owners))
        for turn in range(config.passes):
            order = generator(*seed, "minibatches", turn).permutation(owners).tolist()
            for piece in range(pieces):
                chosen = set(order[piece::pieces])
                loss = self._minibatch(found, [d for d in found.drawn if d.owner in chosen], totals)
                if (turn, piece) != (config.passes - 1, pieces - 1):
                    self.loop.apply(loss)
                    self.loop.optimizers.zero_grad()
        count = max(1.0, totals.pop("labels"))
        per_label = {k: totals.pop(k) / count for k in ("accuracy", "share_right")}
        unmeasured = totals.pop("unmeasured") / max(1.0, totals.pop("placeholders"))
        return {"loss": loss, **per_label, "unmeasured": unmeasured, **totals}

    def _minibatch(self, found: Solutions, drawn: list[Drawn], totals: dict[str, float]) -> float:
        """Backward over the parts of one update; adds to `totals`; returns its loss."""
        from models.prm import rank_loss, step_loss

        config, loss = self.config, 0.0
        parts = [
            encode_part(found.batch, self.context.processor, members, config.supervise, config.form, found.rates)
            for members in cut_parts(found.batch, drawn, config.micro_tokens)
        ]
        total = max(1e-9, weigh_parts(parts, config.balance))
        for part in parts:
            moved = self.context.to_device({k: getattr(part, k) for k in ("ids", "owners", "targets", "weights", "last", "right")})
            with self.context.autocast():
                ends, hidden = self.prm.hidden_behind(self.context.to_device(part.batch), moved["ids"], moved["owners"])
                marked = hidden[moved["ids"] == self.prm.config.step_token_id]
                logits, _ = self.prm.judge_marks(moved["ids"], hidden, ends.index_select(0, moved["owners"]))
            piece = step_loss(logits, moved["targets"], weights=moved["weights"], denominator=total)
            last, share = logits[moved["last"]], len(part.batch["input_ids"]) / len({d.owner for d in drawn})
            if config.rank_weight:
                piece = piece + config.rank_weight * share * rank_loss(last[:, 1] - last[:, 0], moved["right"], moved["owners"])
            if config.lm_weight:
                piece = piece + config.lm_weight * share * self._lm_loss(moved, part.sound.to(hidden.device), ends, hidden)
            if config.value_weight and found.rates:
                piece = piece + config.value_weight * share * self._value_loss(part, ends, marked[moved["last"]])
            piece.backward()
            loss += float(piece.detach())
            count_part(part, logits.detach(), totals)
        return loss

    def _lm_loss(self, moved: dict[str, Tensor], sound: Tensor, ends: Tensor, hidden: Tensor) -> Tensor:
        """Mean next-token loss over the sound solutions among `ids` [N, R], placeholders apart; 0 where none is."""
        from models.logprob import cross_entropy

        ids, owners = moved["ids"][sound], moved["owners"][sound]
        told = (ids != self.prm.config.step_token_id) & (ids != self.context.processor.tokenizer.pad_token_id)
        if not bool(told.any()):
            return hidden.sum() * 0.0
        before = torch.cat([ends.index_select(0, owners)[:, None], hidden[sound][:, :-1]], 1)
        return cross_entropy(before[told], self.prm.head, ids[told]) / told.sum()

    def _value_loss(self, part: Part, ends: Tensor, answers: Tensor) -> Tensor:
        """The scalar head: a prompt's pass rate at its end [B, d], a solution's outcome at its last placeholder [N, d]."""
        entropy = torch.nn.functional.binary_cross_entropy_with_logits
        prompt, whole = self.prm.values(ends).float(), self.prm.values(answers).float()
        return entropy(prompt, part.pass_rates.to(prompt.device)) + entropy(whole, part.right.float().to(whole.device))
