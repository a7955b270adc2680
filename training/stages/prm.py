"""The `prm` stage: a process reward model on the policy's own solutions, labelled exactly by the worlds' verifiers.

Each step draws fresh solutions from the frozen policy, judges every step of them, and trains the head and the backbone. Shape legend: B prompts,
G solutions each.
"""

import functools
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from data import protocol
from data.solutions import mark_steps
from data.step_labels import verifier_labels
from training.checkpoint import finish_weights
from training.loop import Loop
from training.optimizers import build_optimizers, freeze
from training.rewards.algebra import Ledger
from training.rollout import Sampling, roll_out
from training.stages.context import StageContext, hash_seed
from training.stages.sft import TrainSettings
from training.stages.tw_grpo import encode_prompt


class PRMConfig(TrainSettings):
    """`supervise: perception` labels perception steps only, `reasoning` the others, `all` both; the answer is always labelled. `balance` weighs
    wrong steps."""

    kind: str = "prm"
    lr: float = 3e-4
    num_generations: int = Field(4, ge=1)
    temperature: float = Field(1.0, gt=0)
    max_new_tokens: int = Field(96, gt=0)
    supervise: Literal["all", "perception", "reasoning"] = "all"
    balance: float = Field(1.0, gt=0)


class PRMStage:
    """Leaves the policy as it is; the PRM is in the stage's `checkpoint/`."""

    config_class = PRMConfig
    changes_policy = False

    def __init__(self, config: PRMConfig):
        self.config = config

    def run(self, context: StageContext, stage_dir: Path) -> None:
        from models.prm import FocalPRM

        config, processor = self.config, context.processor
        if context.world_size > 1:
            raise ValueError("prm runs in one process for now: start it without accelerate launch")
        torch.manual_seed(hash_seed(context.recipe.seed, config.name) % (1 << 63))
        prm = FocalPRM.from_policy(context.model, processor.tokenizer.convert_tokens_to_ids(protocol.STEP))
        freeze(prm, config.freeze)
        optimizers = build_optimizers(prm, config.optimizer, config.lr, config.muon_lr, config.lr_parts, config.weight_decay)
        stream = context.stream(config, functools.partial(_encode, context, config.max_tokens), list)
        loop = Loop(prm, optimizers, config, context.run_dir, stage_dir, context.sinks, context.is_main)
        prm.train()
        loop.run(stream, functools.partial(self.step, context, prm), context.quarantine_all)
        finish_weights(stage_dir, prm, processor)
        loop.close({"kind": config.kind, "mixture": config.mixture, "label_source": "verifier", "supervise": config.supervise})

    def step(self, context: StageContext, prm: Any, rows: list, step: int) -> dict[str, float]:
        """Gradients of one step, and its metrics."""
        from models.prm import step_loss

        config = self.config
        how = Sampling(config.num_generations, config.temperature, config.max_new_tokens)
        seed = (hash_seed(context.recipe.seed, config.name), step)
        rollouts = roll_out(context.model, context.processor, [row[:2] for row in rows], how, [], Ledger(), seed)
        encoded, targets = [], []
        for i, text in enumerate(rollouts.texts):
            record, _, sample = rows[i // config.num_generations]
            labels = label_solution(record, text, config.supervise)
            if labels is not None:
                encoded.append(context.processor.encode(context.prompt_text(sample), sample.media, mark_steps(protocol.parse(text))))
                targets += labels
        if not encoded:
            return {"loss": 0.0, "tokens": 0.0}
        batch = dict(context.processor.collate(encoded, "right"))
        batch.pop("labels")
        logits = prm.step_logits(**context.to_device(batch))
        goal = torch.tensor([float("nan") if t is None else float(t) for t in targets], device=logits.device)
        loss = step_loss(logits, goal, config.balance)
        loss.backward()
        known = ~torch.isnan(goal)
        right = ((logits[known, 1] > logits[known, 0]).float() == goal[known]).float()
        return {
            "loss": float(loss.detach()), "tokens": float(batch["attention_mask"].sum()), "accuracy": float(right.mean()),
            "share_right": float(goal[known].mean()), "unmeasured": float((~known).float().mean()), "scored": len(encoded) / len(rollouts.texts),
        }  # fmt: skip


def label_solution(record: Any, text: str, supervise: str = "all") -> list[int | None] | None:
    """Labels of the steps and, last, of the answer; None where the completion has no answer. Steps of the kind that is not supervised have no
    label."""
    from data.worlds.base import verify

    verdict = verify(record, text)
    if protocol.parse(text).answer is None:
        return None
    labels = verifier_labels(verdict)
    if supervise != "all":
        kinds = {s.text.partition(":")[0]: s.kind for s in record.steps or []}
        names = [step.partition(":")[0] for step in protocol.parse(text).steps]
        labels = [label if kinds.get(name, "perception") == supervise else None for label, name in zip(labels, names, strict=True)]
    return [*labels, int(verdict.answer_ok)]


def _encode(context: StageContext, max_tokens: int, sample: Any) -> tuple[Any, Any, Any]:
    return (*encode_prompt(context, max_tokens, sample), sample)
