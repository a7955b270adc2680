"""A log survives a crash at any byte, and nothing that is no JSON gets into it."""

import json

import pytest

from data.jsonl_log import append_log, read_log

ROWS = [{"id": k, "text": "é\u2028\n" * k} for k in range(4)]


def test_rows_come_back_and_more_can_follow(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    assert read_log(path) == []
    append_log(path, [])
    assert not path.exists()
    append_log(path, ROWS[:3])
    append_log(path, ROWS[3:])
    assert read_log(path) == ROWS


def test_cut_at_any_byte_whole_rows_remain_and_the_rest_is_gone(tmp_path):
    path = tmp_path / "log.jsonl"
    append_log(path, ROWS)
    raw = path.read_bytes()
    for size in range(len(raw)):
        path.write_bytes(raw[:size])
        whole = raw[: raw[:size].rfind(b"\n") + 1]
        assert read_log(path) == [json.loads(line) for line in whole.splitlines()]
        assert path.read_bytes() == whole


def test_what_is_no_json_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError):
        append_log(tmp_path / "log.jsonl", [{"x": 1.0}, {"x": float("nan")}])
    assert read_log(tmp_path / "log.jsonl") == []
