"""CLEVRER's layout as its README gives it: questions of all families, annotations, the places where videos may lie, mistakes by scene."""

import dataclasses
import json

import pytest

from data.media import decode_ref
from data.readers.clevrer import ClevrerReader
from models.media import MediaSpec

SCENE = {
    "scene_index": 10_000,
    "video_filename": "video_10000.mp4",
    "questions": [
        {"question_id": 0, "question": "What color is it?", "question_type": "descriptive", "program": ["objects", "query_color"], "answer": "red"},
        {"question_id": 1, "question": "How many?", "question_type": "descriptive", "program": ["events", "count"], "answer": "2"},
        {"question_id": 2, "question": "What is responsible?", "question_type": "explanatory", "program": ["belong_to"], "choices": [
            {"choice_id": 1, "choice": "the cube", "program": [], "answer": "wrong"},
            {"choice_id": 0, "choice": "the ball", "program": [], "answer": "correct"},
        ]},
        {"question_id": 3, "question": "What happens next?", "question_type": "predictive", "program": [], "choices": [
            {"choice_id": 0, "choice": "a hit", "program": [], "answer": "wrong"},
            {"choice_id": 1, "choice": "no hit", "program": [], "answer": "wrong"},
        ]},
    ],
}  # fmt: skip
NOTE = {
    "object_property": [{"object_id": 0, "color": "red", "material": "metal", "shape": "cube"}],
    "collision": [{"frame_id": 70, "object_ids": [0, 1]}, {"frame_id": 9, "object_ids": [1, 2]}],
}


@pytest.fixture
def read(tmp_path):
    def from_scenes(*scenes, name="validation", **options):
        path = tmp_path / "questions" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(list(scenes)))
        return list(ClevrerReader(path, **options))

    return from_scenes


def test_all_families_by_hand(read):
    word, number, many, none = read(SCENE)
    assert (word.answer_type, word.answer, word.options) == ("text", ["red"], None)
    assert (number.answer_type, number.answer) == ("integer", ["2"])
    assert (many.answer_type, many.options, many.answer) == ("choices", ["the ball", "the cube"], ["A"])  # in the order of their ids
    assert (none.answer_type, none.answer) == ("choices", [])  # no choice may be right
    assert [r.id for r in (word, none)] == ["clevrer/10000-0", "clevrer/10000-3"]
    assert {r.split for r in (word, many)} == {"dev"} and {r.group for r in (word, many)} == {"clevrer/10000"}
    assert many.meta == {"family": "explanatory", "program": ["belong_to"], "choice_ids": [0, 1]}


def test_families_and_splits(read):
    assert [r.meta["family"] for r in read(SCENE, families=["predictive"])] == ["predictive"]
    splits = [read({**SCENE, "scene_index": i})[0].split for i in (0, 9_999, 10_000, 14_999, 15_000)]
    assert splits == ["train", "train", "dev", "dev", "test"]
    with pytest.raises(ValueError, match="unknown family 'predict'"):
        read(SCENE, families=["predict"])


@pytest.mark.parametrize(
    "place", ["videos/validation/video_10000-11000", "video_validation/video_10000-11000", "video_10000-11000", "video_validation", "."]
)
def test_videos_are_found_where_people_keep_them(read, tmp_path, place):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "video_10000.mp4").write_bytes(b"x")
    assert read(SCENE)[0].media[0].path == str((tmp_path / place / "video_10000.mp4").resolve())


def test_annotations_go_into_meta_in_the_order_of_time(read, tmp_path):
    with pytest.raises(ValueError, match=r"scene 1: no annotation at .*annotation_10000\.json"):
        read(SCENE, annotations=True)
    folder = tmp_path / "annotations/validation/annotation_10000-11000"
    folder.mkdir(parents=True)
    (folder / "annotation_10000.json").write_text(json.dumps(NOTE))
    meta = read(SCENE, annotations=True)[0].meta
    assert meta["objects"] == {"0": "red metal cube"}
    assert meta["collisions"] == [{"frame": 9, "objects": [1, 2]}, {"frame": 70, "objects": [0, 1]}]


def changed(number, **changes):
    questions = [dict(q) for q in SCENE["questions"]]
    questions[number] |= changes
    return {**SCENE, "questions": questions}


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (changed(0, answer=""), "has no answer"),
        (changed(0, question_type="moral"), "unknown question_type 'moral'"),
        (changed(2, choices=[{"choice_id": 0, "choice": "a"}]), "choice 0 is neither correct nor wrong"),
        (changed(1, question_id=0), "'clevrer/10000-0' comes twice"),
        ({**SCENE, "scene_index": "7"}, "scene_index '7'"),
        ({**SCENE, "video_filename": "../../../../v.mp4"}, "leads out"),
        ({"scene_index": 3}, "'questions' is missing"),
        (4, "scene 2"),
    ],
)
def test_mistakes_are_named_by_scene(read, scene, message):
    first = {**SCENE, "scene_index": 4, "video_filename": "video_00004.mp4"}
    with pytest.raises(ValueError, match=rf"validation\.json, scene 2.*{message}" if message != "scene 2" else message):
        read(first, scene)


def test_files_of_another_shape(tmp_path):
    (tmp_path / "q.json").write_text("{}")
    with pytest.raises(ValueError, match="list of scenes, not dict"):
        list(ClevrerReader(tmp_path / "q.json"))
    with pytest.raises(ValueError, match="no CLEVRER question file"):
        ClevrerReader(tmp_path / "none.json")


@pytest.mark.parametrize(("number", "height", "seconds"), [(12176, 64, 5.08), (3824, 54, 15.71)])
def test_the_published_clips_under_questions_of_ours(data_root, tmp_path, number, height, seconds):
    """The two CLEVRER videos, found beside a question file in the official layout, through the recipe's decoder."""
    scene = {**SCENE, "scene_index": number, "video_filename": f"video_{number}.mp4"}
    (tmp_path / "train.json").write_text(json.dumps([scene]))
    records = list(ClevrerReader(tmp_path / "train.json", video_root=data_root / "clevrer"))
    assert len(records) == 4
    media = decode_ref(records[0].media[0], dataclasses.asdict(MediaSpec(num_frames=8, frame_size=96)))
    assert media.array.shape == (8, height, 96, 3)
    assert media.times[0] == 0 and abs(media.times[-1] - seconds) < 0.03
    assert media.array.std() > 10
