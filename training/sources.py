"""From the sources of a recipe to objects that give items by number."""

import collections
import functools
import inspect
from pathlib import Path

from configs.registry import READERS, WORLDS
from configs.schema import Recipe, SourceConfig
from data.record import Record
from data.stream import RecordSource, WorldSource
from data.worlds.base import Sample


def build_source(recipe: Recipe, name: str, seed: object) -> WorldSource | RecordSource:
    """Source `name` of the recipe; an unknown one is a `ValueError` that lists those it has."""
    if name not in recipe.data.sources:
        raise ValueError(f"no source is called {name!r} (data.sources: {', '.join(recipe.data.sources)})")
    config = recipe.data.sources[name]
    if config.world is not None:
        levels = config.level if isinstance(config.level, dict) else {config.level: 1.0}
        return WorldSource(WORLDS.get(config.world)(config.families), levels, config.split, (seed, name))
    return RecordSource(read_records(recipe, config), functools.partial(decode_record, recipe=recipe), (seed, name))


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
