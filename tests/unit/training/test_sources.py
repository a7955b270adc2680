"""From the sources of a recipe to items: what a recipe may ask of worlds and readers, and how a wrong request is named."""

import json

import numpy as np
import pytest

from configs.schema import DataConfig, SourceConfig
from data.media import write_media
from data.stream import ItemError, RecordSource, WorldSource
from models.media import Media
from training.sources import build_source, read_records


class Recipe:
    """As much of a recipe as sources read."""

    def __init__(self, root, **sources):
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
