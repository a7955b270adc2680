"""Notes and what follows from them, checked against the notes alone, as they stand in the question."""

import collections

import pytest

from data.worlds.audio import ORDINALS
from data.worlds.text import TextWorld
from data.worlds.text_notes import MOST


def read(family: str, level: int, seed: int) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """(notes by their names, conclusions) of an item."""
    record = TextWorld([family]).sample(level, ("notes", seed)).record
    notes = dict(note.split(": ") for note in record.question.removeprefix("Notes:\n").split("\n"))
    return notes, [tuple(step.text.split(": ")) for step in record.steps]


def concluded(key: str, notes: dict[str, str]) -> str:
    """What an independent reader finds behind a conclusion's key."""
    word, _, asked = key.partition(" ")
    sounds, names = list(notes.values()), [note.split()[0] for note in notes.values()]
    pairs = [sorted(note.split(" and ")) for note in sounds if " and " in note]
    match word:
        case "after":
            return names[names.index(asked) + 1]
        case "before":
            return names[names.index(asked) - 1]
        case "exist":
            return "yes" if asked in sounds else "no"
        case "together":
            return next(name for pair in pairs if asked in pair for name in pair if name != asked)
        case "row":
            return " ".join(color for place, color in notes.items() if place[0] == asked and color != "?")
        case "missing":
            return next(color for color in sounds if color != "?" and sounds.count(color) < max(map(sounds.count, sounds)))
        case "highest" | "lowest" | "order":
            ordered = sorted(notes, key=lambda color: int(notes[color]))
            return {"highest": ordered[-1], "lowest": ordered[0], "order": " ".join(ordered)}[word]
        case "colors":
            rows = [[c for place, c in notes.items() if place[0] == letter] for letter in "abcd"]
            return next(" ".join(row) for row in rows if row and "?" not in row)
    if key in ORDINALS:
        return names[ORDINALS.index(key)]
    return notes[key]


@pytest.mark.parametrize("family", ["sounds", "chart", "grid"])
@pytest.mark.parametrize("level", [1, 2, 4, 5])
def test_every_conclusion_follows_from_the_notes(family, level):
    kinds: collections.Counter = collections.Counter()
    for seed in range(60):
        notes, lines = read(family, level, seed)
        assert len(lines) > 0 and len({key for key, _ in lines}) == len(lines)
        for key, value in lines:
            assert concluded(key, notes) == value, (notes, key)
            kinds[key.split()[0]] += 1
    wanted = {
        "sounds": {"after", "before", "together", "first"},
        "chart": {"highest", "lowest", "order"},
        "grid": {"exist", "missing", "row"},
    }
    assert wanted[family] <= set(kinds)


def test_conclusions_are_limited_and_stand_in_no_order():
    _, lines = read("sounds", 5, 0)
    assert len([line for line in lines if not line[0].startswith(("where", "count"))]) <= MOST
    first = collections.Counter(read("sounds", 3, seed)[1][0][0].split()[0] for seed in range(80))
    assert len(first) > 6 and max(first.values()) < 40


def test_notes_keep_the_group_of_the_scene_that_they_are_taken_from():
    record = TextWorld(["sounds"]).sample(2, 0, "test").record
    assert record.group.startswith("audio/") and record.split == "test" and not record.media
