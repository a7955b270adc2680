"""Media around the decoder: paths that stay inside, time that is bounded, files that come back as they were, and the ledger."""

import dataclasses
import json
import signal
import threading
import time

import numpy as np
import pytest

from configs.schema import MediaSettings
from data import media as module
from data.media import Quarantine, confine, decode_ref, time_limit, write_media
from data.record import MediaRef
from data.worlds import audio_synth
from models.media import Media, MediaError, MediaSpec, decode

SETTINGS = dataclasses.asdict(MediaSpec())


def test_a_recipe_can_set_every_limit():
    """The recipe's media settings are the decoder's, with the same defaults."""
    assert MediaSettings().model_dump() == SETTINGS


# --- paths


@pytest.mark.parametrize("path", ["a.wav", "sub/a.wav", "./a.wav", "sub/../a.wav", "none/yet.wav"])
def test_paths_inside(tmp_path, path):
    assert confine(path, tmp_path).is_relative_to(tmp_path.resolve())


@pytest.mark.parametrize("path", ["../a.wav", "sub/../../a.wav", "/etc/passwd", "a\0.wav", "link/a.wav", "loop/a.wav"])
def test_paths_that_lead_out_are_refused(tmp_path, path):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "outside").mkdir()
    (home / "link").symlink_to(tmp_path / "outside")
    (home / "loop").symlink_to(home / "loop")
    with pytest.raises(ValueError, match="media path"):
        confine(path, home)


def test_a_sibling_that_begins_alike_is_outside(tmp_path):
    """`/data/set-private` is not inside `/data/set`, though the text begins alike."""
    (tmp_path / "set").mkdir()
    with pytest.raises(ValueError, match="leads out"):
        confine("../set-private/a.wav", tmp_path / "set")


def test_an_absolute_path_inside_is_inside(tmp_path):
    assert confine(str(tmp_path / "a.wav"), tmp_path) == (tmp_path / "a.wav").resolve()


# --- references


def test_references_are_decoded_with_their_part(tmp_path):
    wave = (np.arange(16_000) % 200 / 400).astype(np.float32)
    written = write_media(tmp_path / "a", Media("audio", wave, 16_000.0))
    got = decode_ref(MediaRef("audio", written.name, 0.25, 0.5), SETTINGS, tmp_path)
    assert got.array.size == 4000
    assert decode_ref(MediaRef("audio", str(written)), SETTINGS).array.size == 16_000


@pytest.mark.parametrize("path", ["world://audio/1/abc", "../a.wav", "none.wav", "x" * 5000])
def test_bad_references_name_their_file(tmp_path, path):
    with pytest.raises(ValueError, match=r"world|leads out|no such file|too long") as caught:
        decode_ref(MediaRef("audio", path), SETTINGS, tmp_path)
    assert caught.value.file == path


# --- time


def test_a_slow_decoder_is_stopped(tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(b"x")
    monkeypatch.setattr(module, "decode", lambda *_: time.sleep(5))
    begun = time.monotonic()
    with pytest.raises(MediaError, match=r"a\.wav: decoding takes more than 0\.05 s"):
        decode_ref(MediaRef("audio", "a.wav"), SETTINGS | {"max_wall_s": 0.05}, tmp_path)
    assert time.monotonic() - begun < 2


def test_the_alarm_is_put_back():
    before = signal.getsignal(signal.SIGALRM)
    with time_limit(5.0, "x"):
        assert signal.getsignal(signal.SIGALRM) is not before
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_in_other_threads_there_is_no_limit():
    done = []

    def work():
        with time_limit(0.01, "x"):
            time.sleep(0.05)
        done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


# --- files


def test_sounds_come_back_bit_for_bit(tmp_path):
    """The whole 16-bit grid, both ends included."""
    wave = np.arange(-(2**15), 2**15, dtype=np.float32) / 2**15
    path = write_media(tmp_path / "a.b", Media("audio", wave, 16_000.0))
    assert path.name == "a.b.wav"
    np.testing.assert_array_equal(decode(path, "audio", MediaSpec()).array, wave)


def test_sounds_off_the_grid_are_rounded_and_clipped_to_it(tmp_path):
    wave = np.array([0.3, -0.7, 1.5, -1.5], np.float32)
    path = write_media(tmp_path / "a", Media("audio", wave, 16_000.0))
    np.testing.assert_array_equal(decode(path, "audio", MediaSpec()).array, audio_synth.quantise(wave))


def test_images_come_back_bit_for_bit(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(write_media(tmp_path / "a", Media("image", array)), "image", MediaSpec()).array, array)


@pytest.mark.parametrize("frames", [1, 5])
def test_videos_come_back_nearly_and_on_time(tmp_path, frames):
    rng = np.random.default_rng(0)
    array = np.zeros((frames, 16, 20, 3), np.uint8)
    for k in range(frames):
        array[k, 2 + k : 8 + k, 3:9] = rng.integers(0, 256, 3)
    media = Media("video", array, 5.0 if frames > 1 else None, np.arange(frames) / 5)
    path = write_media(tmp_path / "a", media)
    got = decode(path, "video", MediaSpec(frame_size=20, num_frames=frames))
    assert got.array.shape == array.shape
    np.testing.assert_allclose(got.times, media.times, atol=0.02)
    difference = np.abs(got.array.astype(int) - array)
    assert difference.mean() < 2 and np.quantile(difference, 0.99) < 25


# --- the ledger


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_ledger_names_item_file_and_reason(tmp_path):
    ledger = Quarantine(tmp_path / "run" / "q.jsonl", limit=5)
    ledger.add("a", "a.wav", "MediaError: empty", "Traceback …")
    assert lines(ledger.path) == [{"id": "a", "file": "a.wav", "reason": "MediaError: empty", "trace": "Traceback …"}]
    assert ledger.count == 1


def test_the_limit_ends_the_run(tmp_path):
    ledger = Quarantine(tmp_path / "q.jsonl", limit=2)
    ledger.add("a", "a.wav", "x", "")
    ledger.add("b", "b.wav", "x", "")
    with pytest.raises(ValueError, match=r"more than 2 bad items \(last: c: empty\).*quarantine_limit"):
        ledger.add("c", "c.wav", "empty", "")
    assert len(lines(ledger.path)) == 3


def test_one_bad_file_in_many_epochs_is_one_bad_item(tmp_path):
    ledger = Quarantine(tmp_path / "q.jsonl", limit=1)
    for _ in range(10):
        ledger.add("a", "a.wav", "x", "")
    assert (ledger.count, ledger.met, len(lines(ledger.path))) == (1, 10, 1)


def test_a_resumed_run_goes_on_with_its_ledger(tmp_path):
    """What was met before a crash and is met again counts once; a last line that the crash cut off is left alone."""
    path = tmp_path / "q.jsonl"
    Quarantine(path, limit=9).add("a", "a.wav", "x", "")
    with path.open("a") as out:
        out.write('{"id": "b", "fi')
    again = Quarantine(path, limit=2)
    assert again.count == 1
    again.add("a", "a.wav", "x", "")
    again.add("c", "c.wav", "x", "")
    assert again.count == 2
    assert json.loads(path.read_text().splitlines()[-1])["id"] == "c"
    assert Quarantine(path, limit=2).count == 2
