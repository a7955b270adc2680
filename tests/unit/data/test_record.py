"""Records: whatever is wrong with one is a `ValueError` with its id and field, JSON goes round, broken files are named with the line."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.record import LETTERS, MediaRef, Record, Step, answer_text, read_json, read_jsonl, write_jsonl

words = st.text(min_size=1, max_size=20).filter(str.strip)
seconds = st.floats(0, 100, allow_nan=False)


@st.composite
def media(draw):
    kind = draw(st.sampled_from(["audio", "image", "video", "frames"]))
    if kind in ("image", "frames") or draw(st.booleans()):
        return MediaRef(kind, draw(words))
    start = draw(seconds)
    return MediaRef(kind, draw(words), start, start + draw(st.floats(0.1, 10)))


@st.composite
def steps(draw):
    parents = [sorted(draw(st.sets(st.integers(0, i - 1)))) if i else [] for i in range(draw(st.integers(0, 4)))]
    return [Step(draw(words), draw(st.sampled_from(["perception", "reasoning"])), draw(st.none() | words), p) for p in parents]


@st.composite
def records(draw):
    kind = draw(st.sampled_from(["choice", "choices", "integer", "float", "text", "list"]))
    options = draw(st.lists(words, min_size=1, max_size=6)) if kind in ("choice", "choices") else None
    if kind == "choices":
        answer = sorted(draw(st.sets(st.sampled_from(LETTERS[: len(options)]))))
    elif kind == "choice":
        answer = [draw(st.sampled_from(LETTERS[: len(options)]))]
    else:
        answer = draw(st.lists(words, min_size=1, max_size=4 if kind == "list" else 1))
    return Record(
        draw(words), draw(words), answer, kind, draw(st.lists(media(), max_size=3)), options, draw(st.none() | st.integers(0, 5)),
        draw(st.none() | words), draw(st.none() | steps()), draw(st.text(max_size=5)), draw(st.text(max_size=5)), draw(st.text(max_size=5)),
        draw(st.dictionaries(st.text(max_size=5), st.integers() | words, max_size=3)),
    )  # fmt: skip


def good(**changes):
    row = {"id": "r1", "question": "What?", "answer": ["B"], "answer_type": "choice", "options": ["x", "y"]}
    return row | changes


@given(records())
@settings(max_examples=60, deadline=None)
def test_valid_records_go_through_json_unchanged(record):
    assert record.validate() is record
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["media", "steps", *good(), "precision", "unit", "source", "split", "group", "meta", "other"]), json_values, max_size=3
    )
)
@settings(max_examples=300, deadline=None)
def test_any_json_is_a_record_or_a_value_error(changes):
    """Never another exception: a reader names file and line around a `ValueError` only."""
    try:
        record = Record.from_json(good(**changes))
    except ValueError as error:
        assert str(error)
    else:
        assert record.validate() is record
        assert len(answer_text(record)) == len(record.answer)


@pytest.mark.parametrize(
    ("changes", "field", "complaint"),
    [
        ({"id": ""}, "id", "non-empty"),
        ({"question": "  "}, "question", "non-empty"),
        ({"answer_type": "chioce"}, "answer_type", "'chioce' is not one of choice, choices"),
        ({"answer": "B"}, "answer", "list of strings"),
        ({"answer": [1]}, "answer", "list of strings"),
        ({"answer": ["C"]}, "answer", r"'C' is not a letter of the 2 options \(A-B\)"),
        ({"answer": ["b"]}, "answer", "'b' is not a letter"),
        ({"answer": ["AB"]}, "answer", "'AB' is not a letter"),
        ({"answer": ["A", "B"]}, "answer", "choice needs exactly one letter, not 2"),
        ({"answer": []}, "answer", "exactly one letter, not 0"),
        ({"answer": ["A", "A"], "answer_type": "choices"}, "answer", "twice"),
        ({"options": None}, "options", "needs 1 to 26 options"),
        ({"options": ["x"] * 27}, "options", "needs 1 to 26 options"),
        ({"options": [1, 2]}, "options", "list of strings"),
        ({"options": 5}, "options", "list of strings"),
        ({"answer_type": "integer", "answer": ["1", "2"]}, "answer", "integer needs exactly one element, not 2"),
        ({"answer_type": "text", "answer": []}, "answer", "text needs exactly one element, not 0"),
        ({"answer_type": "list", "answer": []}, "answer", "an empty list is no answer"),
        ({"precision": "2"}, "precision", "number of decimals"),
        ({"precision": True}, "precision", "number of decimals"),
        ({"group": 7}, "group", "string"),
        ({"meta": []}, "meta", "object"),
        ({"media": [{"kind": "sound", "path": "a"}]}, r"media\[0\].kind", "'sound' is not one of audio, image"),
        ({"media": [{"kind": "audio", "path": "a"}, {"kind": "audio", "path": ""}]}, r"media\[1\].path", "non-empty"),
        ({"media": [{"kind": "audio"}]}, "media", "path"),
        ({"media": [{"kind": "audio", "path": "a", "begin": 1}]}, "media", "begin"),
        ({"media": [{"kind": "audio", "path": "a", "start_s": 2, "end_s": 1}]}, r"media\[0\].end_s", "2 s to 1 s is empty"),
        ({"media": [{"kind": "audio", "path": "a", "start_s": -1}]}, r"media\[0\].end_s", "empty"),
        ({"media": [{"kind": "audio", "path": "a", "start_s": "1"}]}, r"media\[0\].start_s", "numbers of seconds"),
        ({"media": [{"kind": "image", "path": "a", "end_s": 1}]}, r"media\[0\].start_s", "not image"),
        ({"steps": [{"text": "a", "kind": "guess"}]}, r"steps\[0\].kind", "'guess' is not one of perception, reasoning"),
        ({"steps": [{"text": "a", "parents": [0]}]}, r"steps\[0\].parents", "earlier steps"),
        ({"steps": [{"text": " "}]}, r"steps\[0\].text", "non-empty"),
        ({"steps": [{"text": "a", "value": 3}]}, r"steps\[0\].value", "string"),
        ({"stpes": []}, "stpes", "unknown field .*known: .*steps"),
    ],
)
def test_what_is_wrong_is_named(changes, field, complaint):
    with pytest.raises(ValueError, match=f"record '.*': .*{field}.*: .*{complaint}|record 'r1': media or steps: .*{complaint}"):
        Record.from_json(good(**changes))


@pytest.mark.parametrize("field", ["id", "question", "answer", "answer_type"])
def test_missing_fields_are_named(field):
    row = good()
    del row[field]
    with pytest.raises(ValueError, match=f"{field}: missing"):
        Record.from_json(row)


def test_no_option_may_be_right():
    record = Record.from_json(good(answer=[], answer_type="choices"))
    assert answer_text(record) == []


def test_answers_in_words():
    assert answer_text(Record.from_json(good())) == ["y"]
    assert answer_text(Record.from_json(good(answer=["A", "B"], answer_type="choices"))) == ["x", "y"]
    assert answer_text(Record.from_json(good(answer=["red"], answer_type="text"))) == ["red"]  # options that only hint


def test_files_of_records(tmp_path):
    many = [Record(f"r{i}", "Größe?\nline two", ["1"], "integer") for i in range(3)]
    write_jsonl(tmp_path / "a.jsonl", many)
    assert list(read_jsonl(tmp_path / "a.jsonl")) == many
    text = (tmp_path / "a.jsonl").read_text()
    (tmp_path / "b.jsonl").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n\r\n").encode())  # from Windows, with blank lines
    assert list(read_jsonl(tmp_path / "b.jsonl")) == many


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"id": "a", "question":', "Expecting value"),
        (b"[1, 2]", "must be a JSON object, not list"),
        (json.dumps(good(answer=["Q"])).encode(), "record 'r1': answer: 'Q' is not a letter"),
        (b'{"id": "\xff"}', "utf-8"),
        (b'{"id": "a", "id": "b"}', "'id' comes twice"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_broken_line_is_named_by_its_number(tmp_path, line, complaint):
    whole = json.dumps(good()).encode()
    (tmp_path / "a.jsonl").write_bytes(whole + b"\n\n" + line + b"\n" + whole + b"\n")
    reading = read_jsonl(tmp_path / "a.jsonl")
    assert next(reading).id == "r1"
    with pytest.raises(ValueError, match=rf"a\.jsonl, line 3: .*{complaint}"):
        next(reading)


def test_json_files(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": [1]}')
    assert read_json(path) == {"a": [1]}
    for broken in ('{"a": 1, "a": 2}', "{", ""):
        path.write_text(broken)
        with pytest.raises(ValueError, match=r"a\.json: "):
            read_json(path)
