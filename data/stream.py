"""An endless, seeded stream of training items: what item i is follows from (seed, i) alone, so that worker counts, prefetching and a crash change
nothing.

A mixture is laid out in blocks: each block holds every source in proportion to its weight, in an order drawn for that block. So item i knows its
source and its number within that source without counting, a resumed stream needs only its position, and a source of files goes through all of them
before it repeats one.
"""

import dataclasses
import functools
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from data.record import Record
from data.worlds.base import Sample, World, generator

BLOCK = 1000  # items of a mixture block; weights are kept to one part in this


class Source(Protocol):
    def item(self, number: int) -> Sample:
        """The item of this number; the same number gives the same item. Raises `ItemError` (or another `ValueError`) where its medium is bad."""


class ItemError(ValueError):
    """An item whose record is known but whose media cannot be used: its id, and the file at fault."""

    def __init__(self, record: Record, error: Exception):
        super().__init__(f"{type(error).__name__}: {error}")
        self.id, self.file = record.id, file_at_fault(record, error)


def file_at_fault(record: Record, error: Exception) -> str:
    """Which of a record's media an error is about: the one it carries, the one its text names, else the first."""
    paths = [ref.path for ref in record.media]
    carried = getattr(error, "file", None)
    return carried or next((path for path in paths if path in str(error)), paths[0] if paths else "")


@dataclasses.dataclass
class WorldSource:
    """Fresh items of a world; `levels` maps a level to its weight. No number gives the item of another."""

    world: World
    levels: Mapping[int, float]
    split: str = "train"
    seed: object = 0

    def __post_init__(self):
        for level, weight in self.levels.items():
            if level not in self.world.levels:
                known = f"{self.world.levels[0]}-{self.world.levels[-1]}"
                raise ValueError(f"world {self.world.name!r}: level {level} is not one of {known}")
            if not (weight >= 0 and math.isfinite(weight)):
                raise ValueError(f"world {self.world.name!r}: level {level} has weight {weight}, which must be at least 0")
        if not sum(self.levels.values()):
            raise ValueError(f"world {self.world.name!r}: no level has a weight")

    def item(self, number: int) -> Sample:
        rng = generator(self.seed, "level", number)
        weights = np.array(list(self.levels.values()), dtype=float)
        level = list(self.levels)[int(rng.choice(len(weights), p=weights / weights.sum()))]
        return self.world.sample(level, (self.seed, number), self.split)


@dataclasses.dataclass
class RecordSource:
    """Records with media files: each epoch goes through all of them in an order of its own. `decode` turns a record into a sample."""

    records: Sequence[Record]
    decode: Callable[[Record], Sample]
    seed: object = 0

    def __post_init__(self):
        if not self.records:
            raise ValueError("a source of records holds no record")

    def item(self, number: int) -> Sample:
        epoch, place = divmod(number, len(self.records))
        record = self.records[_permutation(self.seed, epoch, len(self.records))[place]]
        try:
            return self.decode(record)
        except (ValueError, OSError) as error:
            raise ItemError(record, error) from error


@functools.lru_cache(maxsize=64)
def _permutation(seed: object, epoch: int, count: int) -> np.ndarray:
    return generator(seed, "epoch", epoch).permutation(count)


class Mixture:
    """Item i of several sources in proportion to their weights."""

    def __init__(self, sources: Mapping[str, Source], weights: Mapping[str, float], seed: int):
        if not weights or not all(w >= 0 and math.isfinite(w) for w in weights.values()) or not sum(weights.values()):
            raise ValueError(f"mixture weights must be numbers of at least 0, one of them more: {dict(weights)}")
        if missing := sorted(set(weights) - set(sources)):
            raise ValueError(f"mixture names {missing[0]!r}, which is no source (sources: {', '.join(sources)})")
        self.names = [name for name, weight in weights.items() if weight > 0]
        self.sources, self.seed = sources, seed
        total = sum(weights.values())
        exact = [weights[name] / total * BLOCK for name in self.names]
        self.quota = [math.floor(x) for x in exact]
        by_rest = sorted(range(len(exact)), key=lambda k: self.quota[k] - exact[k])
        for k in by_rest[: BLOCK - sum(self.quota)]:
            self.quota[k] += 1
        if 0 in self.quota:
            name = self.names[self.quota.index(0)]
            raise ValueError(f"mixture gives {name!r} less than one item in {2 * BLOCK}: it would never be drawn; raise its weight or leave it out")
        self._block: tuple[int, np.ndarray, np.ndarray] | None = None

    def place(self, index: int) -> tuple[str, int]:
        """(source, number within that source) of item `index`."""
        block, offset = divmod(index, BLOCK)
        if self._block is None or self._block[0] != block:
            order = generator(self.seed, "mixture", block).permutation(np.repeat(np.arange(len(self.names)), self.quota))
            rank = np.zeros(BLOCK, dtype=int)
            for k in range(len(self.names)):
                rank[order == k] = np.arange(self.quota[k])
            self._block = (block, order, rank)
        _, order, rank = self._block
        source = int(order[offset])
        return self.names[source], block * self.quota[source] + int(rank[offset])

    def item(self, index: int) -> Sample:
        source, number = self.place(index)
        return self.sources[source].item(number)


@dataclasses.dataclass(slots=True)
class Failure:
    """An item that could not be made: it is left out and put into the quarantine ledger, never replaced by another."""

    id: str
    file: str
    reason: str
    trace: str


class Stream:
    """Batches of encoded items. Iterating yields `(batch, failures)`, where batch is `collate(list of encode(sample))`, or None where every item
    failed.

    `encode` runs in the workers. `state_dict` is the number of batches handed out; loading it continues with the next one, whatever the number of
    workers.
    """

    def __init__(
        self,
        mixture: Mixture,
        batch_size: int,
        encode: Callable[[Sample], Any],
        collate: Callable[[list], Any],
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        if batch_size % world_size:
            raise ValueError(f"batch_size {batch_size} is not a multiple of the {world_size} processes that share it")
        self.mixture, self.batch_size, self.encode, self.collate, self.num_workers = mixture, batch_size, encode, collate, num_workers
        self.rank, self.world_size, self.position = rank, world_size, 0

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position, "batch_size": self.batch_size}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        if state["batch_size"] != self.batch_size:
            raise ValueError(
                f"the checkpoint's batch size is {state['batch_size']}, the recipe's {self.batch_size}: a stream resumes only at the same one"
            )
        self.position = state["position"]

    def __iter__(self) -> Iterator[tuple[Any, list[Failure]]]:
        import torch
        from torch.utils.data import DataLoader

        items: Any = _Items(self.mixture, self.encode)
        options: dict[str, Any] = {"multiprocessing_context": "fork", "prefetch_factor": 4, "worker_init_fn": _one_thread} if self.num_workers else {}
        loader: Any = DataLoader(
            items, batch_sampler=_Batches(self.position, self.batch_size, self.rank, self.world_size), num_workers=self.num_workers,
            collate_fn=functools.partial(_split, collate=self.collate), generator=torch.Generator().manual_seed(0), **options,
        )  # fmt: skip
        for result in loader:
            self.position += 1
            yield result


class _Items:
    """Map-style data set over all numbers: the media worker boundary."""

    def __init__(self, mixture: Mixture, encode: Callable[[Sample], Any]):
        self.mixture, self.encode = mixture, encode

    def __len__(self) -> int:
        return 1 << 62

    def __getitem__(self, index: int) -> Any:
        sample = None
        try:
            sample = self.mixture.item(index)
            return self.encode(sample)
        except (AssertionError, ImportError):  # ours, and a package that is not installed: no item would work
            raise
        except ItemError as error:
            return Failure(error.id, error.file, str(error), traceback.format_exc())
        except Exception as error:  # noqa: BLE001 - the media worker boundary
            name = sample.record.id if sample else f"item {index}"
            file = file_at_fault(sample.record, error) if sample else ""
            return Failure(name, file, f"{type(error).__name__}: {error}", traceback.format_exc())


class _Batches:
    """Endless batches of item numbers, from a batch number on; each process takes its share of every batch."""

    def __init__(self, start: int, size: int, rank: int, world_size: int):
        self.start, self.size, self.rank, self.world_size = start, size, rank, world_size

    def __iter__(self) -> Iterator[list[int]]:
        batch = self.start
        while True:
            yield list(range(batch * self.size + self.rank, (batch + 1) * self.size, self.world_size))
            batch += 1


def _one_thread(_: int) -> None:
    import torch

    torch.set_num_threads(1)


def _split(items: list[Any], collate: Callable[[list], Any]) -> tuple[Any, list[Failure]]:
    good = [item for item in items if not isinstance(item, Failure)]
    return (collate(good) if good else None), [item for item in items if isinstance(item, Failure)]
