"""Video-R1's layout in the forms that are around: lettered options of three kinds, tagged and bare answers, several right letters."""

import json

import pytest

from data.readers.video_r1 import VideoR1Reader, read_answer, split_options
from data.transforms.inversion import invert

NEXT = {
    "problem_id": 7, "question": "What did the boy do after he sat?", "options": ["(A) ran", "(B) slept", "(C) ate"], "answer": "(C)",
    "video": "/NExT/1.mp4", "type": "TN",
}  # fmt: skip
CLEVRER = {
    "problem": "Without the red cube, what will happen?\n"
    "A blue hits green\nB green leaves\nC nothing", "solution": "<answer>A,C</answer>", "video": "v.mp4",
}  # fmt: skip
VIDEO_R1 = {"problem_id": 3, "problem": "How many?Options:", "options": ["A. 1", "B. 2"], "solution": "<answer>B</answer>", "path": "./x/2.mp4"}


def records(tmp_path, rows, **options):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    return list(VideoR1Reader(path, **options))


def test_the_three_forms(tmp_path):
    a, b, c = records(tmp_path, [NEXT, CLEVRER, VIDEO_R1], split="dev")
    assert (a.question, a.options, a.answer, a.answer_type) == ("What did the boy do after he sat?", ["ran", "slept", "ate"], ["C"], "choice")
    assert a.meta == {"type": "TN"} and a.media[0].path == str((tmp_path / "NExT/1.mp4").resolve()) and a.split == "dev"
    assert (b.question, b.options) == ("Without the red cube, what will happen?", ["blue hits green", "green leaves", "nothing"])
    assert (b.answer, b.answer_type) == (["A", "C"], "choices")
    assert (c.question, c.options, c.answer) == ("How many?", ["1", "2"], ["B"])
    assert len({r.id for r in (a, b, c)}) == 3 and a.group != b.group


def test_inverted_records_have_several_right_options(tmp_path):
    (record,) = records(tmp_path, [NEXT])
    inverted = invert(record, 0)
    assert inverted.question == "What didn't the boy do after he sat?" and inverted.answer_type == "choices"
    assert "ate" not in [inverted.options["ABC".index(letter)] for letter in inverted.answer]


def test_open_answers_stay_text(tmp_path):
    (record,) = records(
        tmp_path, [{"problem": "What does the sign say?", "solution": "<answer>Exit 10</answer>", "path": "a.png", "data_type": "image"}]
    )
    assert (record.answer, record.answer_type, record.media[0].kind, record.options) == (["Exit 10"], "text", "image", None)


def test_options_come_off_a_text_only_where_they_are_a_list():
    assert split_options("A boy runs.\nWhy?", []) == ("A boy runs.\nWhy?", [])
    assert split_options("Why does he run?\nA dog barks.", []) == ("Why does he run?\nA dog barks.", [])
    assert split_options("Why?\nA tired\nC late", []) == ("Why?\nA tired\nC late", [])
    assert split_options("Why?\nA tired\nB late", ["(A) tired", "(B) late"]) == ("Why?", ["tired", "late"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem": "q", "options": ["A. 1"], "solution": "<answer>B</answer>"}, "row 1: answer 'B' is beyond the 1 options"),
        ({"problem": "q", "options": ["A. 1", "B. 2"], "solution": "two"}, "row 1: answer 'two' is no letter"),
        ({"problem": "q"}, "row 1: 'answer' is missing"),
        ({"problem": "q", "solution": "x", "video": "../../etc/passwd.mp4/../../../../x"}, "row 1: "),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        records(tmp_path, [row])


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no Video-R1 file"):
        VideoR1Reader(tmp_path / "none.json")
    (tmp_path / "dict.json").write_text("{}")
    with pytest.raises(ValueError, match="a list of rows, not dict"):
        list(VideoR1Reader(tmp_path / "dict.json"))


def test_answers():
    assert read_answer("(C)", 3) == (["C"], "choice")
    assert read_answer("<answer>C, A,C</answer>", 3) == (["A", "C"], "choices")
