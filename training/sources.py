"""From the sources of a recipe to objects that give items by number."""

import collections
import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.registry import READERS, TRANSFORMS, WORLDS
from configs.schema import Recipe, SourceConfig
from data.record import Record
from data.stream import RecordSource, Source, WorldSource
from data.worlds.base import Sample, generator
from training.options import bind


def build_source(recipe: Recipe, name: str, seed: object, split: str | None = None) -> Source:
    """Source `name` of the recipe; an unknown one is a `ValueError` that lists those it has. `split` stands in for the source's own."""
    if name not in recipe.data.sources:
        raise ValueError(f"no source is called {name!r} (data.sources: {', '.join(recipe.data.sources)})")
    config = recipe.data.sources[name]
    config = config if split is None else config.model_copy(update={"split": split})
    transforms = [Transform.parse(line) for line in config.transforms]
    if config.world is not None:
        levels = config.level if isinstance(config.level, dict) else {config.level: 1.0}
        world = WorldSource(WORLDS.get(config.world)(config.families), levels, config.split, (seed, name))
        return TransformedSource(world, transforms, recipe.seed) if transforms else world
    records = [transformed(record, transforms, recipe.seed) for record in read_records(recipe, config)]
    return RecordSource(records, functools.partial(decode_record, recipe=recipe), (seed, name))


@dataclasses.dataclass
class Transform:
    """A function `(record, seed, **options) -> Record | None` that is tried on a share of the records. It is pure and calls no model; None says that
    it does not fit the record, which then stays as it was."""

    name: str
    function: Callable[..., Record | None]
    chance: float

    @classmethod
    def parse(cls, line: dict[str, Any]) -> "Transform":
        options = dict(line)
        name, chance = options.pop("name", None), options.pop("chance", 1.0)
        if name is None:
            raise ValueError(f"a transform needs a name: {line}")
        if not isinstance(chance, (int, float)) or not 0 <= chance <= 1:
            raise ValueError(f"transform {name!r}: chance {chance!r} is not within [0, 1]")
        return cls(name, bind(name, TRANSFORMS.get(name), options, given=2), chance)


def transformed(record: Record, transforms: list[Transform], seed: int) -> Record:
    """The record after its transforms. What happens to it follows from the recipe's seed and its id, so it is the same in every epoch and stage."""
    for t in transforms:
        if generator(seed, "transform", t.name, record.id).random() < t.chance:
            record = t.function(record, seed) or record
    return record


@dataclasses.dataclass
class TransformedSource:
    """Items of a world whose records were transformed; media stay."""

    source: Source
    transforms: list[Transform]
    seed: int

    def item(self, number: int) -> Sample:
        sample = self.source.item(number)
        return Sample(transformed(sample.record, self.transforms, self.seed), sample.media)


def read_records(recipe: Recipe, config: SourceConfig) -> list[Record]:
    """All records of a reader source with the wanted split. Unknown reader options and ids that come twice are `ValueError`s."""
    path = Path(config.path)
    path = path if path.is_absolute() or path.exists() else Path(recipe.data.root) / path
    make = READERS.get(config.reader)
    known = [name for name in inspect.signature(make).parameters if name != "path"]
    if unknown := sorted(set(config.options) - set(known)):
        raise ValueError(f"reader {config.reader!r} has no option {unknown[0]!r} (options: {', '.join(known) or 'none'})")
    reader = make(path, **config.options)
    records = [r for r in reader if not config.split or not r.split or r.split == config.split]
    twice = [id for id, count in collections.Counter(r.id for r in records).items() if count > 1]
    if twice:
        raise ValueError(f"reader {config.reader!r}: two records at {path} have the id {twice[0]!r}")
    if not records:
        raise ValueError(f"reader {config.reader!r} found no record with split {config.split!r} at {path}")
    return records[: config.limit]


def decode_record(record: Record, recipe: Recipe) -> Sample:
    from data.media import decode_ref

    return Sample(record, [decode_ref(ref, recipe.data.media.model_dump()) for ref in record.media])
