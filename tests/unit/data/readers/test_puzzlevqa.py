"""PuzzleVQA: its two leaks stay closed, steps end in the answer, mistakes are named by line, and the whole release reads."""

import json
from collections import Counter
from pathlib import Path

import pytest

from data.readers.puzzlevqa import PuzzleVQAReader
from data.record import LETTERS, answer_text

ROW = {
    "image": "images/venn/venn_0000.png", "question": "Which number is missing?", "options": [6, 3, 4, 2], "answer": "4", "caption": "Three numbers.",
    "explanation": "The first two add up.", "deduction": "So it is 4.",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    def with_rows(*rows, name="venn"):
        (tmp_path / f"{name}.json").write_text("".join(json.dumps(row) + "\n" if not isinstance(row, str) else row for row in rows))
        return tmp_path

    return with_rows


def test_a_record_by_hand(folder):
    (record,) = PuzzleVQAReader(folder(ROW))
    assert sorted(record.options) == ["2", "3", "4", "6"] and answer_text(record) == ["4"]
    assert [(s.text, s.kind, s.parents) for s in record.steps] == [
        ("Three numbers.", "perception", []), ("The first two add up.", "reasoning", [0]), ("So it is 4.", "reasoning", [0, 1]),
    ]  # fmt: skip
    assert record.steps[-1].value == "4" and record.meta == {"puzzle": "venn"} and record.id == "puzzlevqa/venn_0000"


def test_the_same_puzzle_is_kept_once_and_order_follows_the_seed(folder):
    home = folder(*[{**ROW, "image": f"images/venn/venn_{i:04d}.png", "caption": f"c{i // 2}"} for i in range(40)])
    records = list(PuzzleVQAReader(home))
    assert len(records) == 20
    assert records == list(PuzzleVQAReader(home)) != list(PuzzleVQAReader(home, seed=1))
    assert set(Counter(r.answer[0] for r in records)) == set(LETTERS[:4])  # the answer stands in every slot


def test_puzzles_by_name(folder):
    home = folder(ROW)
    folder({**ROW, "caption": "other"}, name="triangle")
    assert [r.meta["puzzle"] for r in PuzzleVQAReader(home)] == ["triangle", "venn"]
    assert [r.meta["puzzle"] for r in PuzzleVQAReader(home, puzzles=["venn"])] == ["venn"]
    with pytest.raises(ValueError, match=r"no puzzle is called 'ven' \(there are: triangle, venn\)"):
        PuzzleVQAReader(home, puzzles=["ven"])


@pytest.mark.parametrize(
    "row",
    ["{", {**ROW, "caption": "b", "answer": "9"}, {k: v for k, v in ROW.items() if k != "caption"}, {**ROW, "caption": "b", "image": "../x.png"}],
)
def test_mistakes_are_named_by_line(folder, row):
    with pytest.raises(ValueError, match=r"venn\.json, line 2"):
        list(PuzzleVQAReader(folder(ROW, row)))


def test_a_missing_folder(tmp_path):
    with pytest.raises(ValueError, match="no PuzzleVQA folder"):
        PuzzleVQAReader(tmp_path / "none")


def test_the_whole_release(data_root):
    """20 puzzles of 100; `grid_number`'s answer, always in slot D of the files, is in none of four slots more than chance and four sigma."""
    records = list(PuzzleVQAReader(data_root / "puzzlevqa"))
    puzzles = Counter(r.meta["puzzle"] for r in records)
    assert len(puzzles) == 20 and max(puzzles.values()) == 100 and puzzles["size_cycle"] < 100
    slots = Counter(r.answer[0] for r in records if r.meta["puzzle"] == "grid_number")
    assert max(slots.values()) < 25 + 4 * (100 * 0.25 * 0.75) ** 0.5
    splits = {r.group: r.split for r in records}
    assert len(splits) == len(records)  # every instance is its own group
    assert abs(Counter(splits.values())["test"] / len(records) - 0.1) < 0.03
    assert all(Path(r.media[0].path).is_file() for r in records[::50])
