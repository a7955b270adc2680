"""MathVista's layout: every answer type by hand, every mistake by pid, and the whole of testmini where it is at hand."""

import json
from collections import Counter

import pytest

from data.answers import grade
from data.readers.mathvista import MathVistaReader
from data.record import answer_text

ROW = {
    "question": "How many?", "image": "images/1.jpg", "choices": None, "unit": None, "precision": None, "answer": "3", "question_type": "free_form",
    "answer_type": "integer", "pid": "1", "metadata": {"split": "testmini", "task": "figure question answering", "skills": ["arithmetic reasoning"]},
}  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def from_rows(rows, **options):
        path = tmp_path / "testmini.json"
        path.write_text(json.dumps(rows) if not isinstance(rows, str) else rows)
        return list(MathVistaReader(path, **options))

    return from_rows


@pytest.mark.parametrize(
    ("changes", "kind", "answer", "precision"),
    [
        ({}, "integer", ["3"], None),
        ({"answer": "1.2", "answer_type": "float", "precision": 1.0}, "float", ["1.2"], 1),
        ({"answer": "[0, 2]", "answer_type": "list"}, "list", ["0", "2"], None),
        ({"answer": "['red', 'deep blue']", "answer_type": "list"}, "list", ["red", "deep blue"], None),
        ({"answer": "Yes", "answer_type": "text", "choices": ["Yes", "No"], "question_type": "multi_choice"}, "choice", ["A"], None),
        ({"answer": "2000", "answer_type": "integer", "choices": [1999, 2000]}, "choice", ["B"], None),
    ],
)
def test_answers_of_every_type(read, tmp_path, changes, kind, answer, precision):
    (record,) = read({"7": {**ROW, **changes}})
    assert (record.id, record.answer_type, record.answer, record.precision) == ("mathvista/7", kind, answer, precision)
    assert record.media[0].path == str(tmp_path / "images/1.jpg") and record.media[0].kind == "image"
    assert record.split == "test"  # never `train`: the licence forbids it
    assert record.meta["task"] == "figure question answering"


def test_images_may_lie_elsewhere(read, tmp_path):
    (record,) = read({"1": ROW}, image_root=tmp_path / "pictures")
    assert record.media[0].path == str(tmp_path / "pictures/images/1.jpg")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": ""}, "pid 7: the answer is withheld"),
        ({"answer": "Maybe", "choices": ["Yes", "No"]}, "pid 7: answer 'Maybe' is not among"),
        ({"answer_type": "essay"}, "pid 7: 'essay' is missing or unknown"),
        ({"image": "../1.jpg"}, "pid 7: media path .* leads out"),
        ({"question": " "}, "pid 7: .*question"),
        ({"image": None}, "pid 7"),
    ],
)
def test_mistakes_are_named_by_pid(read, changes, message):
    with pytest.raises(ValueError, match=message):
        read({"7": {**ROW, **changes}})


@pytest.mark.parametrize(
    ("text", "message"),
    [("[]", "dictionary keyed by pid, not list"), ('{"1": 1}', "pid 1"), ('{"1": {}, "1": {}}', "'1' comes twice"), ("{", "testmini.json: ")],
)
def test_files_of_another_shape(read, text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="no MathVista file"):
        MathVistaReader(tmp_path / "none.json")


def test_the_whole_of_testmini(data_root):
    """1,000 records: 540 with choices (the paper's figure), the rest free; gold is right under our own grading."""
    records = list(MathVistaReader(data_root / "mathvista/testmini.json"))
    kinds = Counter(r.answer_type for r in records)
    assert len(records) == 1000 and len({r.id for r in records}) == 1000
    assert kinds["choice"] == 540 and sum(kinds.values()) - kinds["choice"] == 460
    assert all(r.precision is not None for r in records if r.answer_type == "float")
    wrong = [r.id for r in records if not grade(", ".join(r.answer), r)[0]]
    assert wrong == []
    assert all(answer_text(r) for r in records)
