"""A world as files: what our own readers read back, what stays when it is rendered again, and features that do not depend on the way in."""

import dataclasses
import json

import numpy as np
import pytest

from configs.registry import WORLDS
from data.media import decode_ref
from data.readers.clevrer import ClevrerReader
from data.readers.jsonl import JsonlReader
from data.readers.mathvista import MathVistaReader
from data.readers.mmau import MmauReader
from data.record import answer_text
from data.render import drawn, render, render_format
from data.worlds.base import verify
from data.worlds.video_clevrer import questions
from models.encoder_conv import ConvConfig
from models.encoder_frames import FramesConfig
from models.media import MediaSpec

SETTINGS = dataclasses.asdict(MediaSpec(num_frames=10))
COUNT = 40


def originals(world, level=3, count=COUNT, families=None):
    return [sample.record for sample in drawn(world, level, count, 7, "test", families)]


# --- round trips


def test_records_come_back_identical_but_for_their_paths(tmp_path):
    rendered = render("audio", 3, 12, 7, "test", tmp_path / "out")
    read = list(JsonlReader(tmp_path / "out/records.jsonl"))
    assert read == rendered
    for original, record in zip(originals("audio", count=12), read, strict=True):
        assert dataclasses.replace(record, media=original.media) == original
        assert record.media[0].path.startswith(str(tmp_path / "out" / "media"))
        assert verify(record, f"<think></think><answer>{', '.join(record.answer)}</answer>").answer_ok


def test_mathvista_reads_back_the_same_questions_and_answers(tmp_path):
    """Every answer type of the world: choice, integer, float with its precision, text and list."""
    (path,) = render_format("mathvista", "vision", 3, 2 * COUNT, 7, "test", tmp_path / "out")
    wanted = originals("vision", count=2 * COUNT)
    assert {r.answer_type for r in wanted} == {"choice", "integer", "float", "text", "list"}
    for original, record in zip(wanted, MathVistaReader(path), strict=True):
        for field in ("question", "options", "answer", "answer_type", "precision", "unit"):
            assert getattr(record, field) == getattr(original, field), (field, original)
        for key in ("source", "category", "task", "context", "grade", "skills", "language"):
            assert record.meta[key] == original.meta[key]
        assert decode_ref(record.media[0], SETTINGS).array.shape[:2] == (record.meta["img_height"], record.meta["img_width"])


def test_mmau_reads_back_the_same_questions_and_answers(tmp_path):
    """Options stay; an open question gets three wrong ones of its kind, the same ones each time."""
    (path,) = render_format("mmau", "audio", 3, COUNT, 7, "test", tmp_path / "out")
    read, kept = list(MmauReader(path)), 0
    for original, record in zip(originals("audio"), read, strict=True):
        assert (record.id, record.question, answer_text(record)) == (original.id, original.question, answer_text(original))
        if original.options:
            assert (record.options, record.answer) == (original.options, original.answer)
            kept += 1
        assert len(set(record.options)) == len(record.options) >= 2
        assert all(record.meta[k] == original.meta[k] for k in ("task", "category", "sub-category", "difficulty"))
        assert decode_ref(record.media[0], SETTINGS).rate == 16_000
    assert 0 < kept < COUNT
    again = render_format("mmau", "audio", 3, COUNT, 7, "test", tmp_path / "again")[0]
    assert again.read_text() == path.read_text()


def test_clevrer_reads_back_what_its_files_say(tmp_path):
    """Questions with options become CLEVRER's own; the answers follow from the same records, and a scene keeps its annotation."""
    (path,) = render_format("clevrer", "video", 3, COUNT, 7, "test", tmp_path / "out")
    asked = {original.id: questions(original) for original in originals("video")}
    rows = {(scene["scene_index"], q["question_id"]): q for scene in json.loads(path.read_text()) for q in scene["questions"]}
    read = list(ClevrerReader(path, annotations=True))
    assert len(read) == len(rows) == sum(map(len, asked.values()))
    families = set()
    for record in read:
        index, number = (int(part) for part in record.id.removeprefix("clevrer/").split("-"))
        row = rows[index, number]
        assert any({k: v for k, v in row.items() if k not in ("question_id", "record_id")} == q for q in asked[row["record_id"]])
        families.add(record.meta["family"])
        right = [c["choice"] for c in row.get("choices", []) if c["answer"] == "correct"]
        assert answer_text(record) == (right if "choices" in row else [row["answer"]])
        assert record.split == "test" and len(record.meta["objects"]) >= 2
    assert families == {"descriptive", "explanatory", "predictive", "counterfactual"}
    assert decode_ref(read[0].media[0], SETTINGS).array.shape[0] == 10


# --- arrays against files


ENCODERS = {
    "audio": ConvConfig(kind="audio", num_mels=32, max_seconds=5.0), "vision": ConvConfig(kind="image", size=64),
    "video": FramesConfig(size=32, max_frames=10),
}  # fmt: skip


@pytest.mark.parametrize(("world", "level"), [("audio", 1), ("audio", 6), ("vision", 1), ("vision", 6)])
def test_wav_and_png_give_the_features_of_the_arrays(tmp_path, world, level):
    samples = list(drawn(world, level, 8, 7, "test"))
    for sample, record in zip(samples, render(world, level, 8, 7, "test", tmp_path / "out"), strict=True):
        features = [ENCODERS[world].features(medium) for medium in (sample.media[0], decode_ref(record.media[0], SETTINGS))]
        np.testing.assert_array_equal(*(f.numpy() for f in features))


@pytest.mark.parametrize("level", [1, 6])
def test_mp4_gives_nearly_the_features_of_the_arrays(tmp_path, level):
    """Features are pixels in [-1, 1]: on average within 0.02 (two and a half grey levels), 0.2 at the rims of discs, at the same times."""
    samples = list(drawn("video", level, 6, 7, "test"))
    for sample, record in zip(samples, render("video", level, 6, 7, "test", tmp_path / "out"), strict=True):
        media = decode_ref(record.media[0], SETTINGS)
        np.testing.assert_allclose(media.times, sample.media[0].times, atol=0.02)
        plain, coded = (ENCODERS["video"].features(medium).double().numpy() for medium in (sample.media[0], media))
        assert plain.shape == coded.shape
        assert np.abs(plain - coded).mean() < 0.02 and np.quantile(np.abs(plain - coded), 0.99) < 0.2


# --- again, and into folders that are taken


def test_the_same_again_reads_what_is_there_and_longer_begins_with_shorter(tmp_path):
    short = render("vision", 2, 3, 1, "dev", tmp_path / "out")
    stamp = (tmp_path / "out/records.jsonl").stat().st_mtime_ns
    assert render("vision", 2, 3, 1, "dev", tmp_path / "out") == short
    assert (tmp_path / "out/records.jsonl").stat().st_mtime_ns == stamp
    assert render("vision", 2, 5, 1, "dev", tmp_path / "out")[:3] == short
    assert {r.split for r in short} == {"dev"}
    assert [r.question for r in render("vision", 2, 3, 2, "dev", tmp_path / "out")] != [r.question for r in short]


def test_a_folder_may_move(tmp_path):
    render("vision", 1, 2, 0, "test", tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert all(decode_ref(r.media[0], SETTINGS).kind == "image" for r in JsonlReader(tmp_path / "b/records.jsonl"))


@pytest.mark.parametrize("taken", ["folder", "file", "other manifest"])
def test_what_is_not_ours_is_never_overwritten(tmp_path, taken):
    out = tmp_path / "out"
    if taken == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / ("manifest.json" if taken == "other manifest" else "thesis.txt")).write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        render("audio", 1, 1, 0, "test", out)
    assert [p.read_text() for p in ([out] if taken == "file" else out.iterdir())] == ["mine"]


def test_nothing_stays_of_a_rendering_that_failed(tmp_path, monkeypatch):
    from data import render as module

    monkeypatch.setattr(module, "write_media", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        render("audio", 1, 1, 0, "test", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "mmua"}, "unknown format 'mmua' .known: records, mmau, mathvista, clevrer"),
        ({"format": "mmau", "world": "vision"}, "'mmau' is for the audio world, not 'vision'"),
        ({"world": "audoi"}, "unknown world 'audoi'"),
        ({"level": 9}, "level 9 is not one of 1-6"),
        ({"split": "val"}, "split 'val' is not one of"),
        ({"count": 0}, "count 0"),
        ({"families": ["ordre"]}, "unknown family 'ordre'"),
    ],
)
def test_wrong_requests_are_named(tmp_path, changes, message):
    request = {"format": "records", "world": "audio", "level": 1, "count": 1, "seed": 0, "split": "test", "out": tmp_path / "out"} | changes
    with pytest.raises(ValueError, match=message):
        render_format(**request)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("format", "world"), [("mmau", "audio"), ("mathvista", "vision"), ("clevrer", "video")])
def test_writers_refuse_items_of_other_worlds(tmp_path, format, world):
    from data.render import _writer

    other = next(name for name in WORLDS.names() if name != world and name in ("audio", "vision"))
    with pytest.raises(ValueError, match=f"not an item of the {world} world"):
        _writer(format)(drawn(other, 1, 1, 0, "test"), tmp_path / "out")
