"""LoRA on any part: silent at the start, alone in learning, exact through a checkpoint, gone after merging."""

import pytest
import torch

from models.lora import add_lora, freeze_base, merge_lora
from models.modeling import FocalModel

SETTINGS = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "targets": ["q_proj", "k_proj"], "parts": ["llm"]}


def perturb(model):
    """Adapters start at zero; give them something to say."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))))


@pytest.mark.parametrize(
    "parts,targets,layers",
    [(["llm"], ["q_proj", "k_proj"], 6), (["image.encoder"], ["qkv"], 1), (["audio.projector", "llm"], ["down"], 0)],
)
def test_starts_silent_and_alone_learns(make_model, make_batch, parts, targets, layers):
    model = make_model("hybrid")
    batch = make_batch(model, ["tit" + "tt", "tat" + "tt"])
    if not layers:
        with pytest.raises(ValueError, match="part 'llm' has no linear layer 'down'"):
            add_lora(model, {**SETTINGS, "parts": parts, "targets": targets})
        return
    with torch.no_grad():
        before = model(**batch).logits
        chosen = add_lora(model, {**SETTINGS, "parts": parts, "targets": targets})
        assert len(chosen) == layers and torch.equal(model(**batch).logits, before)
    prefix = "llm." if parts == ["llm"] else "streams.image.encoder."
    for name, weight in model.named_parameters():
        assert weight.requires_grad == ("lora_" in name or not name.startswith(prefix)), name
    perturb(model)
    model(**batch, labels=torch.where(batch["input_ids"] > 2, batch["input_ids"], -100)).loss.backward()
    grads = [w.grad for n, w in model.named_parameters() if "lora_" in n]
    assert len(grads) == 2 * layers and all(g is not None and float(g.norm()) > 0 for g in grads)  # through kv media too


def test_checkpoint_with_adapters_is_exact_and_merging_keeps_the_function(make_model, make_batch, tmp_path):
    model = make_model("kv")
    add_lora(model, SETTINGS)
    perturb(model)
    batch = make_batch(model, ["titt", "tat"])
    with torch.no_grad():
        expected = model(**batch).logits
        model.save_pretrained(tmp_path / "with")
        again = FocalModel.from_pretrained(tmp_path / "with").eval()
        assert torch.equal(again(**batch).logits, expected) and again.config.lora == SETTINGS
        assert not dict(again.named_parameters())["llm.model.layers.0.self_attn.q_proj.base_layer.weight"].requires_grad
        merged = merge_lora(again)
        assert (merged(**batch).logits - expected).abs().max() < 1e-5
        merged.save_pretrained(tmp_path / "merged")
        plain = FocalModel.from_pretrained(tmp_path / "merged").eval()
    assert plain.config.lora is None and not [n for n in plain.state_dict() if "lora" in n or "base_layer" in n]
    assert torch.equal(plain(**batch).logits, merged(**batch).logits)
    assert all(w.requires_grad for w in merged.parameters())


def test_base_stays_frozen_when_a_stage_frees_everything(make_model):
    model = make_model("prepend")
    add_lora(model, SETTINGS)
    model.requires_grad_(True)
    freeze_base(model)
    learning = {n.split(".")[0] for n, w in model.named_parameters() if w.requires_grad and "lora_" not in n}
    assert learning == {"streams"}
    untouched = make_model("prepend")
    freeze_base(untouched)
    assert all(w.requires_grad for w in untouched.parameters()) and merge_lora(untouched) is untouched


OPEN_CLIP = {
    "name": "open_clip", "vision": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8}, "grid": 2, "width": 16,
}  # fmt: skip


def test_a_pretrained_tower_learns_through_its_linear_layers_and_others_are_refused(make_model, make_batch):
    """torch's MultiheadAttention multiplies with `out_proj.weight` itself: an adapter on it would learn nothing, in silence."""
    model = make_model("prepend", streams=("image",), encoders={"image": OPEN_CLIP})
    with pytest.raises(ValueError, match=r"'out_proj' of part 'image\.encoder' is inside torch's MultiheadAttention"):
        add_lora(model, {**SETTINGS, "parts": ["image.encoder"], "targets": ["c_fc", "out_proj"]})
    assert add_lora(model, {**SETTINGS, "parts": ["image.encoder"], "targets": ["c_fc", "c_proj"]})
    perturb(model)
    batch = make_batch(model, ["tit"])
    model(**batch, labels=torch.where(batch["input_ids"] > 2, batch["input_ids"], -100)).loss.backward()
    assert all(float(w.grad.norm()) > 0 for n, w in model.named_parameters() if "lora_" in n)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"parts": ["imag"]}, "no part is called 'imag'"),
        ({"targets": ["lm_head"]}, "lm_head cannot be a target"),
        ({"targets": ["w9"]}, "no linear layer 'w9'"),
    ],
)
def test_refusals(make_model, change, message):
    with pytest.raises(ValueError, match=message):
        add_lora(make_model("prepend"), {**SETTINGS, **change})
