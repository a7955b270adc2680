"""Anybody's own questions: records from a reader (`records` reads JSONL, `records/mmau` the reader of that name), answered in our tags, graded
strictly."""

import itertools
from pathlib import Path
from typing import Any

from data.record import Record
from data.worlds.base import generator
from eval.benchmarks.base import Benchmark, Wanted


class RecordsBenchmark(Benchmark):
    """Options: `split` (only records of it, or of none), `axes` (keys of `meta` to break the score down by); all others go to the reader.

    With `n`, a subset drawn by the seed: the same one at every stage.
    """

    name = "records"
    axes: tuple[str, ...] = ("family", "level", "true_count", "task", "category", "difficulty")
    wants = "reader"

    def configure(self, split: str | None = None, axes: list[str] | None = None, **reader_options: Any) -> None:
        if self.path is None:
            raise ValueError("benchmark 'records' needs a path")
        self.split, self.reader_options = split, reader_options
        self.axes = tuple(axes) if axes is not None else type(self).axes

    def load(self, wanted: Wanted) -> list[Record]:
        records = [r for r in self.source(self.path, **self.reader_options) if not self.split or not r.split or r.split == self.split]
        if not records:
            raise ValueError(f"benchmark 'records': {self.path} holds no record" + (f" of split {self.split!r}" if self.split else ""))
        check_unique(records, self.path)
        check_files(records, self.path)
        kinds = {ref.kind for r in records for ref in r.media}
        self.modality = {"frames": "video"}.get(kind := next(iter(kinds)), kind) if len(kinds) == 1 else ("omni" if kinds else "text")
        if wanted.n is None or wanted.n >= len(records):
            return records
        kept = sorted(generator(wanted.seed, "subset").permutation(len(records))[: wanted.n].tolist())
        return [records[i] for i in kept]


def check_unique(records: list[Record], path: Path) -> None:
    """Two records of one id are a `ValueError` that names it."""
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise ValueError(f"{path}: two records have the id {record.id!r}")
        seen.add(record.id)


def check_files(records: list[Record], path: Path) -> None:
    """Every missing medium is listed before any work starts."""
    absent = [f"{r.id}: {ref.path}" for r in records for ref in r.media if not Path(ref.path).exists()]
    if absent:
        shown = list(itertools.islice(absent, 10))
        more = f" and {len(absent) - len(shown)} more" if len(absent) > len(shown) else ""
        raise ValueError(f"{path}: {len(absent)} media files are missing: {'; '.join(shown)}{more}")
