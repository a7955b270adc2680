"""Ten timbres that differ, in two pitches an octave apart, and notes of a scale."""

from itertools import combinations

import numpy as np
import pytest

from data.worlds.audio_synth import LOUDNESS, NOTES, RATE, TIMBRES, event, note, quantise


def spectrum(wave):
    """A unit vector: the magnitude spectrum in 64 bands."""
    bands = np.array([band.mean() for band in np.array_split(np.abs(np.fft.rfft(wave)), 64)])
    return bands / np.linalg.norm(bands)


@pytest.mark.parametrize("timbre", TIMBRES)
@pytest.mark.parametrize("high", [False, True])
def test_an_event_has_peak_one_its_length_and_silent_ends(timbre, high):
    wave = event(timbre, high, 4800)
    assert wave.shape == (4800,) and wave.dtype == np.float32
    assert np.abs(wave).max() == pytest.approx(1.0) and abs(wave[0]) < 0.05 and abs(wave[-1]) < 0.05
    assert np.isfinite(wave).all() and wave.std() > 0.01


def test_at_least_ten_timbres_that_differ_in_spectrum_or_envelope():
    def describe(timbre):
        wave = event(timbre, False, 4800)
        envelope = np.array([np.abs(part).mean() for part in np.array_split(wave, 24)])
        return np.concatenate([spectrum(wave), envelope / np.linalg.norm(envelope)])

    assert len(set(TIMBRES)) >= 10
    closest = max(describe(a) @ describe(b) / 2 for a, b in combinations(TIMBRES, 2))
    assert closest < 0.95


@pytest.mark.parametrize("timbre", sorted(set(TIMBRES) - {"drum", "click", "noise"}))
def test_high_moves_the_spectrum_up(timbre):
    """The centre of the spectrum rises by a fifth at least (percussion and noise keep their broad spectra, and change otherwise)."""

    def centre(wave):
        power = np.abs(np.fft.rfft(wave)) ** 2
        return (power * np.fft.rfftfreq(wave.size, 1 / RATE)).sum() / power.sum()

    assert centre(event(timbre, True, 4800)) > 1.2 * centre(event(timbre, False, 4800))
    assert np.abs(event(timbre, True, 4800) - event(timbre, False, 4800)).mean() > 0.02


def test_notes_are_a_scale():
    """Equal temperament: whole and half steps of C major, by the ratio of neighbours."""
    steps = [12 * np.log2(b / a) for a, b in zip(NOTES.values(), list(NOTES.values())[1:], strict=False)]
    np.testing.assert_allclose(steps, [2, 2, 1, 2, 2, 2, 1], atol=0.01)
    for name, frequency in NOTES.items():
        wave = note(name, 4000)
        found = np.abs(np.fft.rfft(wave * np.hanning(wave.size), 1 << 16)).argmax() * RATE / (1 << 16)
        assert abs(found - frequency) < 8


def test_quantise_by_hand():
    """Steps of 2^-15, clipped to [-1, 1 - 2^-15]; what is on the grid stays."""
    given = np.array([0.0, 0.4 / 2**15, 0.6 / 2**15, 2.0, -2.0])
    np.testing.assert_array_equal(quantise(given), np.array([0, 0, 1 / 2**15, 1 - 1 / 2**15, -1], np.float32))
    np.testing.assert_array_equal(quantise(quantise(given)), quantise(given))
    assert LOUDNESS["loud"] / LOUDNESS["soft"] == pytest.approx(5)
