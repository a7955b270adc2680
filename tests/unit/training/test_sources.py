"""From the sources of a recipe to items: what a recipe may ask of worlds and readers, and how a wrong request is named."""

import json

import numpy as np
import pytest

from configs.schema import DataConfig, SourceConfig
from data.media import write_media
from data.record import answer_text
from data.stream import ItemError, RecordSource, WorldSource
from models.media import Media
from training.sources import build_source, read_records


class Recipe:
    """As much of a recipe as sources read."""

    def __init__(self, root, **sources):
        self.seed = 0
        self.data = DataConfig(root=str(root), sources={name: SourceConfig(**source) for name, source in sources.items()})


@pytest.fixture
def folder(tmp_path):
    for i in range(4):
        write_media(tmp_path / str(i), Media("audio", np.full(200, i / 10, np.float32), 16_000.0))
    rows = [
        {"id": f"r{i}", "question": "q", "answer": ["a"], "answer_type": "text", "media": [{"kind": "audio", "path": f"{i}.wav"}], "split": split}
        for i, split in enumerate(["train", "train", "test", ""])
    ]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_records_of_the_split_or_of_none_below_the_data_root(folder):
    recipe = Recipe(folder, mine={"reader": "jsonl", "path": "records.jsonl"}, few={"reader": "jsonl", "path": "records.jsonl", "limit": 1})
    assert [r.id for r in read_records(recipe, recipe.data.sources["mine"])] == ["r0", "r1", "r3"]
    assert [r.id for r in read_records(recipe, recipe.data.sources["few"])] == ["r0"]
    source = build_source(recipe, "mine", 0)
    assert isinstance(source, RecordSource)
    sample = source.item(0)
    assert sample.media[0].array.size == 200


def test_media_that_are_not_there_are_named(folder):
    (folder / "0.wav").unlink()
    source = build_source(Recipe(folder, mine={"reader": "jsonl", "path": "records.jsonl", "limit": 1}), "mine", 0)
    with pytest.raises(ItemError, match="no such file") as caught:
        source.item(0)
    assert caught.value.id == "r0" and caught.value.file == str(folder / "0.wav")


def test_worlds(tmp_path):
    source = build_source(Recipe(tmp_path, easy={"world": "audio", "level": {1: 1, 2: 1}, "families": ["order"]}), "easy", 0)
    assert isinstance(source, WorldSource)
    assert source.item(3).record.meta["family"] == "order"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"reader": "jsonl", "path": "none.jsonl"}, "no records file"),
        ({"reader": "jsno", "path": "records.jsonl"}, "unknown reader 'jsno'; did you mean"),
        ({"reader": "esc10", "path": ".", "options": {"fold": [1]}}, r"reader 'esc10' has no option 'fold' \(options: folds\)"),
        ({"world": "audoi"}, "unknown world 'audoi'"),
        ({"world": "audio", "level": 99}, "level 99 is not one of"),
    ],
)
def test_wrong_requests_are_named(folder, source, message):
    with pytest.raises(ValueError, match=message):
        build_source(Recipe(folder, mine=source), "mine", 0)


def test_a_split_without_records_is_named(folder):
    lines = (folder / "records.jsonl").read_text().splitlines()
    (folder / "split.jsonl").write_text("\n".join(lines[:3]))
    with pytest.raises(ValueError, match="no record with split 'dve'"):
        build_source(Recipe(folder, mine={"reader": "jsonl", "path": "split.jsonl", "split": "dve"}), "mine", 0)


def test_unknown_sources_are_named(folder):
    with pytest.raises(ValueError, match="no source is called 'mien'"):
        build_source(Recipe(folder, mine={"world": "audio"}), "mien", 0)


# --- transforms


def choice(id, question="What did she do?"):
    options = {"options": ["sat", "ran", "slept"], "answer": ["B"], "answer_type": "choice"}
    return {"id": id, "question": question, "media": [{"kind": "audio", "path": "0.wav"}], **options}


def transforms_of(folder, *lines, rows=None):
    (folder / "choices.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows or [choice(f"c{i}") for i in range(200)]))
    recipe = Recipe(folder, mine={"reader": "jsonl", "path": "choices.jsonl", "transforms": list(lines)})
    return build_source(recipe, "mine", 0).records


def test_a_share_of_the_records_is_transformed_the_same_ones_each_time(folder):
    """Half of 200, give or take four standard deviations; all of them where no chance is given."""
    records = transforms_of(folder, {"name": "invert", "chance": 0.5})
    inverted = [r.id for r in records if r.id.endswith("/inverted")]
    assert len(records) == 200 and 72 <= len(inverted) <= 128
    assert inverted == [r.id for r in transforms_of(folder, {"name": "invert", "chance": 0.5}) if r.id.endswith("/inverted")]
    everything = transforms_of(folder, {"name": "invert"})
    assert all(r.question == "What didn't she do?" and r.answer_type == "choices" and r.answer for r in everything)


def test_a_record_that_a_transform_does_not_fit_stays(folder):
    (record,) = transforms_of(folder, {"name": "invert"}, rows=[choice("c", "Name it.")])
    assert (record.id, record.question, record.answer) == ("c", "Name it.", ["B"])


def test_worlds_are_transformed_too(tmp_path):
    plain = Recipe(tmp_path, easy={"world": "audio", "level": 2, "families": ["compare"]})
    changed = Recipe(tmp_path, easy={"world": "audio", "level": 2, "families": ["compare"], "transforms": [{"name": "invert"}]})
    for number in range(5):
        before, after = (build_source(r, "easy", 0).item(number) for r in (plain, changed))
        np.testing.assert_array_equal(before.media[0].array, after.media[0].array)
        assert after.record.id == f"{before.record.id}/inverted" and "isn't" in after.record.question
        assert not set(after.record.options[ord(letter) - 65] for letter in after.record.answer) & set(answer_text(before.record))


def test_another_split_stands_in_for_the_source_own(tmp_path):
    recipe = Recipe(tmp_path, easy={"world": "audio", "level": 2, "families": ["compare"], "transforms": [{"name": "invert"}]})
    assert {build_source(recipe, "easy", 0, split).item(0).record.split for split in (None, "dev")} == {"train", "dev"}
    assert recipe.data.sources["easy"].split == "train"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"name": "invrt"}, "unknown transform 'invrt'; did you mean 'invert'"),
        ({"chance": 0.5}, "needs a name"),
        ({"name": "invert", "chance": 2}, r"chance 2 is not within \[0, 1\]"),
        ({"name": "invert", "share": 0.5}, "'invert' has no option 'share'"),
    ],
)
def test_wrong_transforms_are_named(folder, line, message):
    with pytest.raises(ValueError, match=message):
        transforms_of(folder, line)
