"""Policy losses against hand-computed numbers, TRL's own `_compute_loss`, and their properties."""

import types

import numpy as np
import pytest
import torch

from training.losses import KINDS, Kind, k3, policy_loss

CASE_B_WEIGHTS = torch.tensor([[1, 1.331115, 1.7, 1.018882], [1, 1.331115, 0, 0]], dtype=torch.float64)
CASE_B_MASK = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.float64)


def loss_of(kind, **options):
    """R = [2, 1] -> A = +-0.707007; ratio 1, so each active token's term is -A of its row."""
    advantages = options.pop("advantages", torch.tensor([0.707007, -0.707007], dtype=torch.float64))
    logps = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    return policy_loss(logps, None, advantages, CASE_B_MASK, kind, **options)[0].item()


def test_worked_numbers():
    assert loss_of("grpo") == pytest.approx(0.0, abs=1e-12)  # (-A + A) / 2
    assert loss_of("tw_grpo") == pytest.approx(-0.235669, abs=1e-6)  # (-4 A + 2 A) / 6
    assert loss_of("dapo") == pytest.approx(-0.235669, abs=1e-6)
    assert loss_of("tw_grpo", weights=CASE_B_WEIGHTS) == pytest.approx(-0.320378, abs=1e-6)  # -A (5.049997 - 2.331115) / 6
    half = torch.tensor([0.5, -0.5], dtype=torch.float64)
    assert loss_of("dr_grpo", advantages=half, max_completion_length=8) == pytest.approx(-0.0625)  # (-2 + 1) / 16


@pytest.mark.parametrize(("ratio", "advantage", "term"), [(1.5, 1, -1.28), (0.5, 1, -0.5), (1.5, -1, 1.5), (0.5, -1, 0.8)])
def test_two_sided_clip(ratio, advantage, term):
    logps = torch.tensor([[np.log(ratio)]], dtype=torch.float64)
    loss, _ = policy_loss(logps, torch.zeros_like(logps), torch.tensor([float(advantage)]), torch.ones(1, 1), "tw_grpo")
    assert loss.item() == pytest.approx(term)


def test_delta_bounds_the_unclipped_branch():
    logps = torch.tensor([[np.log(8.0)]], dtype=torch.float64)
    loss, _ = policy_loss(logps, torch.zeros_like(logps), torch.tensor([-1.0]), torch.ones(1, 1), "grpo", delta=3.0)
    assert loss.item() == pytest.approx(3.0)


def test_k3_with_clamp():
    # exp(0.5) - 1.5; exp(-0.5) - 0.5; exp(11) - 12; exp(-11) + 10
    values = k3(torch.zeros(1, 4, dtype=torch.float64), torch.tensor([[0.5, -0.5, 12.0, -12.0]], dtype=torch.float64))[0]
    np.testing.assert_allclose(values, [0.148721, 0.106531, 59862.1417, 10.0000167], rtol=1e-6, atol=1e-6)


def test_gspo_ratio_is_the_exponential_of_the_mean():
    logps = torch.tensor([[0.1, -0.3, 0.5]], dtype=torch.float64)  # mean 0.1
    _, metrics = policy_loss(logps, torch.zeros_like(logps), torch.ones(1), torch.ones(1, 3), "gspo", epsilon_high=9)
    assert metrics["ratio"].item() == pytest.approx(1.105171, abs=1e-6)


def test_stable_reinforce_clips_the_log_ratio_before_exp():
    for delta, expected in ((20.0, 1000.0), (-20.0, 0.001)):
        logps = torch.tensor([[delta]], dtype=torch.float64, requires_grad=True)
        loss, metrics = policy_loss(logps, torch.zeros(1, 1), torch.tensor([-1.0]), torch.ones(1, 1), "stable_reinforce")
        assert metrics["ratio"].item() == pytest.approx(expected)
        loss.backward()
        assert logps.grad.item() == 0.0


def random_batch(seed, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    N, T = 6, 11
    logps = -torch.rand(N, T, generator=g, dtype=dtype) * 3
    old = logps + 0.4 * torch.randn(N, T, generator=g, dtype=dtype)
    ref = logps + 0.4 * torch.randn(N, T, generator=g, dtype=dtype)
    mask = (torch.arange(T) < torch.tensor([11, 7, 3, 1, 9, 5])[:, None]).to(dtype)
    return logps.requires_grad_(), old, ref, torch.randn(N, generator=g, dtype=dtype), mask


def trl_loss(kind, logps, old, ref, advantages, mask, beta, delta):
    """TRL's own method, run on a stand-in trainer that holds only what the method reads."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    trainer = types.SimpleNamespace(
        loss_type={"gspo": "grpo"}.get(kind, kind),
        importance_sampling_level="sequence" if kind == "gspo" else "token",
        epsilon_low=0.2,
        epsilon_high=5.0 if kind == "cispo" else 0.28,
        beta=beta,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        max_completion_length=16,
        current_gradient_accumulation_steps=1,
        model=torch.nn.Identity(),
        tools=None,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        _metrics={"train": _Sink()},
        args=types.SimpleNamespace(
            delta=delta, use_bias_correction_kl=False, sapo_temperature_pos=1.0, sapo_temperature_neg=1.05, steps_per_generation=1
        ),
        accelerator=types.SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, **_: x),
        _get_per_token_logps_and_entropies=lambda *a, **k: (logps, torch.zeros_like(logps), None),
    )
    ids = torch.zeros(mask.shape, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1],
        "prompt_mask": torch.ones_like(ids[:, :1]),
        "completion_ids": ids,
        "completion_mask": mask,
        "advantages": advantages,
        "old_per_token_logps": old,
        "ref_per_token_logps": ref,
        "num_items_in_batch": mask.sum(),
    }
    return GRPOTrainer._compute_loss(trainer, trainer.model, inputs)


class _Sink(dict):
    def __missing__(self, key):
        self[key] = []
        return self[key]


ONE_SIDED = [(kind, None) for kind in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "gspo", "sapo")]
TWO_SIDED = [(kind, 1.4) for kind in ("grpo", "bnpo", "dr_grpo", "dapo", "gspo")]


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize(("kind", "delta"), ONE_SIDED + TWO_SIDED)
def test_trl_agrees(kind, delta, beta):
    for seed in range(3):
        logps, old, ref, advantages, mask = random_batch(seed)
        expected = trl_loss(kind, logps, old, ref, advantages, mask, beta, delta)
        (expected_grad,) = torch.autograd.grad(expected, logps)
        high = 5.0 if kind == "cispo" else 0.28
        mine, _ = policy_loss(logps, old, advantages, mask, kind, beta=beta, ref_logps=ref, epsilon_high=high, max_completion_length=16, delta=delta)
        (grad,) = torch.autograd.grad(mine, logps)
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(grad, expected_grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_add_up_to_the_step(kind):
    logps, old, _, advantages, mask = random_batch(0, torch.float64)
    options = {"max_completion_length": 11, "num_sequences": 6, "denominator": mask.sum()}
    whole, _ = policy_loss(logps, old, advantages, mask, kind, **options)
    parts = [policy_loss(logps[r], old[r], advantages[r], mask[r], kind, **options)[0] for r in (slice(0, 2), slice(2, 6))]
    if kind == "bnpo":  # by definition the mean of each call
        assert not torch.isclose(sum(parts), whole)
    else:
        torch.testing.assert_close(sum(parts), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_cannot_matter(kind):
    logps, old, ref, advantages, mask = random_batch(1, torch.float64)
    clean, _ = policy_loss(logps, old, advantages, mask, kind, beta=0.1, ref_logps=ref)
    dirty_old = torch.where(mask.bool(), old, -200.0)
    dirty, metrics = policy_loss(logps, dirty_old, advantages, mask, kind, beta=0.1, ref_logps=ref)
    torch.testing.assert_close(dirty, clean)
    assert all(torch.isfinite(m) for m in metrics.values())
    empty, _ = policy_loss(logps, old, advantages, torch.zeros_like(mask), kind)
    assert empty.item() == 0.0


def test_detached_weights_scale_the_gradient():
    logps, _, _, advantages, mask = random_batch(2, torch.float64)
    weights = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss, _ = policy_loss(logps, None, advantages, mask, "tw_grpo", weights=weights)
    (grad,) = torch.autograd.grad(loss, logps)
    torch.testing.assert_close(grad, -advantages[:, None] * weights * mask / mask.sum())


def test_errors():
    logps, old, _, advantages, mask = random_batch(0)
    with pytest.raises(ValueError, match="'ppo' is not one of"):
        policy_loss(logps, old, advantages, mask, "ppo")
    with pytest.raises(ValueError, match="beta > 0 needs ref_logps"):
        policy_loss(logps, old, advantages, mask, beta=0.1)


def test_tw_grpo_without_weights_or_with_alpha_one_is_trls_token_mean():
    logps, old, ref, advantages, mask = random_batch(4)
    expected = trl_loss("dapo", logps, old, ref, advantages, mask, 0.04, None)
    for weights in (None, torch.ones_like(mask)):
        mine, _ = policy_loss(logps, old, advantages, mask, "tw_grpo", weights=weights, beta=0.04, ref_logps=ref)
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-7)


def test_on_policy_means_a_ratio_of_one_with_a_gradient():
    logps, _, _, advantages, mask = random_batch(5, torch.float64)
    for kind in ("grpo", "dapo", "gspo", "tw_grpo", "stable_reinforce"):
        implicit, _ = policy_loss(logps, None, advantages, mask, kind)
        explicit, _ = policy_loss(logps, logps.detach(), advantages, mask, kind)
        torch.testing.assert_close(torch.autograd.grad(implicit, logps), torch.autograd.grad(explicit, logps))


def test_a_kind_of_ones_own():
    """A new member is a `Kind`, not a branch: plain REINFORCE, averaged over the step's tokens."""
    reinforce = Kind(term=lambda ratio, advantage, logps, bounds: -advantage * logps)
    logps, old, _, advantages, mask = random_batch(6, torch.float64)
    loss, metrics = policy_loss(logps, old, advantages, mask, reinforce)
    torch.testing.assert_close(loss, -(advantages[:, None] * logps * mask).sum() / mask.sum())
    assert "clip_low" not in metrics


def test_clip_fractions_count_where_the_gradient_is_held_back():
    logps = torch.log(torch.tensor([[1.5, 0.5, 1.0], [1.5, 0.5, 1.0]], dtype=torch.float64))
    _, metrics = policy_loss(logps, torch.zeros_like(logps), torch.tensor([1.0, -1.0]), torch.ones(2, 3), "tw_grpo")
    assert (metrics["clip_high"].item(), metrics["clip_low"].item()) == (pytest.approx(1 / 6), pytest.approx(1 / 6))
