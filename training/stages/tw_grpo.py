"""TW-GRPO and the GRPO family: rollout -> verdicts -> rewards -> advantages -> token weights -> loss -> step, each a pure function with its own
registry. docs/tw_grpo.md.

Shape legend: B prompts, G rollouts of each, N = B * G rows, R completion positions.
"""

import dataclasses
import functools
import time
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, field_validator

from data import protocol
from models.lora import freeze_base
from training.advantages import effective_ratio, zero_variance
from training.loop import Loop
from training.optimizers import build_optimizers, freeze
from training.options import bind_line
from training.reference import Reference
from training.rewards.algebra import Ledger, build_terms
from training.rollout import Rollouts, Sampling, roll_out
from training.rollout_log import RolloutLog
from training.stages.context import StageContext, hash_seed
from training.stages.sft import TokenWeighting, TrainSettings
from training.step_credit import step_credit, step_finder
from training.update import Objective, Part, accumulate, cut

DRIFT_LIMIT = 0.05  # mean |log-probability of sampler - of trainer| above this means that they are not the same model
SHOWN_EVERY = 20  # steps between the groups that are kept for the report
SUMS = ("tokens", "reward_failures", "zero_variance_groups", "prompts_drawn", "generate_tokens_per_s", "reward_tokens_per_s", "update_tokens_per_s")
OWN_OPTIONS = ("delta", "tau_positive", "tau_negative")  # of `policy_loss`, that only some losses read


class TWGRPOConfig(TrainSettings):
    """`batch_size` prompts a step, `num_generations` rollouts each, at most `rollout_tokens` of them cached at a time. `rewards`: lines
    `{name, weight, gate, **options}`; one that takes longer than `reward_seconds` earns 0. `advantage` and `filters`: `{name, **options}`.
    `dynamic_sampling`: `none`, or `drop`: groups without variance leave the denominator too, or `refill`: up to `refill_rounds` times as many prompts
    are drawn until `batch_size` groups have variance. `step_credit` weighs what a verified step earns for its own tokens
    (`training/step_credit.py`; 0: rewards alone). `reference`: see `training/reference.py`; it is used where `beta` is above 0."""

    kind: str = "tw_grpo"
    lr: float = Field(1e-4, gt=0)
    warmup: float = Field(0.05, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "constant"
    engine: str = "focal"
    num_generations: int = Field(8, ge=2)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int | None = Field(None, gt=0)
    max_new_tokens: int = Field(96, gt=0)
    rollout_tokens: int | None = Field(None, gt=0)
    shuffled_frames: int = Field(0, ge=0)
    loss: str = "tw_grpo"
    loss_options: dict[str, float] = {}
    token_weights: TokenWeighting = TokenWeighting()
    advantage: dict[str, Any] = {"name": "group"}
    filters: list[dict[str, Any]] = []
    step_credit: float = Field(0.0, ge=0)
    rewards: list[dict[str, Any]] = [{"name": "answer", "weight": 1.0}, {"name": "format", "weight": 0.2}]
    reward_seconds: float = Field(60.0, gt=0)
    epsilon_low: float = Field(0.2, ge=0)
    epsilon_high: float = Field(0.28, ge=0)
    beta: float = Field(0.0, ge=0)
    reference: Literal["start", "base"] = "start"
    updates: int = Field(1, ge=1)
    dynamic_sampling: Literal["none", "drop", "refill"] = "none"
    refill_rounds: int = Field(3, ge=1)
    mask_truncated: bool = False
    micro_tokens: int = Field(1 << 15, gt=0)

    @field_validator("engine")
    @classmethod
    def fresh_weights(cls, engine: str) -> str:
        if engine != "focal":
            raise ValueError(
                f"reinforcement through engine {engine!r} is refused: a server goes on sampling from the weights that it was started with; "
                "leave engine at 'focal' (servers serve generation and evaluation)"
            )
        return engine


class TWGRPOStage:
    """One step a call of `step`; the loop, checkpoints and logging are the same as for supervised stages."""

    config_class = TWGRPOConfig

    def __init__(self, config: TWGRPOConfig):
        from configs.registry import ADVANTAGES, FILTERS, LOSSES, REWARDS

        self.config = config
        self.terms = build_terms(config.rewards, REWARDS.get)
        if "temporal" in (term.name for term in self.terms) and not config.shuffled_frames:
            raise ValueError(f"stage {config.name!r}: reward 'temporal' compares with rollouts on shuffled frames: set shuffled_frames, e.g. to 4")
        self.rule = bind_line(config.advantage, ADVANTAGES.get)
        self.filters = [bind_line(line, FILTERS.get, given=3) for line in config.filters]
        self.loss = LOSSES.get(config.loss)
        if unknown := sorted(set(config.loss_options) - set(OWN_OPTIONS)):
            raise ValueError(f"stage {config.name!r}: unknown key in loss_options: {unknown[0]!r} (known: {', '.join(OWN_OPTIONS)})")
        self.weighting = config.token_weights.build()
        self.warned = False

    def run(self, context: StageContext, stage_dir: Path) -> None:
        """Train `context.model` in place; leaves the stage's manifest, its weights and `rollouts.jsonl` (groups for the report) in `stage_dir`."""
        config, model = self.config, context.model
        context.check_whole_model(config.kind)
        freeze(model, config.freeze)
        optimizers = build_optimizers(model, config.optimizer, config.lr, config.muon_lr, config.lr_parts, config.weight_decay)
        options = {"epsilon_low": config.epsilon_low, "epsilon_high": config.epsilon_high, "beta": config.beta, **config.loss_options}
        reference = Reference(model, config.reference) if config.beta else None  # before the loop loads what the stage has trained so far
        self.objective = Objective(self.loss, self.weighting, options, config.temperature, reference, context.autocast)
        self.ledger = Ledger(seconds=config.reward_seconds, path=stage_dir / f"timeouts-{context.rank}.jsonl")
        rounds = config.refill_rounds if config.dynamic_sampling == "refill" else 1
        drawn = config.model_copy(update={"batch_size": config.batch_size * rounds})
        loop = Loop(model, optimizers, config, context.run_dir, stage_dir, context.sinks, context.is_main, context.agree)
        loop.keep(self.ledger)
        self.loop, self.context, self.log = loop, context, RolloutLog(stage_dir / "rollouts.jsonl", loop.step) if context.is_main else None
        self.find_steps = step_finder(context.processor.tokenizer)
        model.train()
        loop.run(context.stream(drawn, functools.partial(encode_prompt, context, config.max_tokens), list), self.step, context.quarantine_all)
        context.keep_weights(stage_dir)
        loop.close(
            {"kind": config.kind, "mixture": config.mixture, "reward_failures": dict(self.ledger.failures), "tracebacks": self.ledger.tracebacks}
        )
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        freeze_base(model)

    def step(self, rows: list, step: int) -> dict[str, float]:
        """Gradients of one step on the model, and its metrics."""
        parts = self._collect(rows, step)
        start = time.perf_counter()
        update = self._update(parts)
        seconds = time.perf_counter() - start
        metrics = self.context.mean_of(self._metrics(parts) | {"update_tokens_per_s": sum(p.tokens(True) for p in parts) / max(1e-9, seconds)})
        metrics |= {key: value * self.context.world_size for key, value in metrics.items() if key in SUMS}
        if self.log is not None and step % SHOWN_EVERY == 0:
            self.log.add(parts[0], self.context.model, self.context.processor.tokenizer, self.objective, step + 1)
        return metrics | update

    def _collect(self, rows: list, step: int) -> list[Part]:
        """Rollouts of the step's prompts; under `refill` round after round, until enough groups have something to tell."""
        config, context = self.config, self.context
        how = Sampling(
            config.num_generations, config.temperature, config.max_new_tokens, config.shuffled_frames, config.top_p, config.top_k,
            config.rollout_tokens,
        )  # fmt: skip
        wanted = config.batch_size // context.world_size
        size = wanted if config.dynamic_sampling == "refill" else len(rows)
        parts: list[Part] = []
        for first in range(0, len(rows), size):
            seed = (hash_seed(context.recipe.seed, config.name), context.rank, step, first)
            with context.autocast():
                rollouts = roll_out(context.model, context.processor, rows[first : first + size], how, self.terms, self.ledger, seed)
            part = self._judge(rollouts)
            still = wanted - sum(len(p.groups) for p in parts)
            parts.append(dataclasses.replace(part, groups=part.groups[:still]))
            if len(part.groups) >= still:
                break
        return parts

    def _judge(self, rollouts: Rollouts) -> Part:
        """Advantages, filters, and the groups that they leave something to learn from."""
        lengths = rollouts.mask.sum(1).view(rollouts.rewards.shape)
        advantages = self.rule(rollouts.rewards)
        for keep in self.filters:
            advantages = keep(advantages, rollouts.rewards, lengths)
        mask = rollouts.mask & ~rollouts.truncated[:, None] if self.config.mask_truncated else rollouts.mask
        part = Part(rollouts, advantages, mask, [], self._credit(rollouts) if self.config.step_credit else None)
        every = part.earned(range(len(advantages)), torch.arange(len(mask), device=mask.device))
        return dataclasses.replace(part, groups=(every.view(len(advantages), -1) != 0).any(1).nonzero()[:, 0].tolist())

    def _credit(self, rollouts: Rollouts) -> torch.Tensor:
        """What the tokens of verified steps earn, [N, R]."""
        rows = zip(rollouts.ids.tolist(), rollouts.mask.sum(1).tolist(), strict=True)
        spans = [self.find_steps(ids[:count]) for ids, count in rows]
        steps, verdicts = [protocol.parse(text).steps for text in rollouts.texts], [v.steps for v in rollouts.verdicts]
        credit = step_credit(spans, steps, verdicts, self.config.num_generations, rollouts.ids.shape[1])
        return self.config.step_credit * credit.to(rollouts.ids.device)

    def _update(self, parts: list[Part]) -> dict[str, float]:
        """`updates` passes over the groups that have something to tell; all but the last also step. Every process takes part, or none does."""
        config, context, dropping = self.config, self.context, self.config.dynamic_sampling != "none"
        learned = sum(len(p.groups) for p in parts)
        groups = learned if dropping else sum(len(p.advantages) for p in parts)
        tokens = sum(p.tokens(dropping) for p in parts)
        everywhere = context.total(torch.tensor([learned, groups, tokens], dtype=torch.float64, device=context.accelerator.device)).tolist()
        if not everywhere[0]:
            return {"loss": 0.0}
        scale = {
            "groups": everywhere[1], "num_sequences": everywhere[1] * config.num_generations, "denominator": everywhere[2],
            "max_completion_length": config.max_new_tokens,
        }  # fmt: skip
        chunks, old = cut(parts, config.micro_tokens), None
        for update in range(config.updates):
            metrics, logps = accumulate(context.model, chunks, self.objective, scale, old)
            context.sum_gradients(context.model)
            metrics["loss"] = float(context.total(torch.tensor(metrics["loss"], device=context.accelerator.device)))
            if update + 1 < config.updates:
                old = logps if update == 0 else old
                self.loop.apply(metrics["loss"])
                self.loop.optimizers.zero_grad()
            if update == 0:
                self._watch(metrics.get("drift", 0.0))
        return metrics

    def _watch(self, drift: float) -> None:
        if drift > DRIFT_LIMIT and not self.warned:
            self.warned = True
            warnings.warn(
                f"stage {self.config.name!r}: the log-probabilities of sampler and trainer differ by {drift:.3f} in the mean (limit {DRIFT_LIMIT}): "
                "rollouts are off-policy; check dtype and attention",
                stacklevel=2,
            )

    def _metrics(self, parts: list[Part]) -> dict[str, float]:
        """What the rollouts of a step say, over all rounds."""
        all_of = [p.rollouts for p in parts]
        lengths = torch.cat([r.mask.sum(1) for r in all_of]).float()
        rewards, advantages = torch.cat([r.rewards for r in all_of]), torch.cat([p.advantages for p in parts])
        tokens, generate, judge = float(lengths.sum()), sum(r.seconds["generate"] for r in all_of), sum(r.seconds["reward"] for r in all_of)
        named = {name: [v for r in all_of for v in r.parts[name]] for name in all_of[0].parts}
        return {
            "tokens": tokens,
            "reward": float(rewards.mean()),
            "reward_std": float(rewards.std(1).mean()),
            **{f"reward_{name}": sum(values) / len(values) for name, values in named.items()},
            "reward_failures": float(sum(self.ledger.failures.values())),
            "effective_ratio": effective_ratio(advantages),
            "zero_variance_groups": float(zero_variance(rewards).sum()),
            "prompts_drawn": float(len(rewards)),
            "completion_length": float(lengths.mean()),
            "truncated": float(torch.cat([r.truncated for r in all_of]).float().mean()),
            "generate_tokens_per_s": tokens / max(1e-9, generate),
            "reward_tokens_per_s": tokens / max(1e-9, judge),
            "peak_memory_mb": _peak_memory_mb(),
        }


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
