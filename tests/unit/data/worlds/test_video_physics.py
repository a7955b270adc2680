"""The closed-form simulator against conservation laws, hand-computed collisions and small time steps."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.worlds.video_physics import CONTACT, Disc, bounce, clearance, contact_time, simulate
from tests.unit.data.worlds.small_steps import step_through


def scene(seed: int, count: int) -> list[Disc]:
    """Discs on a coarse grid, so that none overlap, with random velocities."""
    rng = np.random.default_rng(seed)
    places = [(0.15 + 0.35 * (i % 3), 0.15 + 0.35 * (i // 3)) for i in rng.permutation(9)[:count]]
    return [Disc(f"d{k}", x, y, *rng.uniform(-1, 1, 2).tolist()) for k, (x, y) in enumerate(places)]


def test_head_on_collision_by_hand():
    """Gap 0.5 - 0.23 = 0.27 closes at speed 1: contact after 0.27, dead centre; equal masses swap velocities."""
    a, b = Disc("a", 0.2, 0.5, 0.6, 0.0), Disc("b", 0.7, 0.5, -0.4, 0.0)
    time, offset = contact_time(a, b)
    assert time == pytest.approx(0.27) and offset == pytest.approx(0.0)
    motion = simulate([a, b], 1.0)
    assert [(c.pair, pytest.approx(c.time)) for c in motion.collisions] == [(("a", "b"), 0.27)]
    end = {d.name: d for d in motion.discs_at(1.0)}
    assert (end["a"].vx, end["b"].vx) == pytest.approx((-0.4, 0.6))
    assert end["a"].x == pytest.approx(0.2 + 0.6 * 0.27 - 0.4 * 0.73)


def test_glancing_collision_by_hand():
    """b rests at the origin's right, a passes with miss distance CONTACT/2: contact where dx = sqrt(3)/2 CONTACT, offset 0.5. The normal makes 30
    degrees with x, so a keeps v sin(30) across it: |v_a| = v/2, |v_b| = v sqrt(3)/2."""
    a, b = Disc("a", 0.0, 0.0, 1.0, 0.0), Disc("b", 0.6, CONTACT / 2, 0.0, 0.0)
    time, offset = contact_time(a, b)
    assert time == pytest.approx(0.6 - math.sqrt(3) / 2 * CONTACT) and offset == pytest.approx(0.5)
    moved = Disc("a", time, 0.0, 1.0, 0.0)
    after_a, after_b = bounce(moved, b)
    assert math.hypot(after_a.vx, after_a.vy) == pytest.approx(0.5)
    assert math.hypot(after_b.vx, after_b.vy) == pytest.approx(math.sqrt(3) / 2)


def test_no_contact_when_apart_or_wide():
    assert contact_time(Disc("a", 0, 0, -1, 0), Disc("b", 0.5, 0, 1, 0)) is None  # moving apart
    assert contact_time(Disc("a", 0, 0, 1, 0), Disc("b", 0.5, CONTACT, 0, 0)) is None  # grazes at best
    assert contact_time(Disc("a", 0, 0, 1, 0), Disc("b", 0.5, 0, 1, 0)) is None  # same velocity


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 5))
def test_energy_and_momentum_are_conserved(seed, count):
    motion = simulate(scene(seed, count), 1.6)
    if motion is None:
        return
    speeds = np.array([[(d.vx, d.vy) for d in stretch] for stretch in motion.stretches])  # [stretch, disc, 2]
    np.testing.assert_allclose(speeds.sum(1), np.broadcast_to(speeds[0].sum(0), (len(speeds), 2)), atol=1e-12)
    energy = (speeds**2).sum((1, 2))
    np.testing.assert_allclose(energy, energy[0], rtol=1e-12)
    assert all(a < b for a, b in zip(motion.starts, motion.starts[1:], strict=False))
    for c in motion.collisions:
        (ax, ay), (bx, by) = (motion.positions(c.time)[n] for n in c.pair)
        assert math.hypot(ax - bx, ay - by) == pytest.approx(CONTACT, abs=1e-9)


def test_no_disc_ever_enters_another():
    for seed in range(40):
        motion = simulate(scene(seed, 4), 1.0)
        for time in np.linspace(0, 1, 60):
            places = np.array(list(motion.positions(time).values()))
            gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)[np.triu_indices(4, 1)]
            assert gaps.min() > CONTACT - 1e-9


def test_agrees_with_small_steps():
    """Collisions in the same order at the same times, discs in the same places. A step of 2e-4 misses a contact by at most 4e-4 of the picture; each
    collision multiplies that by about distance / diameter, so 0.02 holds after three."""
    compared = 0
    for seed in range(60):
        discs = scene(seed, 3)
        motion = simulate(discs, 1.0)
        if not 1 <= len(motion.collisions) <= 3 or any(c.offset > 0.9 for c in motion.collisions) or clearance(motion, 1.0) < 0.02:
            continue
        places, hits = step_through([dataclasses.astuple(d) for d in discs], 1.0)
        assert [pair for _, pair in hits] == [c.pair for c in motion.collisions]
        np.testing.assert_allclose([time for time, _ in hits], [c.time for c in motion.collisions], atol=0.01)
        for name, place in motion.positions(1.0).items():
            assert place == pytest.approx(places[name], abs=0.02)
        compared += 1
    assert compared >= 8


def test_chaos_is_refused_and_clearance_measures_the_gap():
    row = [Disc("a", 0.1, 0.5, 1, 0), Disc("b", 0.1, 0.5 + CONTACT + 0.05, 1, 0)]
    assert clearance(simulate(row, 1.0), 1.0) == pytest.approx(0.05)
    cradle = [Disc(f"d{i}", 0.2 * i * 1.5, 0.5, 0.0, 0.0) for i in range(14)]
    cradle[0] = dataclasses.replace(cradle[0], vx=40.0)
    assert simulate(cradle, 1.0) is None
