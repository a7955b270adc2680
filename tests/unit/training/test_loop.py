"""The loop on a toy problem: it learns, logs, resumes bitwise, and never lets a non-finite number reach the weights."""

import json
import types

import pytest
import torch
from torch import nn

from training.loop import MOST_BAD_STEPS, DivergedError, Loop
from training.optimizers import build_optimizers


class Numbers:
    """A stream of batches that follow from their place; every fifth batch reports a failed item, place 3 has no item left."""

    def __init__(self):
        self.position = 0

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]

    def __iter__(self):
        while True:
            here, self.position = self.position, self.position + 1
            batch = None if here == 3 else torch.randn(4, 2, generator=torch.Generator().manual_seed(here))
            yield batch, ["bad item"] if here % 5 == 0 else []


def settings(**changes):
    values = {"name": "toy", "steps": 12, "token_budget": None, "warmup": 0.1, "schedule": "cosine", "schedule_steps": None, "clip": 1.0}
    values["save_every"] = 4
    return types.SimpleNamespace(**values | changes)


def toy(seed=0):
    torch.manual_seed(seed)
    model = nn.Linear(2, 1)
    return model, build_optimizers(model, "adamw", 0.05, 0.0, {}, 0.0)


def learn(model):
    def compute(batch, step):
        loss = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
        loss.backward()
        return {"loss": float(loss.detach()), "tokens": float(batch.numel())}

    return compute


def start(folder, model, optimizers, **changes):
    (folder / "stage").mkdir(parents=True, exist_ok=True)
    return Loop(model, optimizers, settings(**changes), folder, folder / "stage")


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_logs_and_leaves_a_manifest(tmp_path):
    model, optimizers = toy()
    loop, failures = start(tmp_path, model, optimizers, steps=60, save_every=0), []
    loop.run(Numbers(), learn(model), failures.extend)
    loop.close({"kind": "toy"})
    found = rows(tmp_path)
    assert [row["step"] for row in found] == [s for s in range(1, 61) if s != 4]  # an empty batch is a step without a row
    assert sum(row["loss"] for row in found[-5:]) < 0.5 * sum(row["loss"] for row in found[:5])
    assert failures == ["bad item"] * 12
    assert {"stage", "step", "loss", "tokens", "grad_norm", "tokens_per_s", "lr", "skipped"} <= set(found[0])
    assert json.loads((tmp_path / "stage" / "done.json").read_text()) == {"steps": 60, "tokens": 59 * 8, "skipped_steps": 0, "kind": "toy"}


@pytest.mark.parametrize("cut", [1, 5, 8, 11])
def test_a_run_cut_anywhere_ends_with_the_same_bits_and_the_same_log(tmp_path, cut):
    whole, optimizers = toy()
    loop = start(tmp_path / "whole", whole, optimizers)
    loop.run(Numbers(), learn(whole), lambda _: None)
    loop.close({})

    class CutError(Exception):
        pass

    model, optimizers = toy()
    loop = start(tmp_path / "cut", model, optimizers)
    compute = learn(model)

    def crash(batch, step):
        if step >= cut:
            raise CutError
        return compute(batch, step)

    with pytest.raises(CutError):
        loop.run(Numbers(), crash, lambda _: None)

    again, optimizers = toy()
    loop = start(tmp_path / "cut", again, optimizers)
    assert loop.step == cut // 4 * 4
    loop.run(Numbers(), learn(again), lambda _: None)
    loop.close({})
    assert torch.equal(whole.weight, again.weight) and torch.equal(whole.bias, again.bias)
    for a, b in zip(rows(tmp_path / "whole"), rows(tmp_path / "cut"), strict=True):
        assert {k: v for k, v in a.items() if k != "tokens_per_s"} == {k: v for k, v in b.items() if k != "tokens_per_s"}


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_a_non_finite_step_changes_nothing_and_is_counted(tmp_path, poison):
    model, optimizers = toy()
    good, weights = learn(model), []

    def compute(batch, step):
        weights.append(model.weight.detach().clone())
        metrics = good(batch, step)
        if step == 6 and poison == "loss":
            metrics["loss"] = float("nan")
        elif step == 6:
            model.weight.grad[0, 0] = float("inf")
        return metrics

    loop = start(tmp_path, model, optimizers, save_every=0)
    loop.run(Numbers(), compute, lambda _: None)
    loop.close({})
    # Step 3 had no batch, so that step 6 is the sixth call.
    assert torch.equal(weights[5], weights[6]) and not torch.equal(weights[6], weights[7])
    assert torch.isfinite(model.weight).all()
    row = next(r for r in rows(tmp_path) if r["step"] == 7)
    assert row["skipped"] == 1
    assert row["loss"] is None if poison == "loss" else row["grad_norm"] is None


def test_staying_non_finite_ends_the_stage_with_its_name_and_a_remedy(tmp_path):
    model, optimizers = toy()
    before = model.weight.detach().clone()

    def compute(batch, step):
        (model(batch).sum() * float("nan")).backward()
        return {"loss": float("nan"), "tokens": 1.0}

    loop = start(tmp_path, model, optimizers, steps=100)
    with pytest.raises(DivergedError, match=rf"'toy'.*{MOST_BAD_STEPS} steps in a row.*lr"):
        loop.run(Numbers(), compute, lambda _: None)
    assert torch.equal(model.weight, before)


def test_gradients_are_clipped_and_the_norm_before_it_is_logged(tmp_path):
    model = nn.Linear(1, 1, bias=False)
    optimizers = build_optimizers(model, "adamw", 0.0, 0.0, {}, 0.0)
    seen = []

    def compute(batch, step):
        (model.weight * 30).sum().backward()
        return {"loss": 0.0, "tokens": 1.0}

    loop = start(tmp_path, model, optimizers, steps=1, clip=2.0)
    step = optimizers.step
    optimizers.step = lambda: (seen.append(model.weight.grad.item()), step())
    loop.run(Numbers(), compute, lambda _: None)
    loop.close({})
    assert seen == pytest.approx([2.0], rel=1e-4)
    assert rows(tmp_path)[0]["grad_norm"] == pytest.approx(30.0)


def test_a_token_budget_ends_the_stage_and_a_finished_one_does_not_go_on(tmp_path):
    for _ in range(2):  # the second loop finds its last checkpoint, one step before the end
        model, optimizers = toy()
        loop = Loop(model, optimizers, settings(token_budget=40, save_every=4), tmp_path, tmp_path / "stage")
        loop.run(Numbers(), learn(model), lambda failures: None)
        assert (loop.step, loop.tokens_seen) == (6, 40)  # 8 tokens a step, one of which has no batch
    loop.close({})
    assert json.loads((tmp_path / "stage/done.json").read_text())["steps"] == 6


def test_no_process_steps_where_one_has_no_batch(tmp_path):
    model, optimizers = toy()
    loop = Loop(model, optimizers, settings(steps=5), tmp_path, tmp_path / "stage", agree=lambda ready: False)
    loop.run(Numbers(), learn(model), lambda failures: None)
    assert loop.step == 5 and loop.tokens_seen == 0


def test_a_stage_that_begins_anew_drops_its_own_rows_only(tmp_path):
    rows = [{"stage": "before", "step": 1}, {"stage": "toy", "step": 1}, {"stage": "toy", "step": 2}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model, optimizers = toy()
    Loop(model, optimizers, settings(), tmp_path, tmp_path / "stage").close({})
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == rows[:1]
