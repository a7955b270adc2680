"""Images and sounds: what is decoded, at which rate, and every kind of file that must be refused with its name and the reason."""

import ast
import io
import os
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from models import media as module
from models.media import MediaError, MediaSpec, decode, resample

SPEC = MediaSpec()


def wav(path, wave, rate=16_000, **options):
    soundfile.write(path, wave, rate, **options)
    return path


def noise(count, seed=0):
    return np.round(np.random.default_rng(seed).uniform(-0.5, 0.5, count) * 2**15).astype(np.float32) / 2**15


def refused(path, kind, match, spec=SPEC, **part):
    with pytest.raises(MediaError, match=match) as caught:
        decode(path, kind, spec, **part)
    assert str(path) in str(caught.value)


# --- images


def test_png_is_decoded_to_the_same_pixels(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    media = decode(tmp_path / "a.png", "image", SPEC)
    assert (media.kind, media.rate, media.times) == ("image", None, None)
    np.testing.assert_array_equal(media.array, array)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),  # transparent red is white
        ("RGBA", (255, 0, 0, 51), (255, 204, 204)),  # a fifth of red on white: 255 - 51
        ("LA", (0, 255), (0, 0, 0)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("P", 0, (0, 0, 0)),
        ("I;16", 0x8001, (128, 128, 128)),  # high byte of 16 bits, not clipped to white
    ],
)
def test_every_mode_becomes_rgb(tmp_path, mode, color, expected):
    Image.new(mode, (2, 2), color).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", "image", SPEC).array[0, 0].tolist() == list(expected)


def test_exif_orientation_is_applied(tmp_path):
    """Orientation 6: the stored picture must be turned 90 degrees clockwise, so its top row becomes the right column."""
    array = np.zeros((16, 32, 3), np.uint8)
    array[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(array).save(tmp_path / "a.jpg", exif=exif, quality=100)
    upright = decode(tmp_path / "a.jpg", "image", SPEC).array
    assert upright.shape == (32, 16, 3)
    assert upright[:, 12].mean() > 250 and upright[:, 3].mean() < 5


def huge_png(path, side=50_000):
    """A png of which only the header is there: 50,000 x 50,000 pixels, 7.5 GB once decoded."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side", [8_000, 10_000, 50_000])  # the middle one is where Pillow warns, the last where it refuses by itself
def test_too_many_pixels_are_refused_before_allocation(tmp_path, side):
    path = huge_png(tmp_path / "a.png", side)
    decode_error = "more.*than the limit of 50,000,000"
    tracemalloc.start()
    refused(path, "image", decode_error)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_the_pixel_limit_is_the_recipe_s(tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "image", "10 x 10 pixels", MediaSpec(max_pixels=99))
    assert decode(tmp_path / "a.png", "image", MediaSpec(max_pixels=100)).array.shape == (10, 10, 3)


def test_damaged_images_raise_media_errors_only(tmp_path):
    """Cut at every tenth of their length, and with bytes flipped: decoded or refused by name, never another exception."""
    rng, refusals = np.random.default_rng(0), 0
    picture = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    for suffix in ("png", "jpg", "gif", "webp", "bmp", "tiff"):
        whole = io.BytesIO()
        picture.save(whole, {"jpg": "jpeg"}.get(suffix, suffix))
        data, path = whole.getvalue(), tmp_path / f"a.{suffix}"
        damaged = [data[: len(data) * k // 10] for k in range(1, 10)]
        for _ in range(60):
            flipped = bytearray(data)
            for place in rng.integers(0, min(len(data), 200), 3):
                flipped[place] = rng.integers(256)
            damaged.append(bytes(flipped))
        for i, content in enumerate(damaged):
            path.write_bytes(content)
            try:
                assert decode(path, "image", SPEC).array.dtype == np.uint8
            except MediaError as error:
                assert str(path) in str(error)
                refusals += 1
            else:
                assert i >= 9 or suffix == "gif", f"{suffix} cut at {i + 1} tenths was taken for whole"
    assert refusals > 60


# --- sounds


def test_wav_is_decoded_to_the_same_samples(tmp_path):
    wave = noise(3200)
    media = decode(wav(tmp_path / "a.wav", wave, subtype="PCM_16"), "audio", SPEC)
    assert (media.kind, media.rate, media.array.dtype) == ("audio", 16_000.0, np.float32)
    np.testing.assert_array_equal(media.array, wave)


def test_channels_are_averaged(tmp_path):
    left, right = noise(800, 1), noise(800, 2)
    path = wav(tmp_path / "a.wav", np.stack([left, right], 1), subtype="FLOAT")
    np.testing.assert_allclose(decode(path, "audio", SPEC).array, (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_the_tone(tmp_path, rate):
    """A 1 kHz sine stays one: beside the edges it equals the sine at the new rate."""
    path = wav(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate), rate, subtype="FLOAT")
    out = decode(path, "audio", SPEC).array
    assert len(out) == 16_000
    wanted = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    assert np.abs(out - wanted)[200:-200].max() < 5e-3


def test_rates_without_a_common_divisor_take_no_gigabytes(tmp_path):
    """44,101 to 16,000 exactly is a filter bank of 16,000 x 44,101 and more; the nearest small ratio is heard as the same."""
    count = 44_101
    out = resample((0.5 * np.sin(2 * np.pi * 1000 * np.arange(count) / count)).astype(np.float32), count, 16_000)
    assert abs(len(out) - 16_000) <= 1
    wanted = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(len(out)) / 16_000)
    assert np.abs(out - wanted)[200:-200].max() < 5e-3


def test_same_rate_is_not_touched():
    wave = noise(100)
    assert resample(wave, 16_000, 16_000) is wave


def test_parts_and_the_longest_part(tmp_path):
    wave = noise(16_000)
    path = wav(tmp_path / "a.wav", wave, subtype="PCM_16")
    np.testing.assert_array_equal(decode(path, "audio", SPEC, 0.25, 0.5).array, wave[4000:8000])
    np.testing.assert_array_equal(decode(path, "audio", SPEC, 0.75).array, wave[12_000:])
    np.testing.assert_array_equal(decode(path, "audio", MediaSpec(max_seconds=0.125), 0.5).array, wave[8000:10_000])
    assert decode(path, "audio", SPEC, 0.5, 99.0).array.size == 8000  # to the end


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.5, 0.25), (-1.0, None), (float("nan"), None), (None, 0.0)])
def test_empty_parts(tmp_path, start, end):
    refused(wav(tmp_path / "a.wav", noise(16_000)), "audio", "is empty", start_s=start, end_s=end)


def test_a_part_behind_the_end(tmp_path):
    refused(wav(tmp_path / "a.wav", noise(16_000)), "audio", "0 audio samples", start_s=2.0)


def test_pictures_have_no_parts(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "image", "only a sound or a video has a part", start_s=0.0, end_s=1.0)


@pytest.mark.parametrize("samples", [0, 1])
def test_a_sound_of_one_sample(tmp_path, samples):
    refused(wav(tmp_path / "a.wav", noise(samples)), "audio", f"{samples} audio samples")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers(tmp_path, value):
    wave = noise(100)
    wave[50] = value
    refused(wav(tmp_path / "a.wav", wave, subtype="FLOAT"), "audio", "not finite")


def write_container(path, codec, rate=16_000, seconds=1.0):
    """A 500 Hz tone of amplitude 0.4 in a container that libsndfile cannot read."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        wave = 0.4 * np.sin(2 * np.pi * 500 * np.arange(round(rate * seconds)) / rate)
        frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = rate
        for piece in [frame, None]:
            for packet in stream.encode(piece):
                container.mux(packet)
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.mkv", "pcm_s16le"), ("b.mkv", "pcm_u8"), ("a.mp4", "aac")])
def test_sound_inside_containers(tmp_path, name, codec):
    """Any sample format comes out in [-1, 1] around zero: the tone's mean and its RMS 0.4 / sqrt(2)."""
    out = decode(write_container(tmp_path / name, codec), "audio", SPEC).array
    assert abs(len(out) - 16_000) < 2200  # AAC pads to whole frames
    middle = out[2000:14_000]
    assert abs(middle.mean()) < 5e-3
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.4 / np.sqrt(2), rel=0.03)


def test_parts_of_sound_inside_containers(tmp_path):
    path = write_container(tmp_path / "a.mkv", "pcm_s16le")
    whole = decode(path, "audio", SPEC).array
    np.testing.assert_array_equal(decode(path, "audio", SPEC, 0.25, 0.75).array, whole[4000:12_000])


def test_wrong_extensions_are_seen_through(tmp_path):
    """The content decides, not the name: `.raw` is a name that libsndfile takes for headerless samples."""
    wave = noise(1600)
    for name in ("a.mp3", "a.raw", "a.png", "a"):
        wav(tmp_path / "a.wav", wave, subtype="PCM_16").rename(tmp_path / name)
        np.testing.assert_array_equal(decode(tmp_path / name, "audio", SPEC).array, wave)
    Image.new("RGB", (3, 2)).save(tmp_path / "b.png")
    os.rename(tmp_path / "b.png", tmp_path / "b.wav")
    assert decode(tmp_path / "b.wav", "image", SPEC).array.shape == (2, 3, 3)


def test_mislabelled_kinds_are_refused(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "audio", "no audio stream")
    refused(wav(tmp_path / "a.wav", noise(100)), "image", "not a readable image")
    (tmp_path / "a.txt").write_text("no medium at all " * 50)
    for kind in ("audio", "image", "video"):
        refused(tmp_path / "a.txt", kind, "not a readable")
    refused(tmp_path / "a.txt", "smell", "unknown kind of medium 'smell'")


def test_files_that_are_not_there_empty_too_large_or_no_files(tmp_path):
    (tmp_path / "empty").touch()
    path = wav(tmp_path / "a.wav", noise(100))
    os.mkfifo(tmp_path / "pipe")  # reading one would wait for ever
    for kind in ("audio", "image", "video"):
        refused(tmp_path / "none", kind, "no such file")
        refused(tmp_path / "empty", kind, "the file is empty")
        refused(path, kind, "more than the limit of 99", MediaSpec(max_bytes=99))
        refused(tmp_path / "pipe", kind, "not a regular file")
        refused(tmp_path, kind, "not a regular file")


@pytest.mark.parametrize(("suffix", "message"), [("wav", "truncated"), ("flac", "truncated|not a readable")])
def test_truncated_sounds(tmp_path, suffix, message):
    data = wav(tmp_path / f"a.{suffix}", noise(16_000)).read_bytes()
    for share in (0.3, 0.6, 0.95):
        (tmp_path / f"b.{suffix}").write_bytes(data[: int(len(data) * share)])
        refused(tmp_path / f"b.{suffix}", "audio", message)


def test_a_wav_of_unknown_length_is_read(tmp_path):
    """What a program writes that streams into a pipe: sizes are 0xFFFFFFFF."""
    data = bytearray(wav(tmp_path / "a.wav", noise(1600), subtype="PCM_16").read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(data)
    assert decode(tmp_path / "a.wav", "audio", SPEC).array.size == 1600


def test_damaged_sounds_raise_media_errors_only(tmp_path):
    rng = np.random.default_rng(1)
    for suffix in ("wav", "flac", "ogg"):
        data = wav(tmp_path / f"a.{suffix}", noise(4000)).read_bytes()
        for _ in range(40):
            flipped = bytearray(data)
            for place in rng.integers(0, 120, 4):
                flipped[place] = rng.integers(256)
            (tmp_path / f"b.{suffix}").write_bytes(flipped)
            try:
                media = decode(tmp_path / f"b.{suffix}", "audio", SPEC)
            except MediaError as error:
                assert f"b.{suffix}" in str(error)
            else:
                assert media.array.size <= 16_000 * 30 + 1 and np.isfinite(media.array).all()


def test_impossible_sampling_rates(tmp_path):
    """A header's rate sets how much is read and how it is resampled: one of 2 GHz is refused."""
    data = bytearray(wav(tmp_path / "a.wav", noise(1600), subtype="PCM_16").read_bytes())
    data[24:28] = (2_000_000_000).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    refused(tmp_path / "a.wav", "audio", "2000000000 Hz")


# --- the file as it travels


def required_packages(path: Path) -> set[str]:
    """What transformers' check of remote code wants installed: absolute imports anywhere outside `try`."""
    found: set[str] = set()

    def visit(node):
        if isinstance(node, ast.Try):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found - set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", ["media.py", "media_video.py"])
def test_optional_packages_are_not_required_to_load_a_release(name):
    from transformers.dynamic_module_utils import get_imports

    path = Path(module.__file__).parent / name
    assert required_packages(path) <= {"numpy", "torch"}
    assert set(get_imports(path)) - set(sys.stdlib_module_names) <= {"numpy", "torch"}


@pytest.mark.parametrize(("package", "kind"), [("PIL", "image"), ("soundfile", "audio"), ("av", "video")])
def test_a_missing_package_is_named_with_the_remedy(tmp_path, monkeypatch, package, kind):
    (tmp_path / "a").write_text("anything")
    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install") as caught:
        decode(tmp_path / "a", kind, SPEC)
    assert module.PACKAGES[package] in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("num_frames", 0), ("num_frames", None), ("fps", 0.0), ("sample_rate", -1), ("max_seconds", float("nan")), ("frame_size", 0), ("max_wall_s", 0)],
)
def test_settings_that_leave_nothing_to_decode_are_refused_by_name(setting, value):
    with pytest.raises(ValueError, match=f"media setting {setting} is {value}"):
        MediaSpec(**{setting: value})
