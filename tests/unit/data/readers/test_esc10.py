"""ESC-10: classes from folders, folds from names, clips that never straddle folds, and the whole set where it is at hand."""

from collections import Counter, defaultdict

import pytest

from data.protocol import completion
from data.readers.esc10 import Esc10Reader
from data.worlds.base import verify


@pytest.fixture
def folder(tmp_path):
    for name in (
        "001 - Dog bark/1-100-A.ogg",
        "001 - Dog bark/2-200-B.ogg",
        "002 - Rain/1-300-A.ogg",
        "002 - Rain/notes.txt",
        "002 - Rain/9-1-A.ogg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "readme").mkdir()
    return tmp_path


def test_records_by_hand(folder):
    records = list(Esc10Reader(folder))
    assert [(r.id, r.answer, r.group, r.meta["fold"]) for r in records] == [
        ("esc10/1-100-A", ["dog bark"], "esc10/100", 1), ("esc10/2-200-B", ["dog bark"], "esc10/200", 2), ("esc10/1-300-A", ["rain"], "esc10/300", 1),
    ]  # fmt: skip
    assert verify(records[0], completion(records[0])).process_accuracy == 1.0
    assert [r.id for r in Esc10Reader(folder, folds=[2])] == ["esc10/2-200-B"]


def test_mistakes_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match="fold 6 is not one of 1-5"):
        Esc10Reader(folder, folds=[1, 6])
    with pytest.raises(ValueError, match="no ESC-10 folder"):
        Esc10Reader(tmp_path / "none")


def test_the_whole_set(data_root):
    """400 clips, 40 of each class, 80 in each fold; takes of one recording stay in one fold."""
    records = list(Esc10Reader(data_root / "esc10"))
    assert set(Counter(r.meta["class"] for r in records).values()) == {40} and set(Counter(r.meta["fold"] for r in records).values()) == {80}
    folds = defaultdict(set)
    for r in records:
        folds[r.group].add(r.meta["fold"])
    assert len(records) == 400 and all(len(f) == 1 for f in folds.values())
