"""Supervised training against a plain transformers loop that prepends the same media tokens: loss, gradients, and the course of a short training.

Weights are float64. Norms and rotary angles of transformers are float32 inside whatever the weights are, on both sides: hence 1e-6 and not 1e-12.
"""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoModelForCausalLM

from models.configuration import FocalConfig
from models.modeling import SUPPORTED, FocalModel
from training.loop import Loop
from training.optimizers import build_optimizers
from training.stages.context import StageContext
from training.stages.sft import supervised_step

IMAGE, PAD, VOCAB = 1, 0, 40
SIZES = {
    "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48,
    "max_position_embeddings": 64, "pad_token_id": PAD, "eos_token_id": 3, "bos_token_id": None,
}  # fmt: skip
STREAM = {
    "encoder": {"name": "conv", "size": 16, "width": 16, "depth": 1, "heads": 2}, "projector": {"name": "mlp"}, "fusion": [{}], "token_id": IMAGE,
}  # fmt: skip


class Plain(torch.nn.Module):
    """What a user would write: the model of the hub, media embeddings put over the placeholders, cross-entropy over the whole vocabulary."""

    def __init__(self, ours: FocalModel, llm: torch.nn.Module):
        super().__init__()
        self.llm = llm
        self.encoder, self.projector = copy.deepcopy(ours.streams["image"].encoder), copy.deepcopy(ours.streams["image"].projector)

    def forward(self, input_ids, attention_mask, labels, image_features, image_rows):
        embeds = self.llm.get_input_embeddings()(input_ids)
        tokens, _ = self.projector(*self.encoder(image_features))
        embeds = embeds.masked_scatter((input_ids == IMAGE)[..., None], tokens.flatten(0, 1))
        logits = self.llm(inputs_embeds=embeds, attention_mask=attention_mask, use_cache=False).logits
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


def pair(family: str) -> tuple[FocalModel, Plain]:
    torch.manual_seed(0)
    head: dict = {"head_dim": 8} if family in ("qwen3", "llama", "mistral", "helium", "seed_oss") else {}
    if family == "seed_oss":  # the one family that drops out by default: the two would draw apart
        head |= {"attention_dropout": 0.0, "residual_dropout": 0.0}
    llm = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SIZES, **head)).double()
    ours = FocalModel(FocalConfig(llm={"model_type": family, **SIZES, **head}, streams={"image": STREAM})).double()
    ours.llm.load_state_dict(llm.state_dict())
    return ours, Plain(ours, llm)


def batch(seed: int) -> dict[str, torch.Tensor]:
    """Three rows, the last without an image and padded; the loss is on the last tokens of each."""
    rng = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, VOCAB, (3, 12), generator=rng)
    ids[0, 1:5] = ids[1, 3:7] = IMAGE
    ids[2, 9:] = PAD
    labels = ids.clone()
    labels[:2, :8] = labels[2, :4] = -100
    labels[2, 9:] = -100
    images = torch.rand(2, 3, 16, 16, generator=rng, dtype=torch.float64) * 2 - 1
    mask = torch.ones_like(ids)
    mask[2, 9:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "image_features": images, "image_rows": torch.tensor([0, 1])}


def context(model: FocalModel) -> StageContext:
    accelerator = SimpleNamespace(num_processes=1, process_index=0, device=torch.device("cpu"))
    return StageContext(SimpleNamespace(dtype="float32"), model, None, None, accelerator, None)


def renamed(plain: Plain) -> dict[str, torch.nn.Parameter]:
    """The plain model's parameters under our names."""
    return {(n if n.startswith("llm.") else f"streams.image.{n}"): p for n, p in plain.named_parameters()}


@pytest.mark.parametrize("family", SUPPORTED)
def test_one_step_has_the_loss_and_gradients_of_the_plain_loop(family):
    ours, plain = pair(family)
    metrics = supervised_step(ours, context(ours), batch(1), 0)
    expected = plain(**batch(1))
    expected.backward()
    assert metrics["tokens"] == 4 + 4 + 5 and metrics["loss"] == pytest.approx(float(expected.detach()), rel=1e-6)
    theirs = renamed(plain)
    assert {n for n, p in ours.named_parameters() if p.grad is not None} == {n for n, p in theirs.items() if p.grad is not None}
    largest = max(float(p.grad.abs().max()) for p in theirs.values())
    for name, parameter in ours.named_parameters():
        assert (parameter.grad - theirs[name].grad).abs().max() < 1e-6 * largest, name


class Batches:
    """A stream of four batches."""

    def state_dict(self) -> dict:
        return {}

    def __iter__(self):
        return iter([(batch(seed), []) for seed in range(4)])


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_a_short_training_takes_the_course_of_the_plain_loop(family, tmp_path):
    """AdamW, a first step at full rate, then a cosine over three, gradients clipped to norm 1: by torch's own parts, written out."""
    ours, plain = pair(family)
    settings = {"name": "sft", "steps": 4, "token_budget": None, "warmup": 0.25, "schedule": "cosine", "schedule_steps": None, "clip": 1.0}
    losses: list[float] = []

    def compute(data, step):
        metrics = supervised_step(ours, context(ours), data, step)
        losses.append(metrics["loss"])
        return metrics

    optimizers = build_optimizers(ours, "adamw", 1e-2, 0.0, {"projector": 0.5}, 0.1)
    loop = Loop(ours, optimizers, SimpleNamespace(**settings, save_every=0), tmp_path, tmp_path / "stage")
    loop.run(Batches(), compute, lambda failures: None)
    loop.close({})

    groups = [
        {"params": [p], "lr": 1e-2 * (0.5 if n.startswith("projector.") else 1), "weight_decay": 0.1 if p.ndim >= 2 else 0.0}
        for n, p in plain.named_parameters()
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    scales = [1.0, *(0.5 * (1 + math.cos(math.pi * step / 3)) for step in range(3))]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: scales[min(step, 3)])
    expected = []
    for seed in range(4):
        optimizer.zero_grad()
        loss = plain(**batch(seed))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        expected.append(float(loss.detach()))
    assert losses == pytest.approx(expected, rel=1e-5)
    assert len({round(loss, 3) for loss in losses}) == 4  # it moved
