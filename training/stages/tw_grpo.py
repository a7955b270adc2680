"""TW-GRPO and the GRPO family: rollout -> verdicts -> rewards -> advantages -> token weights -> loss -> step, each a pure function with its own
registry.

Shape legend: B prompts, G rollouts of each, N = B * G, R completion positions.
"""

import copy
import functools
import json
import time
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from configs.schema import Strict
from training.advantages import effective_ratio
from training.loop import Loop
from training.losses import policy_loss
from training.optimizers import build_optimizers, freeze
from training.rewards.algebra import Ledger, build_terms
from training.rollout import Rollouts, Sampling, completion_logps, pick_groups, roll_out
from training.stages.context import StageContext, hash_seed
from training.stages.sft import TrainSettings
from training.token_weights import streaming_token_weights

DRIFT_LIMIT = 0.05  # mean |log-probability of sampler - of trainer| above this means that they are not the same model
SHOWN_EVERY = 20  # steps between the groups that are kept for the report


class TokenWeighting(Strict):
    """See `training/token_weights.py`. `mode: none` is the plain token mean."""

    mode: Literal["none", "official", "masked", "jsd", "entropy"] = "jsd"
    alpha: float = 1.7
    renorm: bool = False


class TWGRPOConfig(TrainSettings):
    """`batch_size` prompts a step, `num_generations` rollouts each. `rewards`: lines `{name, weight, gate, **options}`. `dynamic_sampling`:
    `none`, or `drop`: groups without variance leave the denominator too, or `refill`: up to `refill_rounds` times as many prompts are drawn
    until `batch_size` groups have variance."""

    kind: str = "tw_grpo"
    lr: float = 1e-4
    warmup: float = 0.05
    schedule: Literal["cosine", "linear", "constant"] = "constant"
    num_generations: int = Field(8, ge=2)
    temperature: float = Field(1.0, gt=0)
    max_new_tokens: int = Field(96, gt=0)
    loss: str = "tw_grpo"
    token_weights: TokenWeighting = TokenWeighting()
    advantage: dict[str, Any] = {"name": "group"}
    rewards: list[dict[str, Any]] = [{"name": "answer", "weight": 1.0}, {"name": "format", "weight": 0.2}]
    epsilon_low: float = 0.2
    epsilon_high: float = 0.28
    beta: float = 0.0
    updates: int = Field(1, ge=1)
    dynamic_sampling: Literal["none", "drop", "refill"] = "none"
    refill_rounds: int = Field(3, ge=1)
    mask_truncated: bool = False
    micro_tokens: int = Field(1 << 15, gt=0)
    temporal: dict[str, float] | None = None


class TWGRPOStage:
    """One step a call of `step`; the loop, checkpoints and logging are the same as for supervised stages."""

    config_class = TWGRPOConfig

    def __init__(self, config: TWGRPOConfig):
        from configs.registry import ADVANTAGES, REWARDS

        self.config = config
        self.terms = build_terms(config.rewards, REWARDS.get)
        options = dict(config.advantage)
        self.advantage = functools.partial(ADVANTAGES.get(options.pop("name")), **options)
        self.ledger = Ledger()

    def run(self, context: StageContext, stage_dir: Path) -> None:
        """Train `context.model` in place; leaves the stage's manifest, its weights and `rollouts.jsonl` (groups for the report) in `stage_dir`."""
        config, model = self.config, context.model
        if context.world_size > 1:
            raise ValueError("tw_grpo runs in one process for now: start it without accelerate launch")
        freeze(model, config.freeze)
        optimizers = build_optimizers(model, config.optimizer, config.lr, config.muon_lr, config.lr_parts, config.weight_decay)
        self.reference = copy.deepcopy(model).requires_grad_(False) if config.beta else None
        encode = functools.partial(encode_prompt, context, config.max_tokens)
        rounds = config.refill_rounds if config.dynamic_sampling == "refill" else 1
        drawn = config.model_copy(update={"batch_size": config.batch_size * rounds})
        loop = Loop(model, optimizers, config, context.run_dir, stage_dir, context.sinks, context.is_main)
        self.loop, self.context, self.shown = loop, context, stage_dir / "rollouts.jsonl"
        model.train()
        loop.run(context.stream(drawn, encode, list), self.step, context.quarantine_all)
        context.keep_weights(stage_dir)
        loop.close(
            {"kind": config.kind, "mixture": config.mixture, "reward_failures": dict(self.ledger.failures), "tracebacks": self.ledger.tracebacks}
        )
        for parameter in model.parameters():
            parameter.requires_grad_(True)

    def step(self, rows: list, step: int) -> dict[str, float]:
        """Gradients of one step on the model, and its metrics."""
        config = self.config
        rollouts, drawn = self._collect(rows, step)
        advantages = self.advantage(rollouts.rewards)
        groups = (advantages != 0).any(1).nonzero()[:, 0].tolist()
        if config.dynamic_sampling == "refill":
            groups = groups[: config.batch_size]
        mask = rollouts.mask & ~rollouts.truncated[:, None] if config.mask_truncated else rollouts.mask
        start = time.perf_counter()
        update = self._update(rollouts, advantages, mask, groups) if groups else {"loss": 0.0}
        metrics = self._metrics(rollouts, advantages, drawn) | update
        metrics["update_tokens_per_s"] = len(groups) * config.num_generations * rollouts.ids.shape[1] / max(1e-9, time.perf_counter() - start)
        if step % SHOWN_EVERY == 0:
            self._show(rollouts, advantages, step)
        return metrics

    def _collect(self, rows: list, step: int) -> tuple[Rollouts, int]:
        """Rollouts of the step's prompts; under `refill` only as many prompts as it takes."""
        config = self.config
        how = Sampling(config.num_generations, config.temperature, config.max_new_tokens, config.temporal)
        seed = (hash_seed(self.context.recipe.seed, config.name), step)
        if config.dynamic_sampling != "refill":
            return roll_out(self.context.model, self.context.processor, rows, how, self.terms, self.ledger, seed), len(rows)
        useful, tried = [], 0
        for r in range(config.refill_rounds):
            part = rows[r * config.batch_size : (r + 1) * config.batch_size]
            rollouts = roll_out(self.context.model, self.context.processor, part, how, self.terms, self.ledger, (*seed, r))
            tried += len(part)
            useful += [row for row, group in zip(part, self.advantage(rollouts.rewards), strict=True) if bool((group != 0).any())]
            if len(useful) >= config.batch_size:
                break
        return roll_out(self.context.model, self.context.processor, (useful or part)[: config.batch_size], how, self.terms, self.ledger, seed), tried

    def _update(self, rollouts: Rollouts, advantages: Tensor, mask: Tensor, groups: list[int]) -> dict[str, float]:
        """`updates` passes over the groups that have something to tell; all but the last also step."""
        config, size = self.config, self.config.num_generations
        whole = config.dynamic_sampling == "none"
        scale = {
            "denominator": float(mask.sum() if whole else mask.view(-1, size, mask.shape[1])[groups].sum()),
            "num_sequences": len(mask) if whole else len(groups) * size,
            "max_completion_length": config.max_new_tokens,
        }
        chunks = self._chunks(rollouts, groups)
        old: dict[int, Tensor] = {}
        for update in range(config.updates):
            totals: dict[str, float] = {}
            for i, chunk in enumerate(chunks):
                logps = self._chunk(rollouts, advantages, mask, chunk, old.get(i), scale, totals)
                if config.updates > 1 and update == 0:
                    old[i] = logps
            if update + 1 < config.updates:
                self.loop.apply(totals["loss"])
                self.loop.optimizers.zero_grad()
        count = sum(len(chunk) for chunk in chunks)
        return {k: v if k == "loss" else v / count for k, v in totals.items()}

    def _chunks(self, rollouts: Rollouts, groups: list[int]) -> list[list[int]]:
        """Groups cut so that a forward pass holds at most `micro_tokens`; follows from the recipe, never from free memory."""
        tokens = rollouts.batch["input_ids"].shape[1] + self.config.num_generations * rollouts.ids.shape[1]
        size = max(1, self.config.micro_tokens // tokens)
        return [groups[i : i + size] for i in range(0, len(groups), size)]

    def _chunk(self, rollouts, advantages, mask, groups, old, scale, totals) -> Tensor:
        """Backward of one chunk; adds its metrics, weighted by its groups, to `totals`; returns its log-probabilities."""
        config, model, size = self.config, self.context.model, self.config.num_generations
        batch, rows = pick_groups(rollouts, groups, size)
        batch = self.context.to_device(batch)
        ids, active = rollouts.ids[rows], mask[rows].float()
        logps, entropy, norms, hidden = completion_logps(model, batch, ids, config.temperature, size)
        weights = self._weights(hidden, active, norms, size)
        reference = None
        if self.reference is not None:
            with torch.no_grad():
                reference = completion_logps(self.reference, batch, ids, config.temperature, size)[0]
        loss, metrics = policy_loss(
            logps, old, advantages[groups].flatten().to(logps.dtype), active, config.loss, weights=weights, epsilon_low=config.epsilon_low,
            epsilon_high=config.epsilon_high, beta=config.beta, ref_logps=reference, **scale,
        )  # fmt: skip
        loss.backward()
        drift = ((logps.detach() - rollouts.sampler_logps[rows]).abs() * active).sum() / active.sum().clamp(min=1)
        values = {k: float(v) for k, v in metrics.items()} | {
            "drift": float(drift),
            "entropy": float((entropy * active).sum() / active.sum().clamp(min=1)),
        }
        if weights is not None:
            values |= {"weight_mean": float(weights.sum() / active.sum().clamp(min=1)), "weight_max": float(weights.max())}
        for key, value in values.items():
            totals[key] = totals.get(key, 0.0) + value * len(groups)
        totals["loss"] = totals.get("loss", 0.0) + float(loss.detach())
        return logps.detach()

    def _weights(self, hidden: Tensor, active: Tensor, norms: Tensor, size: int) -> Tensor | None:
        """Token weights [N, R] group by group."""
        config = self.config.token_weights
        if config.mode == "none":
            return None
        parts = [
            streaming_token_weights(
                h, self.context.model.head, m, config.alpha, config.mode, renorm=config.renorm, temperature=self.config.temperature, log_normalizer=n
            )
            for h, m, n in zip(hidden.detach().split(size), active.split(size), norms.split(size), strict=True)
        ]
        return torch.cat(parts)

    def _metrics(self, rollouts: Rollouts, advantages: Tensor, drawn: int) -> dict[str, float]:
        lengths = rollouts.mask.sum(1).float()
        tokens = float(lengths.sum())
        return {
            "tokens": tokens,
            "reward": float(rollouts.rewards.mean()),
            **{f"reward_{name}": sum(values) / len(values) for name, values in rollouts.parts.items()},
            "reward_failures": float(sum(self.ledger.failures.values())),
            "effective_ratio": effective_ratio(advantages),
            "prompts_drawn": float(drawn),
            "completion_length": float(lengths.mean()),
            "truncated": float(rollouts.truncated.float().mean()),
            "generate_tokens_per_s": tokens / max(1e-9, rollouts.seconds["generate"]),
            "reward_s": rollouts.seconds["reward"],
            "peak_memory_mb": _peak_memory_mb(),
        }

    def _show(self, rollouts: Rollouts, advantages: Tensor, step: int) -> None:
        """Keep the group with the widest rewards, token by token with its weights, for the report's heat map."""
        size = self.config.num_generations
        group = int((rollouts.rewards.amax(1) - rollouts.rewards.amin(1)).argmax())
        batch, rows = pick_groups(rollouts, [group], size)
        with torch.no_grad():
            _, _, norms, hidden = completion_logps(
                self.context.model, self.context.to_device(batch), rollouts.ids[rows], self.config.temperature, size
            )
            weights = self._weights(hidden, rollouts.mask[rows].float(), norms, size)
        tokenizer = self.context.processor.tokenizer
        entries = []
        for i, row in enumerate(rows.tolist()):
            count = int(rollouts.mask[row].sum())
            entries.append({
                "tokens": [tokenizer.decode([t]) for t in rollouts.ids[row][:count].tolist()],
                "weights": [1.0] * count if weights is None else [round(w, 4) for w in weights[i][:count].tolist()],
                "reward": float(rollouts.rewards[group, i]), "advantage": round(float(advantages[group, i]), 4),
            })  # fmt: skip
        record = rollouts.records[group]
        row = {
            "step": step + 1,
            "id": record.id,
            "question": record.question,
            "options": record.options,
            "answer": record.answer,
            "rollouts": entries,
        }
        with self.shown.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")


def encode_prompt(context: StageContext, max_tokens: int, sample: Any) -> tuple[Any, Any]:
    """(record, encoded prompt) of a sample; a prompt that is longer than the budget is a `ValueError`."""
    encoded = context.processor.encode(context.prompt_text(sample), sample.media)
    if len(encoded.prompt) > max_tokens:
        raise ValueError(f"the prompt's {len(encoded.prompt)} tokens are more than the stage's max_tokens {max_tokens}")
    return sample.record, encoded


def _peak_memory_mb() -> float:
    """Peak memory of the process (of the GPU, where there is one), in MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # not on Windows
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
