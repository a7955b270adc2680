"""Rows survive a kill at any byte."""

import json

import pytest

from eval.item_log import ItemLog, read_items

ROWS = [{"id": f"i{k}", "correct": k % 2 == 0, "text": "é\n\u2028" * k} for k in range(6)]
IDS = [row["id"] for row in ROWS]


def finished(path, key="k"):
    log = ItemLog(path, key)
    log.append(ROWS)
    log.finish(IDS)
    return path.read_bytes()


def test_rows_come_back_in_the_order_asked_for(tmp_path):
    log = ItemLog(tmp_path / "a.jsonl", "k")
    log.append(ROWS[3:])
    log.append([])
    log.append(ROWS[:3])
    assert log.finish(IDS) == ROWS == read_items(tmp_path / "a.jsonl")
    assert ItemLog(tmp_path / "a.jsonl", "k").rows == {row["id"]: row for row in ROWS}


def test_a_file_cut_at_any_byte_is_mended(tmp_path):
    whole = finished(tmp_path / "whole.jsonl")
    for size in range(0, len(whole) + 1, 7):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(whole[:size])
        (tmp_path / "cut.jsonl.key.json").write_text(json.dumps({"key": "k"}))
        log = ItemLog(path, "k")
        assert list(log.rows.values()) == ROWS[: whole[:size].count(b"\n")]
        log.append([row for row in ROWS if row["id"] not in log.rows])
        log.finish(IDS)
        assert path.read_bytes() == whole


def test_rows_of_another_key_are_not_used(tmp_path):
    finished(tmp_path / "a.jsonl", "old weights")
    log = ItemLog(tmp_path / "a.jsonl", "new weights")
    assert log.rows == {} and not (tmp_path / "a.jsonl").exists()


def test_a_number_that_json_does_not_know_is_refused(tmp_path):
    with pytest.raises(ValueError):
        ItemLog(tmp_path / "a.jsonl", "k").append([{"id": "x", "partial": float("nan")}])


def test_reading_nothing_says_where(tmp_path):
    with pytest.raises(ValueError, match="no per-item rows at"):
        read_items(tmp_path / "none.jsonl")
