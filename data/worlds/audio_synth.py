"""Sounds for the audio world: ten timbres that differ in envelope and spectrum, and plain notes. Arrays are float32 on a 16-bit grid, so that a
16-bit wav file holds exactly the same numbers."""

import functools

import numpy as np

RATE = 16_000
TIMBRES = ("bell", "drum", "siren", "click", "buzz", "whistle", "horn", "noise", "bird", "pluck")
NOTES = {"c": 523.25, "d": 587.33, "e": 659.26, "f": 698.46, "g": 783.99, "a": 880.0, "b": 987.77, "high": 1046.5}
LOUDNESS = {"loud": 0.6, "soft": 0.12}


def quantise(wave: np.ndarray) -> np.ndarray:
    """Clip and round to the 16-bit grid."""
    return (np.round(np.clip(wave, -1.0, 1.0 - 2**-15) * 2**15) / 2**15).astype(np.float32)


@functools.cache
def event(timbre: str, high: bool, samples: int) -> np.ndarray:
    """One event [samples] with peak 1. `high` doubles its pitch."""
    t = np.arange(samples) / RATE
    octave = 2.0 if high else 1.0
    wave = _SHAPES[timbre](t, octave, samples / RATE)
    ramp = np.minimum(1.0, np.minimum(t, t[::-1]) / 0.005)  # no clicks at the ends
    wave = wave * ramp
    return (wave / np.abs(wave).max()).astype(np.float32)


@functools.cache
def note(name: str, samples: int) -> np.ndarray:
    """A plucked note of the scale [samples], peak 1."""
    t = np.arange(samples) / RATE
    f = NOTES[name]
    wave = sum(np.sin(2 * np.pi * f * k * t) / k for k in (1, 2, 3)) * np.exp(-4 * t) * np.minimum(1.0, np.minimum(t, t[::-1]) / 0.005)
    return (wave / np.abs(wave).max()).astype(np.float32)


def _noise(t: np.ndarray, seed: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(t.size)


def _bell(t, octave, _):
    return sum(np.sin(2 * np.pi * 620 * octave * k * t) * np.exp(-(5 + 4 * i) * t) for i, k in enumerate((1.0, 2.76, 5.4)))


def _drum(t, octave, _):
    return np.sin(2 * np.pi * (90 * octave + 120 * np.exp(-30 * t)) * t) * np.exp(-14 * t) + 0.3 * _noise(t, 1) * np.exp(-60 * t)


def _siren(t, octave, length):
    sweep = 500 * octave + 250 * octave * np.sin(2 * np.pi * 2 * t / length)
    return np.sin(2 * np.pi * np.cumsum(sweep) / RATE)


def _click(t, octave, _):
    return np.sign(np.sin(2 * np.pi * 12 * octave * t)) * (np.modf(12 * octave * t)[0] < 0.08) * np.sin(2 * np.pi * 3000 * t)


def _buzz(t, octave, _):
    return 2 * np.modf(110 * octave * t)[0] - 1


def _whistle(t, octave, _):
    return np.sin(2 * np.pi * 1500 * octave * t + 3 * np.sin(2 * np.pi * 7 * t))


def _horn(t, octave, _):
    return sum(np.sin(2 * np.pi * 220 * octave * k * t) / k for k in (1, 2, 3, 4, 5)) * np.minimum(1, t / 0.06)


def _hiss(t, octave, _):
    return np.diff(_noise(t, 2), prepend=0) if octave > 1 else np.convolve(_noise(t, 3), np.ones(8) / 8, "same")


def _bird(t, octave, length):
    chirps = 4
    phase = np.modf(t * chirps / length)[0]
    return np.sin(2 * np.pi * np.cumsum(1800 * octave + 1200 * octave * phase) / RATE) * (phase < 0.7)


def _pluck(t, octave, _):
    return sum(np.sin(2 * np.pi * 330 * octave * k * t) / k**1.5 for k in (1, 2, 3, 4)) * np.exp(-9 * t)


_SHAPES = {
    "bell": _bell, "drum": _drum, "siren": _siren, "click": _click, "buzz": _buzz, "whistle": _whistle, "horn": _horn, "noise": _hiss, "bird": _bird,
    "pluck": _pluck,
}  # fmt: skip
