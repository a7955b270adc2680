"""One's own JSONL: paths inside its folder, line numbers in errors, ids once."""

import json

import pytest

from data.readers.jsonl import JsonlReader


def row(id, path="clips/a.wav", **changes):
    return {"id": id, "question": "Which?", "answer": ["rain"], "answer_type": "text", "media": [{"kind": "audio", "path": path}], **changes}


@pytest.fixture
def read(tmp_path):
    def from_lines(*lines):
        path = tmp_path / "records.jsonl"
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
        return list(JsonlReader(path))

    return from_lines


def test_paths_are_taken_from_the_file_s_folder(read, tmp_path):
    first, second = read(row("a"), "", row("b", "./clips/../b.wav"))
    assert (first.media[0].path, second.media[0].path) == (str(tmp_path / "clips/a.wav"), str(tmp_path / "b.wav"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "records.jsonl, line 3"),
        ("[]", "line 3: a record must be a JSON object"),
        (row("b", answer=["A"], answer_type="choice", options=None), "line 3: record 'b': options"),
        (row("b", answer=["C"], answer_type="choice", options=["x", "y"]), r"line 3: record 'b': answer: 'C' is not a letter of the 2 options"),
        (row("a"), "two records have the id 'a'"),
        (row("b", "../b.wav"), "record 'b': media path '../b.wav' leads out"),
        (row("b", "/etc/passwd"), "record 'b': media path '/etc/passwd' leads out"),
    ],
)
def test_mistakes_name_line_or_record(read, line, message):
    with pytest.raises(ValueError, match=message):
        read(row("a"), "", line)


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="no records file"):
        JsonlReader(tmp_path / "none.jsonl")
