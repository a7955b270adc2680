"""Which parameter learns at which rate, what is frozen, and the shape of the schedule."""

import math

import pytest
import torch
from torch import nn

from training.optimizers import build_optimizers, freeze, matches, part_of, schedule


class Tiny(nn.Module):
    """The parts of a reasoner in miniature."""

    def __init__(self):
        super().__init__()
        self.llm = nn.ModuleDict({"embed_tokens": nn.Embedding(4, 3), "dense": nn.Linear(3, 3)})
        stream = {"encoder": nn.Conv1d(2, 3, 3), "projector": nn.Linear(3, 3, bias=False)}
        self.streams = nn.ModuleDict({"image": nn.ModuleDict(stream), "audio": nn.ModuleDict({"projector": nn.Linear(3, 3)})})
        self.lm_head = nn.Linear(3, 4, bias=False)


def rates(optimizers, model):
    names = {id(p): name for name, p in model.named_parameters()}
    groups = [(type(o).__name__, g) for o in optimizers.all for g in o.param_groups]
    return {names[id(p)]: (kind, g["lr"], g["weight_decay"]) for kind, g in groups for p in g["params"]}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("llm.layers.0.self_attn.q_proj.weight", "llm"),
        ("media_keys.0.k.weight", "llm"),
        ("streams.image.encoder.stem.0.weight", "image.encoder"),
        ("base_model.model.streams.audio2.projector.up.weight", "audio2.projector"),
        ("lm_head.weight", "lm_head"),
    ],
)
def test_part_of(name, part):
    assert part_of(name) == part


@pytest.mark.parametrize(
    ("part", "wanted", "covered"),
    [
        ("image.encoder", "image", True),
        ("image.encoder", "encoder", True),
        ("image.encoder", "image.encoder", True),
        ("image.encoder", "image.enc", False),
        ("image2.encoder", "image", False),
        ("llm", "encoder", False),
    ],
)
def test_a_name_covers_whole_parts_only(part, wanted, covered):
    assert matches(part, wanted) is covered


def test_adamw_decays_matrices_only_and_scales_parts():
    model = Tiny()
    found = rates(build_optimizers(model, "adamw", 0.01, 0.5, {"image": 0.1, "projector": 0.5}, 0.2), model)
    assert len(found) == len(list(model.parameters()))
    assert found["llm.dense.weight"] == ("AdamW", 0.01, 0.2)
    assert found["llm.dense.bias"] == ("AdamW", 0.01, 0.0)
    assert found["streams.image.encoder.weight"] == ("AdamW", pytest.approx(0.001), 0.2)
    assert found["streams.image.projector.weight"] == ("AdamW", pytest.approx(0.0005), 0.2)  # both factors apply
    assert found["streams.audio.projector.weight"] == ("AdamW", pytest.approx(0.005), 0.2)


def test_muon_takes_hidden_matrices_only():
    model = Tiny()
    found = rates(build_optimizers(model, "muon", 0.01, 0.5, {}, 0.0), model)
    by_muon = {name for name, (kind, *_) in found.items() if kind == "Muon"}
    assert by_muon == {"llm.dense.weight", "streams.image.projector.weight", "streams.audio.projector.weight"}
    assert {found[name][1] for name in by_muon} == {0.5}
    assert {rate for name, (_, rate, _) in found.items() if name not in by_muon} == {0.01}


def test_frozen_parts_are_left_out_and_unknown_ones_refused():
    model = Tiny()
    freeze(model, ["llm", "image.encoder"])
    assert not model.llm["dense"].weight.requires_grad and model.streams["image"]["projector"].weight.requires_grad
    assert not any(name.startswith("llm") for name in rates(build_optimizers(model, "adamw", 1.0, 1.0, {}, 0.0), model))
    with pytest.raises(ValueError, match=r"'video'.*image\.encoder"):
        freeze(model, ["video"])
    with pytest.raises(ValueError, match=r"lr_parts.*'llm'"):
        build_optimizers(model, "adamw", 1.0, 1.0, {"llm": 2.0}, 0.0)
    freeze(model, ["image", "audio", "lm_head"])
    with pytest.raises(ValueError, match="nothing to train"):
        build_optimizers(model, "adamw", 1.0, 1.0, {}, 0.0)


def test_one_step_moves_what_is_trained_and_nothing_else():
    torch.manual_seed(0)
    model = Tiny()
    freeze(model, ["image"])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizers = build_optimizers(model, "muon", 0.01, 0.1, {}, 0.0)
    sum((p**2).sum() for p in model.parameters()).backward()
    optimizers.set_scale(1.0)
    optimizers.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if not name.startswith("streams.image")}
    optimizers.zero_grad()
    assert all(p.grad is None for p in model.parameters() if p.requires_grad)


def test_scale_multiplies_the_base_rate_every_time():
    optimizers = build_optimizers(Tiny(), "muon", 0.01, 0.5, {}, 0.0)
    for scale in (0.1, 0.5, 0.25):
        optimizers.set_scale(scale)
    assert sorted({g["lr"] for o in optimizers.all for g in o.param_groups}) == pytest.approx([0.0025, 0.125])


def test_schedule_by_hand():
    """100 steps, warm-up 10: step 0 is 1/10, step 9 is 1; then (1 + cos(pi k/90)) / 2."""
    assert [schedule(s, 100, 0.1) for s in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert schedule(10, 100, 0.1) == pytest.approx(1.0)
    assert schedule(55, 100, 0.1) == pytest.approx(0.5)
    assert schedule(99, 100, 0.1) == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert schedule(40, 100, 0.1, "linear") == pytest.approx(2 / 3)
    assert schedule(99, 100, 0.1, "constant") == 1.0
    assert schedule(100, 100, 0.1, floor=0.1) == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (1, 1.0), (7, 0.3), (50, 0.0)])
def test_schedule_stays_in_range(kind, steps, warmup):
    assert all(0 <= schedule(s, steps, warmup, kind) <= 1 for s in range(steps))
    assert schedule(0, steps, warmup, kind) > 0
