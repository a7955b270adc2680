"""MMAU's layout: a record by hand, every mistake by its number, and the whole test-mini file where it is at hand."""

import json
from collections import Counter

import pytest

from data.readers.mmau import MmauReader

ROW = {
    "id": "a1", "audio_id": "./test-mini-audios/a1.wav", "question": "Who speaks?", "choices": ["Man ", "Woman"], "answer": "Man",
    "dataset": "AudioSet", "task": "sound", "split": "test-mini", "category": ["Reasoning"],
    "sub-category": "Acoustic Source Inference", "difficulty": "medium",
}  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def from_rows(*rows, **options):
        path = tmp_path / "mmau.json"
        path.write_text(json.dumps(list(rows)))
        return list(MmauReader(path, **options))

    return from_rows


def test_a_record_by_hand(read, tmp_path):
    (record,) = read(ROW)
    assert (record.question, record.options, record.answer, record.answer_type) == ("Who speaks?", ["Man", "Woman"], ["A"], "choice")
    assert record.media[0].path == str(tmp_path / "test-mini-audios/a1.wav")
    assert record.meta == {
        "dataset": "AudioSet", "task": "sound", "split": "test-mini", "category": "Reasoning", "sub-category": "Acoustic Source Inference",
        "difficulty": "medium",
    }  # fmt: skip


def test_sounds_may_lie_elsewhere(read, tmp_path):
    (record,) = read(ROW, audio_root=tmp_path / "sounds")
    assert record.media[0].path == str(tmp_path / "sounds/test-mini-audios/a1.wav")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({k: v for k, v in ROW.items() if k != "difficulty"}, "record 2: 'difficulty' is missing"),
        ({**ROW, "id": "b", "answer": "Child"}, "record 2: answer 'Child' of 'b' is not among its choices"),
        ({**ROW, "id": "b", "audio_id": "../../a.wav"}, "record 2: media path .* leads out"),
        ({**ROW, "id": "b", "question": ""}, "record 2: .*question"),
        ({**ROW, "id": "b", "choices": None}, "record 2"),
        (ROW, "record 2: the id .* comes twice"),
        (5, "record 2: must be a JSON object, not int"),
    ],
)
def test_mistakes_are_named_by_number(read, row, message):
    with pytest.raises(ValueError, match=message):
        read(ROW, row)


def test_files_of_another_shape(tmp_path):
    (tmp_path / "mmau.json").write_text("{}")
    with pytest.raises(ValueError, match="list of records, not dict"):
        list(MmauReader(tmp_path / "mmau.json"))
    with pytest.raises(ValueError, match="no MMAU file"):
        MmauReader(tmp_path / "none.json")


def test_the_whole_of_test_mini(data_root):
    """1,000 records in three tasks of about a third each, 27 sub-categories as in the paper's table."""
    records = list(MmauReader(data_root / "mmau/mmau-test-mini.json"))
    tasks = Counter(r.meta["task"] for r in records)
    assert len(records) == 1000 and set(tasks) == {"sound", "music", "speech"} and min(tasks.values()) >= 333
    assert len({r.meta["sub-category"] for r in records}) == 27
    assert all(isinstance(r.meta["category"], str) for r in records)
    assert all(len(r.answer) == 1 for r in records)
