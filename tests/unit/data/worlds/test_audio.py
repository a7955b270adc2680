"""The audio world: what is asked can be heard by an independent listener, answers follow from what is heard, and nothing but the sound tells them."""

import copy
import json
from collections import Counter

import numpy as np
import pytest
from scipy.signal import correlate

from data import protocol
from data.record import LETTERS, Record, answer_text
from data.worlds import audio, audio_synth
from data.worlds.audio import ORDINALS, SLOT, AudioWorld
from data.worlds.base import split_of
from tests.unit.data.worlds.blind import by_options, by_template, by_text, guess

LEVELS = AudioWorld.levels
EVENTS = ("order", "neighbour", "count", "attribute", "compare")


@pytest.fixture(scope="module")
def every():
    """Four samples of every family at every level."""
    return {
        (family, level): [AudioWorld([family]).sample(level, ("every", i)) for i in range(4)]
        for family in AudioWorld.all_families
        for level in LEVELS
    }


@pytest.fixture
def unrendered(monkeypatch):
    monkeypatch.setattr(audio, "_sound", lambda *_: np.zeros(1, np.float32))


def heard(record):
    """What the facts say of each place in time: `bell low soft`, `bell and drum`, or a note."""
    facts = record.meta["facts"]
    return [facts[str(i + 1)] for i in range(record.meta["level"] + 1)]


# --- an independent listener


def listen(wave, count):
    """Timbre, pitch and loudness of each event: the synthesised event, of either pitch and any length, that correlates best with each slot."""
    lengths = range(4000, 5601, 400)
    kinds = {(t, high): [audio_synth.event(t, high, n) for n in lengths] for t in audio_synth.TIMBRES for high in (False, True)}
    slack = len(wave) - SLOT * count  # a lead of at most a tenth of a second, and another tenth behind
    found = []
    for i in range(count):
        part = wave[i * SLOT : (i + 1) * SLOT + slack]
        best = {kind: max(np.abs(correlate(part, e, "valid", "fft")).max() / np.linalg.norm(e) for e in shapes) for kind, shapes in kinds.items()}
        timbre, high = max(best, key=best.get)
        found.append((timbre, "high" if high else "low", "loud" if np.abs(part[slack // 2 : SLOT + slack // 2]).max() > 0.3 else "soft"))
    return found


@pytest.mark.parametrize("level", [1, 4])
def test_events_can_be_told_by_correlation(every, level):
    """Where neighbours are not louder: an event's slot overlaps its neighbours' by the lead, so what is compared is timbre and pitch of loud ones."""
    right = total = 0
    for sample in every["order", level]:
        facts = [tuple(words.split()) for words in heard(sample.record)]
        for told, fact in zip(listen(sample.media[0].array, level + 1), facts, strict=True):
            if fact[2] == "loud":
                right, total = right + (told[:2] == fact[:2]), total + 1
    assert total >= 3 and right == total, (right, total)


def test_loud_is_five_times_as_loud_as_soft(every):
    """Peaks by hand: 0.6 and 0.12, with a noise floor below 0.01."""
    for sample in every["compare", 1] + every["attribute", 1]:
        wave, events = sample.media[0].array, [w.split() for w in heard(sample.record)]
        assert abs(np.abs(wave).max() - (0.6 if any(e[2] == "loud" for e in events) else 0.12)) < 0.01


def test_notes_have_their_frequencies(every):
    """The strongest frequency of each note's piece, by FFT; tempo by the length of the clip."""
    for level in (1, 3, 6):
        for sample in every["melody", level]:
            record, wave = sample.record, sample.media[0].array
            fast = record.meta["facts"]["tempo"] == "fast"
            step = int((0.3 if fast else 0.45) * 16_000)
            lead = len(wave) - step * (level + 1) - 1600
            assert 0 <= lead < 1600
            for i, note in enumerate(heard(record)):
                piece = wave[lead + i * step : lead + i * step + int(step * 0.9)]
                spectrum = np.abs(np.fft.rfft(piece * np.hanning(piece.size), 1 << 16))
                assert abs(spectrum.argmax() * 16_000 / (1 << 16) - audio_synth.NOTES[note]) < 12


def test_sounds_lie_on_the_16_bit_grid(every):
    for samples in every.values():
        wave = samples[0].media[0].array * 2.0**15
        assert wave.dtype == np.float32 and np.array_equal(wave, np.round(wave)) and np.abs(wave).max() <= 2**15
        assert samples[0].media[0].rate == 16_000


# --- answers from what is heard


def answer_again(record):
    """The answer from the question's words and what is heard, written a second time."""
    text, events = record.question, [words.split() for words in heard(record)]
    timbres = [e[0] for e in events]
    words = text.rstrip("?").replace(",", "").split()
    if "right after" in text:
        return timbres[timbres.index(words[-1]) + 1]
    if "right before" in text:
        return timbres[timbres.index(words[-1]) - 1]
    if "How often" in text:
        return str(timbres.count(words[4]))
    if "together" in text:
        pair = next(e for e in events if "and" in e)
        return next(t for t in (pair[0], pair[2]) if t != words[-1])
    if "Which sound is the" in text:
        return timbres[ORDINALS.index(words[-1])]
    if "Which sound is" in text:
        return next(e[0] for e in events if e[1:] == [words[3], words[5]])
    if text.startswith("Which is"):
        one, other = (next(e for e in events if e[0] == name) for name in (words[4], words[7]))
        place, top = (2, "loud") if words[2] == "louder" else (1, "high")
        return "same" if one[place] == other[place] else (one if one[place] == top else other)[0]
    return answer_melody(record, text, words)


def answer_melody(record, text, words):
    notes, scale = heard(record), list(audio_synth.NOTES)
    if "fast or slow" in text:
        return record.meta["facts"]["tempo"]
    if "end higher" in text:
        return "higher" if scale.index(notes[-1]) > scale.index(notes[0]) else "lower"
    if "steps" in text:
        return str(abs(scale.index(notes[-1]) - scale.index(notes[0])))
    return notes[ORDINALS.index(words[3])]


def test_answers_follow_from_the_facts(every):
    for (family, _), samples in every.items():
        for record in [s.record for s in samples if family != "perceive"]:
            assert answer_text(record) == [answer_again(record)], record


def test_records_are_valid_and_carry_mmau_s_fields(every):
    for (family, level), samples in every.items():
        for sample in samples:
            record = Record.from_json(json.loads(json.dumps(sample.record.to_json())))
            assert record == sample.record
            assert (record.meta["family"], record.meta["level"], record.source) == (family, level, "world/audio")
            assert record.meta["task"] == ("music" if "tempo" in record.meta["facts"] else "sound")
            assert {"difficulty", "category", "sub-category"} <= set(record.meta)
            assert len(heard(record)) == level + 1  # one event or note more at each level
            assert all(record.meta["facts"][s.text.partition(":")[0]] == s.value for s in record.steps)
            assert record.steps[0].kind == "perception" and all(s.parents for s in record.steps if s.kind == "reasoning")


def test_gold_verifies_and_every_change_is_caught(every):
    world = AudioWorld()
    for samples in every.values():
        record = samples[0].record
        verdict = world.verify(record, protocol.completion(record))
        assert verdict.answer_ok and verdict.format_ok and verdict.process_accuracy == 1.0 and verdict.first_error is None
        for i, step in enumerate(record.steps):
            bad = copy.deepcopy(record)
            key, _, value = step.text.partition(": ")
            bad.steps[i].text = f"{key}: {value[:-1]}{'x' if value[-1] != 'x' else 'y'}"
            assert world.verify(record, protocol.completion(bad)).first_error == i
        bad = copy.deepcopy(record)
        bad.answer = [next(x for x in LETTERS if x not in record.answer)] if record.options else ["nothing"]
        assert not world.verify(record, protocol.completion(bad)).answer_ok


def test_one_place_is_asked_where_a_word_could_mean_two(every):
    """A sound that is asked for by name, or by its attributes, is there once."""
    for level in LEVELS:
        for family in ("order", "neighbour", "compare"):
            assert all(len({w.split()[0] for w in heard(s.record)}) == level + 1 for s in every[family, level])
        for sample in every["attribute", level]:
            asked = sample.record.question.rstrip("?").split()
            assert sum(w.split()[1:] == [asked[3], asked[5]] for w in heard(sample.record)) == 1


# --- seeds and splits


def test_same_arguments_same_bytes():
    for level in LEVELS:
        one, two = (AudioWorld().sample(level, (3, level), "dev") for _ in range(2))
        assert json.dumps(one.record.to_json()) == json.dumps(two.record.to_json())
        assert one.media[0].array.tobytes() == two.media[0].array.tobytes()
        assert one.record.id != AudioWorld().sample(level, (4, level), "dev").record.id


def test_splits_never_share_a_scene(unrendered):
    groups = {s: {AudioWorld().sample(1, (s, i), s).record.group for i in range(120)} for s in ("train", "dev", "test")}
    assert all(split_of(g) == s for s, members in groups.items() for g in members)
    assert not groups["train"] & groups["dev"] and not groups["train"] & groups["test"] and not groups["dev"] & groups["test"]


def test_unknown_family_and_level_are_named():
    with pytest.raises(ValueError, match="unknown family 'ordre'"):
        AudioWorld(["ordre"])
    with pytest.raises(ValueError, match="level 0 is not one of 1-6"):
        AudioWorld().sample(0, 0)


# --- balance


def test_a_reader_without_the_sound_is_at_chance(unrendered):
    """8,400 items, more than 4,000 of them choices: at most chance + 3 points on those, at most 0.20 on open answers."""
    world = AudioWorld()
    records = [world.sample(1 + i % 6, ("blind", i)).record for i in range(8_400)]
    assert {r.meta["family"] for r in records} == set(AudioWorld.all_families) - {"perceive"}
    choices, free = [r for r in records if r.options], [r for r in records if not r.options]
    assert len(choices) >= 4000
    chance = np.mean([1 / len(r.options) for r in choices])
    scores = {view.__name__: (guess(choices, view), guess(free, view)) for view in (by_template, by_options, by_text)}
    assert all(lettered <= chance + 0.03 and opened <= 0.20 for lettered, opened in scores.values()), (scores, chance)


def test_comparisons_end_all_three_ways_equally_often(unrendered):
    """The first that is named, the second, the same: 600 items, 200 +- 4 sigma each."""
    outcomes = Counter()
    for i in range(600):
        record = AudioWorld(["compare"]).sample(3, ("compare", i)).record
        named = record.question.rstrip("?").replace(",", "").split()
        outcomes[{named[4]: "first", named[7]: "second"}.get(answer_text(record)[0], "same")] += 1
    assert set(outcomes) == {"first", "second", "same"} and all(abs(n - 200) < 4 * np.sqrt(600 * 2 / 9) for n in outcomes.values()), outcomes
