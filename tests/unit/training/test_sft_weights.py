"""Token weights in supervised training, against the plain step and against the definition."""

from types import SimpleNamespace

import pytest
import torch

from models.configuration import FocalConfig
from models.modeling import FocalModel
from training.stages.context import StageContext
from training.stages.sft import SFTConfig, SFTStage, TokenWeighting, supervised_step, weighted_step
from training.token_weights import token_weights

LLM = {
    "model_type": "qwen3", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture
def context():
    torch.manual_seed(0)
    accelerator = SimpleNamespace(num_processes=1, process_index=0, device=torch.device("cpu"))
    return StageContext(SimpleNamespace(dtype="float32"), FocalModel(FocalConfig(llm=LLM, streams={})), None, None, accelerator, None)


def batch():
    ids = torch.randint(1, 32, (2, 7), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[0, :3] = labels[1, :2] = labels[1, 6:] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def run(context, step):
    context.model.zero_grad()
    metrics = step(batch(), 0)
    return metrics, {n: p.grad.clone() for n, p in context.model.named_parameters() if p.grad is not None}


def test_alpha_one_is_plain_supervised_training(context):
    plain, expected = run(context, lambda b, s: supervised_step(context.model, context, b, s))
    weighted, found = run(context, lambda b, s: weighted_step(TokenWeighting(mode="entropy", alpha=1.0).build(), context, b, s))
    assert weighted["loss"] == pytest.approx(plain["loss"], rel=1e-5) and weighted["tokens"] == plain["tokens"] == 8
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_each_completion_is_weighted_by_its_own_entropies(context):
    metrics, _ = run(context, lambda b, s: weighted_step(TokenWeighting(mode="entropy", alpha=2.0).build(), context, b, s))
    b = batch()
    with torch.no_grad():
        logps = torch.log_softmax(context.model(input_ids=b["input_ids"]).logits[:, :-1], -1)
    labels = b["labels"][:, 1:]
    keep = labels != -100
    weights = torch.cat([token_weights(row[None], mask[None], 2.0, "entropy") for row, mask in zip(logps, keep, strict=True)])
    chosen = logps.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    assert metrics["loss"] == pytest.approx(-(weights * chosen * keep).sum().item() / 8, rel=1e-5)
    assert metrics["weight_mean"] == pytest.approx((weights.sum() / 8).item(), rel=1e-5) and metrics["weight_mean"] > 1.5


def test_an_unknown_rule_is_named_before_any_work():
    config = SFTConfig(name="sft", mixture={}, steps=1, batch_size=1, token_weights={"mode": "entropi"})
    with pytest.raises(ValueError, match="unknown token-weight rule 'entropi'; did you mean 'entropy'"):
        SFTStage(config)
