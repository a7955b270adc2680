"""The vision world: what is asked can be read off the pixels by an independent reader, answers follow from what is read, and nothing but the picture
tells them."""

import copy
import json
import re
from collections import Counter

import numpy as np
import pytest

from data import protocol
from data.record import LETTERS, Record, answer_text
from data.step_labels import step_kinds
from data.worlds import vision
from data.worlds import vision_render as render
from data.worlds.base import split_of
from data.worlds.vision import CHARTS, VisionWorld
from tests.unit.data.worlds.blind import by_options, by_template, by_text, guess

LEVELS = VisionWorld.levels


@pytest.fixture(scope="module")
def every():
    """Six samples of every family at every level."""
    return {
        (family, level): [VisionWorld([family]).sample(level, ("every", i)) for i in range(6)]
        for family in VisionWorld.all_families
        for level in LEVELS
    }


@pytest.fixture
def unrendered(monkeypatch):
    blank = np.zeros((1, 1, 3), np.uint8)
    monkeypatch.setattr(vision, "DRAW", dict.fromkeys(vision.DRAW, lambda *_: blank))
    monkeypatch.setattr(render, "figure", lambda *_: blank)
    monkeypatch.setattr(render, "cells", lambda *_: blank)


# --- an independent reader of pictures


def mask(array, color):
    return (array == np.array(render.COLORS[color], np.uint8)).all(-1)


def read_bar(array, color):
    """Pixels of the tallest column, in units of six, the first row included."""
    return round((int(mask(array, color).sum(0).max()) - 1) / 6)


def read_line(array, color):
    """The height of the marker's centre above the ground line."""
    return round((60 - np.nonzero(mask(array, color))[0].mean()) / 6)


def read_pie(array, color):
    """How many of the twelve directions, each in the middle of a twelfth, have the colour half-way out."""
    angles = np.deg2rad(np.arange(12) * 30 + 15)
    rows, columns = np.round(31 + 20 * np.sin(angles)).astype(int), np.round(31 + 20 * np.cos(angles)).astype(int)
    return int(mask(array, color)[rows, columns].sum())


READ = {"bar": read_bar, "line": read_line, "pie": read_pie}


@pytest.mark.parametrize("kind", READ)
def test_charts_can_be_read_off_their_pixels(every, kind):
    """Each colour's value, at every level, without looking at the record."""
    checked = 0
    for level in LEVELS:
        for sample in every[kind, level]:
            facts, array = sample.record.meta["facts"], sample.media[0].array
            seen = {c: READ[kind](array, c) for c in render.COLORS if mask(array, c).any()}
            assert seen == {c: int(facts[c]) for c in render.COLORS if c in facts}
            checked += len(seen)
    assert checked > 100


def test_table_cells_hold_their_digits(every):
    """A cell's border has the colour; its inside is the digit as it is drawn alone."""
    for level in (1, 3, 6):
        for sample in every["table", level][:2]:
            facts = {c: v for c, v in sample.record.meta["facts"].items() if c in render.COLORS}
            other = render.table([(c, int(v)) for c, v in facts.items()])
            assert np.array_equal(sample.media[0].array, other)
            changed = render.table([(c, int(v) % 9 + 1) for c, v in facts.items()])
            for color in facts:
                rows, columns = np.nonzero(mask(other, color))
                box = (slice(rows.min(), rows.max()), slice(columns.min(), columns.max()))
                assert (other[box] != changed[box]).any()  # another digit is another picture
                assert len(rows) > 40


def test_figures_have_their_sides(every):
    """The coloured box is as wide and as high as the facts say; a triangle fills half of it."""
    for level in LEVELS:
        for sample in every["figure", level] + [s for s in every["perceive", level] if s.record.meta["template"].startswith("perceive/figure")]:
            facts, array = sample.record.meta["facts"], sample.media[0].array
            inside = mask(array, facts["color"])
            rows, columns = np.nonzero(inside.any(1))[0], np.nonzero(inside.any(0))[0]
            height, width = (rows[-1] - rows[0]) / 6, (columns[-1] - columns[0]) / 6
            assert abs(height - int(facts["height"])) < 0.9 and abs(width - int(facts["width"])) < 0.9
            filled = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean()
            assert (filled > 0.9) == (facts["shape"] == "rectangle")


def test_puzzle_cells_have_their_colors(every):
    for level in LEVELS:
        for sample in every["puzzle", level]:
            facts, array = sample.record.meta["facts"], sample.media[0].array
            cells = {k: v for k, v in facts.items() if re.fullmatch("[a-d][1-4]", k)}
            side = round(len(cells) ** 0.5)
            assert side == {1: 2, 2: 3, 3: 3, 4: 3, 5: 4, 6: 4}[level]
            for key, color in cells.items():
                row, column = (int((i + 0.5) * 64 / side) for i in ("abcd".index(key[0]), int(key[1]) - 1))
                expected = (255, 255, 255) if color == "?" else render.COLORS[color]
                assert tuple(array[row, column]) == expected


# --- answers from what is seen


def answer_again(record):
    """The answer from the question's words and the facts that can be seen, written a second time."""
    facts, text = record.meta["facts"], record.question
    values = {c: int(v) for c, v in facts.items() if c in render.COLORS}
    named = [w.strip("?.") for w in text.split() if w.strip("?.") in render.COLORS]
    if "value" in text:
        return [str(values[named[0]])]
    if "sum" in text:
        return [str(values[named[0]] + values[named[1]])]
    if "minus" in text:
        return [str(values[named[0]] - values[named[1]])]
    if "mean" in text:
        return [f"{sum(values[n] for n in named) / 2:.1f}"]
    if "of these" in text:
        return [max(record.options, key=values.get)]
    if "highest" in text or "lowest" in text:
        return [(max if "highest" in text else min)(values, key=values.get)]
    if "List" in text:
        return sorted(values, key=values.get)
    if "higher than" in text:
        return [str(sum(v > int(text.rstrip("?").split()[-1]) for v in values.values()))]
    return answer_geometry(record)


def answer_geometry(record):
    facts, text = record.meta["facts"], record.question
    cells = [v for k, v in facts.items() if re.fullmatch("[a-d][1-4]", k)]
    if "missing" in text:
        side = round(len(cells) ** 0.5)
        row = cells[cells.index("?") // side * side :][:side]
        return sorted(set(cells) - {"?"} - set(row))
    if "cells" in text:
        return [str(cells.count(text.split()[-1].rstrip("?")))]
    width, height = int(facts["width"]), int(facts["height"])
    triangle = facts["shape"] == "triangle"
    area = f"{width * height / 2:.1f}" if triangle else str(width * height)
    return [{"width": str(width), "height": str(height), "area": area, "perimeter": str(2 * (width + height))}[text.split()[3]]]


def test_answers_follow_from_the_facts(every):
    kinds = Counter()
    for (family, _), samples in every.items():
        for record in [s.record for s in samples if family != "perceive"]:
            assert answer_text(record) == answer_again(record), record
            kinds[record.answer_type] += 1
    assert set(kinds) == {"integer", "float", "choice", "text", "list"}


def test_records_are_valid_and_carry_mathvista_s_fields(every):
    for (family, level), samples in every.items():
        for sample in samples:
            record = Record.from_json(json.loads(json.dumps(sample.record.to_json())))
            assert record == sample.record
            assert (record.meta["family"], record.meta["level"], record.source) == (family, level, "world/vision")
            assert {"category", "context", "grade", "language", "skills", "source", "task"} <= set(record.meta)
            assert all(record.meta["facts"][s.text.partition(":")[0]] == s.value for s in record.steps)
            assert all(s.parents for s in record.steps if s.kind == "reasoning") and record.steps[0].kind == "perception"
            assert (record.answer_type == "float") == (record.precision is not None)
            assert sample.media[0].array.shape == (64, 64, 3) and sample.media[0].array.dtype == np.uint8


def test_charts_are_noted_in_reading_order_and_what_is_asked_is_kept_on_the_way(every):
    for (family, level), samples in every.items():
        for record in [s.record for s in samples]:
            assert step_kinds(record, [s.text for s in record.steps]) == [s.kind for s in record.steps]
            if family not in CHARTS:
                continue
            noted = [s.text for s in record.steps if s.kind == "perception"]
            assert noted == [f"{k}: {v}" for k, v in record.meta["facts"].items() if k in render.COLORS] and len(noted) >= level
            asked = set(re.findall(r"\w+", record.question)) & set(render.COLORS)
            kept = [(s.text.partition(":")[0], record.steps[i - 1]) for i, s in enumerate(record.steps) if s.text.startswith(("first", "second"))]
            assert [key for key, _ in kept] == ["first", "second"][: len(asked)]
            assert {before.text.partition(":")[0] for _, before in kept} == asked


def test_gold_verifies_and_every_change_is_caught(every):
    world = VisionWorld()
    for samples in every.values():
        record = samples[0].record
        verdict = world.verify(record, protocol.completion(record))
        assert verdict.answer_ok and verdict.format_ok and verdict.process_accuracy == 1.0 and verdict.first_error is None
        for i, step in enumerate(record.steps):
            bad = copy.deepcopy(record)
            key, _, value = step.text.partition(": ")
            bad.steps[i].text = f"{key}: {value[:-1]}{'x' if value[-1] != 'x' else 'y'}"
            assert world.verify(record, protocol.completion(bad)).first_error == i
        bad = copy.deepcopy(record)
        bad.answer = [next(x for x in LETTERS if x not in record.answer)] if record.options else ["0", "0"]
        assert not world.verify(record, protocol.completion(bad)).answer_ok


def test_more_is_shown_at_every_level(every):
    """Charts show one thing more each level (a pie at most six slices), puzzles grow from four cells to sixteen, sides get longer."""
    shown = {k: [sum(c in render.COLORS for c in every[k, level][0].record.meta["facts"]) for level in LEVELS] for k in CHARTS}
    assert shown["bar"] == shown["line"] == shown["table"] == [2, 3, 4, 5, 6, 7] and shown["pie"] == [2, 3, 4, 5, 6, 6]
    assert len(LEVELS) >= 5


# --- seeds and splits


def test_same_arguments_same_bytes():
    for level in LEVELS:
        one, two = (VisionWorld().sample(level, (3, level), "dev") for _ in range(2))
        assert json.dumps(one.record.to_json()) == json.dumps(two.record.to_json())
        assert one.media[0].array.tobytes() == two.media[0].array.tobytes()
        assert one.record.id != VisionWorld().sample(level, (4, level), "dev").record.id


def test_splits_never_share_a_picture(unrendered):
    """Two bars of eight colours and nine numbers are 4,536 pictures, so level 1 would leak if anything did."""
    groups = {s: {VisionWorld().sample(1 + i % 2, (s, i), s).record.group for i in range(300)} for s in ("train", "dev", "test")}
    assert all(split_of(g) == s for s, members in groups.items() for g in members)
    assert not groups["train"] & groups["dev"] and not groups["train"] & groups["test"] and not groups["dev"] & groups["test"]


def test_the_group_is_the_picture_whatever_is_asked(every):
    by_picture = {}
    for samples in every.values():
        for sample in samples:
            assert by_picture.setdefault(sample.media[0].array.tobytes(), sample.record.group) == sample.record.group


def test_unknown_family_and_level_are_named():
    with pytest.raises(ValueError, match="unknown family 'bars'"):
        VisionWorld(["bars"])
    with pytest.raises(ValueError, match="level 7 is not one of 1-6"):
        VisionWorld().sample(7, 0)


# --- balance


def test_a_reader_without_the_picture_is_at_chance(unrendered):
    """22,000 items, more than 4,000 of them choices: at most chance + 3 points on those, at most 0.20 on open answers."""
    world = VisionWorld()
    records = [world.sample(1 + i % 6, ("blind", i)).record for i in range(22_000)]
    choices, free = [r for r in records if r.options], [r for r in records if not r.options]
    assert len(choices) >= 4000
    chance = np.mean([1 / len(r.options) for r in choices])
    scores = {view.__name__: (guess(choices, view), guess(free, view)) for view in (by_template, by_options, by_text)}
    assert all(lettered <= chance + 0.03 and opened <= 0.20 for lettered, opened in scores.values()), (scores, chance)
