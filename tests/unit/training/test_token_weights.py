"""Token weights against hand-computed cases, a float64 numpy oracle and their own properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.losses import policy_loss
from training.token_weights import MODES, RULES, Rule, streaming_token_weights, token_weights
from training.update import Weighting


def logs(*rows):
    return torch.tensor(rows, dtype=torch.float64).log()


PAD = [0.5, 0.5]  # what stands at a padded position must not matter


def test_official_two_full_rows():
    # By hand at t = 3: both columns have mean log ln 0.4; the ratios to it are 0.5 and 2, and (e^d - d - 1) sums to 0.193147 + 0.306853 = 0.5
    # per row.
    logps = logs([[0.9, 0.1], [0.5, 0.5], [0.8, 0.2]], [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    weights = token_weights(logps, torch.ones(2, 3), mode="official")
    np.testing.assert_allclose(weights, [[1, 1.014544, 1.7]] * 2, atol=1e-5)


def test_official_fills_finished_rows_with_the_uniform_distribution():
    # Position 3, where only one confident row is alive, gets the largest weight: the published fault.
    logps = logs([[0.9, 0.1], [0.7, 0.3], [0.9, 0.1], [0.6, 0.4]], [[0.9, 0.1], [0.3, 0.7], PAD, PAD])
    weights = token_weights(logps, torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]), mode="official")
    np.testing.assert_allclose(weights, [[1, 1.331115, 1.7, 1.018882], [1, 1.331115, 0, 0]], atol=1e-5)


def test_masked_ignores_positions_with_one_row_left():
    logps = logs([[0.9, 0.1], [0.7, 0.3], [0.9, 0.1], [0.6, 0.4]], [[0.9, 0.1], [0.3, 0.7], PAD, PAD])
    weights = token_weights(logps, torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]), mode="masked")
    np.testing.assert_allclose(weights, [[1, 1.7, 1, 1], [1, 1.7, 0, 0]], atol=1e-5)


def test_a_padded_column_moves_the_minimum_only_in_official_mode():
    logps = logs([[0.8, 0.2], [0.7, 0.3], PAD], [[0.7, 0.3], [0.3, 0.7], PAD])
    mask = torch.tensor([[1, 1, 0], [1, 1, 0]])
    np.testing.assert_allclose(token_weights(logps, mask, mode="official")[0], [1.0878, 1.7, 0], atol=1e-4)
    np.testing.assert_allclose(token_weights(logps, mask, mode="masked")[0], [1, 1.7, 0], atol=1e-4)


@pytest.mark.parametrize("mode", ["official", "masked", "jsd"])
def test_identical_rows_weigh_one(mode):
    row = [[0.9, 0.1], [0.5, 0.5]]
    assert token_weights(logs(row, row, row), torch.ones(3, 2), mode=mode).tolist() == [[1, 1]] * 3


def test_jsd_of_disjoint_rows_is_its_maximum():
    # Eight rows, all mass on eight different tokens: JSD = ln 8, over ln(alive) = 1, so the weight is alpha.
    logps = torch.full((8, 1, 8), -math.inf, dtype=torch.float64)
    logps[torch.arange(8), 0, torch.arange(8)] = 0.0
    np.testing.assert_allclose(token_weights(logps, torch.ones(8, 1), alpha=1.7), 1.7, atol=1e-12)


def test_entropy_of_the_uniform_distribution_is_its_maximum():
    logps = torch.full((2, 3, 16), -math.log(16.0), dtype=torch.float64)
    np.testing.assert_allclose(token_weights(logps, torch.ones(2, 3), alpha=1.5, mode="entropy"), 1.5, atol=1e-12)


def numpy_divergence(logps, alive, mode):
    """One position at a time, as the definitions are written."""
    rows = [row for row, a in zip(logps, alive, strict=True) if a]
    if mode == "official":
        rows = [row if a else np.full_like(row, -np.log(row.size)) for row, a in zip(logps, alive, strict=True)]
    if not rows:
        return 0.0
    if mode in ("official", "masked"):
        mean = np.mean(rows, 0)
        return float(np.mean([np.sum(np.exp(np.clip(mean - r, -11, 11)) - np.clip(mean - r, -11, 11) - 1) for r in rows]))
    if mode == "entropy":
        return float(np.mean([-np.sum(np.exp(r) * r) for r in rows]))
    mixture = np.mean(np.exp(rows), 0)
    return float(np.mean([np.sum(np.exp(r) * (r - np.log(mixture))) for r in rows]))


def numpy_weights(logps, mask, alpha, mode):
    alive = mask.astype(bool)
    d = np.array([numpy_divergence(logps[:, t], alive[:, t], mode) for t in range(logps.shape[1])])
    count = alive.sum(0)
    valid = np.ones_like(count, bool) if mode == "official" else count >= 2
    if mode == "jsd":
        share = np.where(valid, d / np.log(np.maximum(count, 2)), 0)
    elif mode == "entropy":
        share = np.where(count >= 1, d / np.log(logps.shape[-1]), 0)
    elif valid.any():
        share = np.where(valid, (d - d[valid].min()) / (d[valid].max() - d[valid].min() + 1e-8), 0)
    else:
        share = np.zeros_like(d)
    return (1 + (alpha - 1) * share) * mask


def ragged(seed, G=5, T=9, V=37, D=6, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    hidden, head = torch.randn(G, T, D, generator=g, dtype=dtype), torch.randn(V, D, generator=g, dtype=dtype)
    lengths = torch.randint(0, T + 1, (G,), generator=g)
    return hidden, head, (torch.arange(T) < lengths[:, None]).to(dtype)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), mode=st.sampled_from(MODES), alpha=st.floats(1.0, 3.0))
def test_properties(seed, mode, alpha):
    hidden, head, mask = ragged(seed)
    logps = torch.log_softmax(hidden @ head.T, -1)
    weights = token_weights(logps, mask, alpha, mode)
    np.testing.assert_allclose(weights, numpy_weights(logps.numpy(), mask.numpy(), alpha, mode), rtol=1e-9, atol=1e-12)
    assert torch.isfinite(weights).all()
    assert (weights[mask == 0] == 0).all()
    assert ((weights[mask == 1] >= 1) & (weights[mask == 1] <= alpha + 1e-12)).all()
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(token_weights(logps[order], mask[order], alpha, mode), weights[order])
    streamed = streaming_token_weights(hidden, head, mask, alpha, mode, vocab_chunk=7, position_chunk=2)
    torch.testing.assert_close(streamed, weights, rtol=1e-9, atol=1e-12)
    narrow = streaming_token_weights(hidden.float(), head.float(), mask, alpha, mode, vocab_chunk=10, position_chunk=4)
    torch.testing.assert_close(narrow, token_weights(torch.log_softmax(hidden.float() @ head.float().T, -1), mask, alpha, mode), rtol=1e-5, atol=1e-6)


def test_streaming_takes_the_normalizer_that_the_loss_already_has():
    hidden, head, mask = ragged(3)
    logits = hidden @ head.T
    given_norm = streaming_token_weights(hidden, head, mask, vocab_chunk=5, log_normalizer=torch.logsumexp(logits, -1))
    torch.testing.assert_close(given_norm, streaming_token_weights(hidden, head, mask, vocab_chunk=50))


def test_alpha_one_weighs_all_tokens_the_same():
    hidden, head, mask = ragged(1)
    for mode in MODES:
        assert torch.equal(streaming_token_weights(hidden, head, mask, 1.0, mode), mask)


def test_renorm_has_mean_one_over_active_tokens():
    hidden, head, mask = ragged(2)
    weights = token_weights(torch.log_softmax(hidden @ head.T, -1), mask, renorm=True)
    assert (weights.sum() / mask.sum()).item() == pytest.approx(1.0)


def test_gradient_passes_only_when_asked():
    hidden, head, mask = ragged(4)
    for detach, flows in ((True, False), (False, True)):
        leaf = (hidden @ head.T).requires_grad_()
        assert token_weights(torch.log_softmax(leaf, -1), mask, detach=detach).requires_grad is flows


def test_length_simulation_of_the_reference():
    """Official mode gives the weight to ragged tails: mean weight close to 1 while all rows are alive, far above it after."""
    g = torch.Generator().manual_seed(0)
    logps = torch.log_softmax(3 * torch.randn(8, 24, 5000, generator=g), -1)
    mask = (torch.arange(24) < torch.tensor([24, 20, 18, 16, 14, 12, 10, 8])[:, None]).float()
    all_alive = mask.all(0)
    official, jsd = (token_weights(logps, mask, mode=m) for m in ("official", "jsd"))

    def mean_over(weights, columns):
        return (weights[:, columns].sum() / mask[:, columns].sum()).item()

    assert mean_over(official, all_alive) < 1.05 < 1.2 < mean_over(official, ~all_alive)
    assert mean_over(jsd, all_alive) > mean_over(jsd, ~all_alive) - 0.2


def test_errors_name_the_mode_and_the_shapes():
    with pytest.raises(ValueError, match="'kl' is not one of official"):
        token_weights(torch.zeros(1, 1, 2), torch.ones(1, 1), mode="kl")
    with pytest.raises(ValueError, match=r"mask \(1, 2\)"):
        token_weights(torch.zeros(1, 1, 2), torch.ones(1, 2))


def test_two_groups_of_a_batch_are_independent():
    """A rule sees one group; the stage cuts a batch into groups (`Weighting`)."""
    (h1, head, m1), (h2, _, m2) = ragged(5), ragged(6)
    norms = torch.logsumexp(torch.cat([h1, h2]) @ head.T, -1)
    for mode in MODES:
        both = Weighting(RULES[mode])(torch.cat([h1, h2]), head, torch.cat([m1, m2]), norms, 5, 1.0)
        torch.testing.assert_close(both[:5], streaming_token_weights(h1, head, m1, mode=mode))
        torch.testing.assert_close(both[5:], streaming_token_weights(h2, head, m2, mode=mode))


def gradient_of_loss(lengths, detach, mode="official", beta=0.0, seed=1):
    """d loss / d logits of a group on-policy, with advantages that add up to 0."""
    g = torch.Generator().manual_seed(seed)
    leaf = (2 * torch.randn(4, 6, 9, generator=g, dtype=torch.float64)).requires_grad_()
    logps = torch.log_softmax(leaf, -1)
    mask = (torch.arange(6) < torch.tensor(lengths)[:, None]).double()
    weights = token_weights(logps, mask, mode=mode, detach=detach)
    chosen = logps[..., 0]
    advantages = torch.tensor([1.0, -0.5, -0.75, 0.25], dtype=torch.float64)
    loss, _ = policy_loss(chosen, None, advantages, mask, "tw_grpo", weights=weights, beta=beta, ref_logps=chosen.detach() - 0.3)
    return torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("mode", MODES)
def test_gradient_through_the_weights_cancels_without_padding_and_leaks_with_it(mode):
    full, tails = [6, 6, 6, 6], [6, 4, 3, 5]
    torch.testing.assert_close(gradient_of_loss(full, False, mode), gradient_of_loss(full, True, mode), rtol=1e-9, atol=1e-12)
    leak = [gradient_of_loss(tails, False, mode, seed=seed) - gradient_of_loss(tails, True, mode, seed=seed) for seed in range(4)]
    assert torch.stack(leak).abs().max() > 1e-4
    assert (gradient_of_loss(full, False, mode, beta=0.1) - gradient_of_loss(full, True, mode, beta=0.1)).abs().max() > 1e-6


@pytest.mark.parametrize("mode", MODES)
def test_bf16_and_float32_rank_positions_alike(mode):
    hidden, head, _ = ragged(7, G=6, T=12, V=200, D=16, dtype=torch.float32)
    mask = torch.ones(6, 12)
    exact = streaming_token_weights(hidden, head, mask, mode=mode)[0]
    rough = streaming_token_weights(hidden.bfloat16(), head.bfloat16(), mask, mode=mode)[0]
    assert rough.dtype == torch.float32
    ranks = [torch.argsort(torch.argsort(w)).float() for w in (exact, rough)]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.95


def test_a_rule_of_ones_own():
    """Weight by how unlikely the group's likeliest token is; a chunk's part must add up, so the rule sums probabilities squared."""

    def collision(logps, alive, vocab):
        p = torch.where(alive[..., None], logps, -math.inf).exp()
        return p.square().sum((0, 2)) / alive.sum(0).clamp(min=1)

    rule = Rule(collision, lambda divergence, alive, vocab: 1 - divergence)
    hidden, head, mask = ragged(8)
    dense = token_weights(torch.log_softmax(hidden @ head.T, -1), mask, mode=rule)
    torch.testing.assert_close(streaming_token_weights(hidden, head, mask, mode=rule, vocab_chunk=5), dense)
    assert ((dense >= 1) & (dense <= 1.7))[mask.bool()].all() and dense.max() > 1


def test_zero_length_completions_and_empty_groups_give_zeros():
    for mode in MODES:
        assert token_weights(torch.zeros(2, 3, 4), torch.zeros(2, 3), mode=mode).tolist() == [[0.0] * 3] * 2
        assert token_weights(torch.zeros(2, 0, 4), torch.zeros(2, 0), mode=mode).shape == (2, 0)
