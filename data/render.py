"""A world as files: real wav, png and mp4 media with their records. Evaluation goes through these, so that it tests the decoders too."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

from configs.registry import WORLDS
from data.media import write_media
from data.record import Record, read_jsonl, write_jsonl


def render(world: str, level: int, count: int, seed: int, split: str, out: str | Path, families: list[str] | None = None) -> list[Record]:
    """`count` items of a world written below `out`, with media paths that point at the files. Rendering the same again reads what is there.

    Item i depends on (seed, i) alone, so a longer set begins with the shorter one.
    """
    out = Path(out)
    request = {"world": world, "level": level, "count": count, "seed": seed, "split": split, "families": families}
    manifest = out / "manifest.json"
    if manifest.is_file() and json.loads(manifest.read_text()) == request:
        return list(read_jsonl(out / "records.jsonl"))
    source = WORLDS.get(world)(families)
    temporary = out.with_name(out.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    records = []
    for i in range(count):
        sample = source.sample(level, ("render", seed, i), split)
        refs = []
        for j, (ref, media) in enumerate(zip(sample.record.media, sample.media, strict=True)):
            file = write_media(temporary / "media" / f"{i:05d}-{j}", media)
            refs.append(dataclasses.replace(ref, path=str(out / file.relative_to(temporary))))
        records.append(dataclasses.replace(sample.record, id=f"{sample.record.id}-{i}", media=refs))
    write_jsonl(temporary / "records.jsonl", records)
    (temporary / "manifest.json").write_text(json.dumps(request))
    shutil.rmtree(out, ignore_errors=True)
    os.replace(temporary, out)
    return records
