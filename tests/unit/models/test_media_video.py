"""Videos: which frames are picked, that both backends give the same ones, and every kind of file that must be refused."""

import gc
import sys
import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from models import media_video
from models.media import MediaError, MediaSpec, decode
from models.media_video import frame_targets, nearest_frames

UNEVEN = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 2.0, 3.0, 3.1, 3.2, 5.0]  # seconds of the frames of a video of variable rate


def write_video(path, times=UNEVEN, codec="libx264", size=(32, 32), keys=250, start=0.0, options=None, clock=1000):
    """A video whose frame k is all grey level 20 k, shown from `times[k]` on."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=min(clock, 30))
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, clock)
        stream.codec_context.gop_size = keys
        for k, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 20 * k, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round((time + start) * clock), Fraction(1, clock)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers(media):
    """Which of `write_video`'s frames these are."""
    return [round(float(level) / 20) for level in media.array.reshape(len(media.array), -1).mean(1)]


@pytest.fixture
def no_decord(monkeypatch):
    monkeypatch.setattr(media_video, "_frames_by_decord", lambda *_: None)


@pytest.fixture(params=["decord", "av"])
def backend(request, monkeypatch):
    """Every test that takes it runs once with each; a `decord` that did nothing would be noticed by `used`."""
    if request.param == "av":
        monkeypatch.setattr(media_video, "_frames_by_decord", lambda *_: None)
    return request.param


def refused(path, match, spec=MediaSpec(), **part):
    with pytest.raises(MediaError, match=match) as caught:
        decode(path, "video", spec, **part)
    assert str(path) in str(caught.value)


def test_targets_are_evenly_spaced_from_the_first_moment_to_the_last():
    spec = MediaSpec(num_frames=5, max_seconds=4.0)
    assert frame_targets(2.0, spec, 0.0, None).tolist() == [0, 0.5, 1, 1.5, 2]
    assert frame_targets(9.0, spec, 1.0, None).tolist() == [1, 2, 3, 4, 5]  # four seconds of it
    assert frame_targets(9.0, spec, 1.0, 3.0).tolist() == [1, 1.5, 2, 2.5, 3]
    with pytest.raises(MediaError, match="outside"):
        frame_targets(2.0, spec, 2.5, None)


def test_targets_at_a_rate_never_exceed_the_count():
    spec = MediaSpec(num_frames=5, fps=2.0)
    assert frame_targets(1.6, spec, 0.0, None).tolist() == [0, 0.5, 1, 1.5]
    assert frame_targets(2.0, spec, 0.0, None).tolist() == [0, 0.5, 1, 1.5, 2]
    assert frame_targets(1.4999999, spec, 0.0, None).tolist() == [0, 0.5, 1, 1.5]  # a rounded timestamp
    assert frame_targets(4.0, spec, 0.0, None).tolist() == [0, 1, 2, 3, 4]  # nine would be too many: spread over all of it
    assert frame_targets(9.0, spec, 3.0, 4.2).tolist() == [3, 3.5, 4]
    assert frame_targets(0.0, spec, 0.0, None).tolist() == frame_targets(0.4, spec, 0.0, None).tolist() == [0]


def test_nearest_frames_by_hand():
    """0.6 lies between 0.5 (0.1 away) and 1.0; 2.5 as near to 2 as to 3: the earlier one. Each frame once unless repeats are asked for."""
    times = np.array([0, 0.5, 1.0, 2.0, 3.0])
    assert nearest_frames(times, np.array([0.0, 0.6, 2.5, 9.0]), False).tolist() == [0, 1, 3, 4]
    assert nearest_frames(times, np.array([0.0, 0.1, 0.2]), False).tolist() == [0]
    assert nearest_frames(times, np.array([0.0, 0.1, 0.2]), True).tolist() == [0, 0, 0]
    assert nearest_frames(np.array([0.0]), np.array([0.0, 0.0]), False).tolist() == [0]


def test_frames_by_timestamp_at_a_variable_rate(tmp_path, backend):
    """Six moments 0, 1 … 5 s. Picking by number (every second frame or so) would show mostly the first half second. At 4 s the nearest is 3.2 s
    (0.8 away; 5.0 is 1.0 away)."""
    media = decode(write_video(tmp_path / "a.mp4"), "video", MediaSpec(num_frames=6))
    assert numbers(media) == [0, 6, 7, 8, 10, 11]
    np.testing.assert_allclose(media.times, [0, 1, 2, 3, 3.2, 5], atol=1e-3)
    assert media.rate == pytest.approx(1.0)
    assert media.array.shape == (6, 32, 32, 3) and media.array.dtype == np.uint8


def test_frames_at_a_rate_from_a_constant_rate(tmp_path, backend):
    """Ten frames a second for 1.2 s: every fifth at 2 fps; with room for two alone, the first and the last."""
    path = write_video(tmp_path / "a.mp4", [k / 10 for k in range(12)])
    media = decode(path, "video", MediaSpec(num_frames=8, fps=2.0))
    assert numbers(media) == [0, 5, 10] and media.rate == pytest.approx(2.0)
    assert numbers(decode(path, "video", MediaSpec(num_frames=2, fps=2.0))) == [0, 11]
    assert numbers(decode(path, "video", MediaSpec(num_frames=12, fps=2.5), 0.4, 0.8)) == [4, 8]


def test_frames_at_a_rate_from_a_variable_rate(tmp_path, backend):
    """At 0, 0.5 … 5 s, by timestamp: between 1.0, 2.0 and 3.0 the earlier one, which comes once; 4 s lies nearest to 3.2 s, 4.5 s to 5.0 s."""
    path = write_video(tmp_path / "a.mp4")
    media = decode(path, "video", MediaSpec(num_frames=16, fps=2.0))
    assert numbers(media) == [0, 5, 6, 7, 8, 10, 11] and len(np.unique(media.times)) == 7
    again = decode(path, "video", MediaSpec(num_frames=16, fps=2.0, repeat_frames=True))
    assert numbers(again) == [0, 5, 6, 6, 7, 7, 8, 10, 10, 11, 11]
    assert numbers(decode(path, "video", MediaSpec(num_frames=6, fps=2.0))) == [0, 6, 7, 8, 10, 11]  # eleven would be too many


def test_no_frame_comes_twice_unless_asked(tmp_path, backend):
    path = write_video(tmp_path / "a.mp4", [0.0, 0.1, 0.2])
    assert numbers(decode(path, "video", MediaSpec(num_frames=10))) == [0, 1, 2]
    again = decode(path, "video", MediaSpec(num_frames=10, repeat_frames=True))
    assert len(again.array) == 10 and sorted(set(numbers(again))) == [0, 1, 2]


def test_a_video_of_one_frame(tmp_path, backend):
    media = decode(write_video(tmp_path / "a.mp4", [0.0]), "video", MediaSpec())
    assert media.array.shape == (1, 32, 32, 3)
    assert media.rate is None and media.times.tolist() == [0.0]


def test_times_count_from_the_first_frame(tmp_path, backend):
    """A clip cut out of a longer video keeps its old clock: it starts at 7.5 s."""
    media = decode(write_video(tmp_path / "a.mkv", start=7.5), "video", MediaSpec(num_frames=6))
    assert numbers(media) == [0, 6, 7, 8, 10, 11]
    assert media.times[0] == 0.0


def test_parts_of_a_video(tmp_path, backend):
    path = write_video(tmp_path / "a.mp4")
    assert numbers(decode(path, "video", MediaSpec(num_frames=3), 2.0, 3.2)) == [7, 8, 10]  # 2.0, 2.6 (nearest 3.0), 3.2
    assert numbers(decode(path, "video", MediaSpec(num_frames=2, max_seconds=1.0), 1.0)) == [6, 7]
    refused(path, "outside a video of 5.00 s", start_s=6.0)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "libx264"), ("a.mp4", "mpeg4"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4"), ("a.avi", "mjpeg")]
)
def test_both_backends_agree_in_many_formats(tmp_path, monkeypatch, name, codec):
    path = write_video(tmp_path / name, [k / 10 for k in range(12)], codec, keys=5, clock=10 if name.endswith("avi") else 1000)
    first = decode(path, "video", MediaSpec(num_frames=4))
    monkeypatch.setattr(media_video, "_frames_by_decord", lambda *_: None)
    second = decode(path, "video", MediaSpec(num_frames=4))
    assert numbers(first) == numbers(second) == [0, 4, 7, 11]
    np.testing.assert_array_equal(first.times, second.times)
    assert np.abs(first.array.astype(int) - second.array).max() <= 3  # two builds of the colour conversion


def test_frames_behind_key_frames_are_found_by_seeking(tmp_path, no_decord, monkeypatch):
    """With key frames every 10 frames, four picks out of 100 decode a few groups, not everything up to the last."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt, stream.codec_context.gop_size, stream.options = "yuv420p", 10, {"sc_threshold": "0"}
        for k in range(100):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 2 * k, np.uint8), format="rgb24")))
        container.mux(stream.encode())
    decoded = []
    opened = media_video.open_container

    class Counting:
        """A container that notes every frame it decodes."""

        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.container.close()

        def decode(self, stream):
            for frame in self.container.decode(stream):
                decoded.append(frame.pts)
                yield frame

    monkeypatch.setattr(media_video, "open_container", lambda *arguments: Counting(opened(*arguments)))
    media = decode(path, "video", MediaSpec(num_frames=4))
    np.testing.assert_allclose(media.array.reshape(4, -1).mean(1) / 2, [0, 33, 66, 99], atol=1.5)
    np.testing.assert_allclose(media.times, [0, 3.3, 6.6, 9.9], atol=1e-6)
    assert len(decoded) <= 4 * 10


def test_raw_streams_without_timestamps_are_counted(tmp_path):
    path = write_video(tmp_path / "a.h264", [k / 30 for k in range(7)])
    assert numbers(decode(path, "video", MediaSpec(num_frames=3))) == [0, 3, 6]


def test_telephone_videos_are_turned_upright(tmp_path, backend):
    """The display matrix in the header is made a turn by 90 degrees clockwise (a b c d = 0 1 -1 0); the left column must become the top row."""
    path = tmp_path / "a.mp4"
    array = np.zeros((32, 64, 3), np.uint8)
    array[:, :32] = 240
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode())
    one, zero, unit = (b"\0\1\0\0", b"\0\0\0\0", b"\x40\0\0\0")
    plain = one + zero + zero + zero + one + zero + zero + zero + unit
    turned = zero + one + zero + b"\xff\xff\0\0" + zero + zero + zero + zero + unit
    data = path.read_bytes()
    track = data.index(b"tkhd")
    path.write_bytes(data[:track] + data[track:].replace(plain, turned, 1))
    frame = decode(path, "video", MediaSpec(num_frames=1)).array[0]
    assert frame.shape == (64, 32, 3)
    assert frame[:28].mean() > 220 and frame[36:].mean() < 20


def test_frame_size_caps_the_longer_side(tmp_path, backend):
    media = decode(write_video(tmp_path / "a.mp4", [0, 0.1], size=(64, 32)), "video", MediaSpec(frame_size=16))
    assert media.array.shape == (2, 8, 16, 3)


# --- the two backends


def test_decord_is_asked_first_and_its_reader_dropped(tmp_path, monkeypatch):
    import decord

    readers = []

    class Reader(decord.VideoReader):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            assert kwargs == {"num_threads": 1}
            readers.append(weakref.ref(self))

    monkeypatch.setattr(decord, "VideoReader", Reader)
    monkeypatch.setattr(media_video, "_frames_by_av", lambda *_: pytest.fail("decord can read this"))
    assert numbers(decode(write_video(tmp_path / "a.mp4"), "video", MediaSpec(num_frames=2))) == [0, 11]
    gc.collect()
    assert [reader() for reader in readers] == [None]


@pytest.mark.parametrize("kind", ["DECORDError", "RuntimeError", "other timestamps", "no decord"])
def test_pyav_takes_over(tmp_path, monkeypatch, kind):
    """What decord cannot open (it raises two kinds of errors), and what it indexes in another way (edit lists)."""
    import decord

    def reader(*args, **kwargs):
        raise {"DECORDError": decord.DECORDError, "RuntimeError": RuntimeError}[kind]("cannot")

    class Other:
        def __len__(self):
            return len(UNEVEN)

        def get_frame_timestamp(self, which):
            return np.stack([np.array(which) / 30.0] * 2, 1)

        def get_batch(self, which):
            pytest.fail("frames of other moments would be taken")

    if kind == "no decord":
        monkeypatch.setitem(sys.modules, "decord", None)
    else:
        monkeypatch.setattr(decord, "VideoReader", (lambda *a, **k: Other()) if kind == "other timestamps" else reader)
    assert numbers(decode(write_video(tmp_path / "a.mp4"), "video", MediaSpec(num_frames=6))) == [0, 6, 7, 8, 10, 11]


def test_av1_which_decord_cannot_open(tmp_path):
    if "libsvtav1" not in av.codecs_available and "libaom-av1" not in av.codecs_available:
        pytest.skip("this PyAV writes no AV1")
    codec = "libsvtav1" if "libsvtav1" in av.codecs_available else "libaom-av1"
    path = write_video(tmp_path / "a.mp4", [k / 10 for k in range(9)], codec, size=(64, 64))
    assert numbers(decode(path, "video", MediaSpec(num_frames=3))) == [0, 4, 8]


# --- bad input


def test_a_video_without_a_video_stream(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16_000)
    refused(tmp_path / "a.wav", "no video stream")
    (tmp_path / "a.wav").rename(tmp_path / "a.mp4")
    refused(tmp_path / "a.mp4", "no video stream")


def test_images_and_text_are_no_videos(tmp_path):
    for suffix in ("png", "jpg", "bmp", "webp"):
        Image.new("RGB", (16, 16)).save(tmp_path / f"a.{suffix}")
        refused(tmp_path / f"a.{suffix}", "an image, not a video")
    (tmp_path / "b.txt").write_text("FFmpeg would draw this as a terminal\n" * 20)
    refused(tmp_path / "b.txt", "text")


def test_playlists_open_no_other_files(tmp_path):
    video = write_video(tmp_path / "a.mp4")
    (tmp_path / "b.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{video}\n#EXT-X-ENDLIST\n")
    refused(tmp_path / "b.m3u8", "playlist|not a readable")
    (tmp_path / "b.ffconcat").write_text(f"ffconcat version 1.0\nfile '{video.name}'\n")
    refused(tmp_path / "b.ffconcat", "playlist|not a readable")


def test_truncated_videos(tmp_path, backend):
    """With the index in front (as for the web) the first frames are still there; with it at the end nothing opens."""
    for name, options in (("front.mp4", {"movflags": "faststart"}), ("end.mp4", {})):
        data = write_video(tmp_path / name, [k / 10 for k in range(12)], size=(64, 64), keys=2, options=options).read_bytes()
        for share in (0.2, 0.5, 0.8):
            (tmp_path / name).write_bytes(data[: int(len(data) * share)])
            refused(tmp_path / name, "truncated|not a readable video|no decoder")


def test_damaged_videos_raise_media_errors_only(tmp_path):
    rng, refusals = np.random.default_rng(2), 0
    data = write_video(tmp_path / "a.mp4", [0.0, 0.1, 0.2]).read_bytes()
    for _ in range(60):
        flipped = bytearray(data)
        for place in rng.integers(0, len(data), 8):
            flipped[place] = rng.integers(256)
        (tmp_path / "b.mp4").write_bytes(flipped)
        try:
            decode(tmp_path / "b.mp4", "video", MediaSpec(num_frames=3, max_pixels=100_000))
        except MediaError as error:
            assert "b.mp4" in str(error)
            refusals += 1
    assert refusals > 10


def test_large_frames_are_refused_on_the_header(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", [0.0, 0.1], size=(64, 32))
    monkeypatch.setattr(media_video, "_frames_by_decord", lambda *_: pytest.fail("decoded before the check"))
    refused(path, "64 x 32 pixels are more than the limit of 2,047", MediaSpec(max_pixels=2047))


# --- folders of frames


def frames_folder(path, names, size=(8, 8)):
    path.mkdir()
    for k, name in enumerate(names):
        Image.new("RGB", size, (20 * k,) * 3).save(path / name)
    return path


def test_frames_come_in_the_order_of_their_numbers(tmp_path):
    path = frames_folder(tmp_path / "clip", [f"frame{k}.png" for k in range(12)])
    (path / "notes.txt").write_text("no frame")
    media = decode(path, "frames", MediaSpec(num_frames=12))
    assert numbers(media) == list(range(12))  # not 0 1 10 11 2 …
    assert numbers(decode(path, "frames", MediaSpec(num_frames=3))) == [0, 5, 11]


def test_bad_folders_of_frames(tmp_path):
    def refuse(path, match, **part):
        with pytest.raises(MediaError, match=match):
            decode(path, "frames", MediaSpec(), **part)

    refuse(tmp_path / "none", "no such file")
    empty = tmp_path / "empty"
    empty.mkdir()
    refuse(empty, "must hold images")
    path = frames_folder(tmp_path / "clip", ["a.png", "b.png"])
    Image.new("RGB", (4, 4)).save(path / "c.png")
    refuse(path, "differ in size")
    (path / "c.png").write_bytes(b"")
    refuse(path, "c.png: the file is empty")
    refuse(path, "only a sound or a video has a part", start_s=0.0, end_s=1.0)


# --- real clips


@pytest.mark.parametrize(("name", "seconds", "size"), [("video_12176.mp4", 5.08, None), ("video_3824.mp4", 15.71, None)])
def test_clevrer_clips_by_both_backends(data_root: Path, monkeypatch, name, seconds, size):
    path = data_root / "clevrer" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    spec = MediaSpec(num_frames=8, frame_size=64)
    first = decode(path, "video", spec)
    monkeypatch.setattr(media_video, "_frames_by_decord", lambda *_: None)
    second = decode(path, "video", spec)
    np.testing.assert_allclose(first.times, np.linspace(0, seconds, 8), atol=0.03)
    np.testing.assert_array_equal(first.times, second.times)
    assert first.array.shape == second.array.shape and first.array.shape[0] == 8 and max(first.array.shape[1:3]) == 64
    assert np.abs(first.array.astype(int) - second.array).mean() < 1.5
    assert np.abs(np.diff(first.array.astype(int), axis=0)).mean() > 0.2  # things move
