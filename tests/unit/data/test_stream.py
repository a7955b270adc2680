"""The stream: item i follows from (seed, i) alone, so workers, crashes and neighbours change nothing; bad items are left out, never replaced."""

import dataclasses
import functools
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from data.media import Quarantine, decode_ref, write_media
from data.record import MediaRef, Record
from data.stream import BLOCK, Failure, Mixture, RecordSource, Stream, WorldSource
from data.worlds.audio import AudioWorld
from data.worlds.base import Sample
from models.media import Media, MediaSpec

SETTINGS = dataclasses.asdict(MediaSpec())


@dataclasses.dataclass
class Numbers:
    """A source whose item n says its name and n."""

    name: str

    def item(self, number):
        return Sample(Record(f"{self.name}{number}", "q", ["a"], "text"), [])


def name_of(sample):
    return sample.record.id


def batches(stream, count):
    out = []
    for result in stream:
        out.append(result)
        if len(out) == count:
            return out


def mixture(seed=0, **weights):
    return Mixture({name: Numbers(name) for name in weights}, weights, seed)


def records(count):
    return [Record(f"r{i}", "q", ["a"], "text") for i in range(count)]


def plain(record):
    return Sample(record, [])


# --- mixtures


@pytest.mark.parametrize(
    "weights", [{"a": 1}, {"a": 3, "b": 1}, {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 1, "b": 1, "c": 1}, {"a": 5, "b": 0, "c": 0.01}]
)
def test_proportions_are_exact_in_every_block(weights):
    mixed, total = mixture(**weights), sum(weights.values())
    for block in (0, 1, 7):
        counts = Counter(mixed.place(i)[0] for i in range(block * BLOCK, (block + 1) * BLOCK))
        assert sum(counts.values()) == BLOCK
        for name, weight in weights.items():
            assert abs(counts[name] - BLOCK * weight / total) < 1


def test_thirds_by_hand():
    """1000 = 333 + 333 + 334: what is left over goes to the largest remainder, and all three have the same, so to the first."""
    assert mixture(a=1, b=1, c=1).quota == [334, 333, 333]


def test_every_source_counts_on_without_gap_or_repeat():
    mixed = mixture(a=2, b=1)
    seen = {"a": [], "b": []}
    for i in range(3 * BLOCK):
        name, number = mixed.place(i)
        seen[name].append(number)
    assert all(numbers == list(range(len(numbers))) for numbers in seen.values())


def test_order_differs_from_block_to_block_and_seed_to_seed():
    def order(seed, block):
        return [mixture(seed, a=1, b=1).place(block * BLOCK + i)[0] for i in range(60)]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1) and order(0, 0) != order(1, 0)


def test_places_do_not_depend_on_what_was_asked_before():
    one, other = mixture(a=1, b=2), mixture(a=1, b=2)
    wanted = [5, 2500, 6, 1999, 7]
    assert {i: one.place(i) for i in wanted} == {i: other.place(i) for i in reversed(wanted)}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "at least 0"),
        ({"a": -1, "b": 2}, "at least 0"),
        ({"a": 0}, "at least 0"),
        ({"a": float("nan")}, "at least 0"),
        ({"a": 1, "b": 1e-5}, "'b' less than one item"),
    ],
)
def test_impossible_mixtures(weights, message):
    with pytest.raises(ValueError, match=message):
        mixture(**weights)


def test_unknown_sources_are_named():
    with pytest.raises(ValueError, match=r"'sond', which is no source \(sources: sound\)"):
        Mixture({"sound": Numbers("s")}, {"sond": 1}, 0)


# --- sources


def test_an_epoch_of_records_holds_each_once_in_an_order_of_its_own():
    source = RecordSource(records(37), plain, seed=3)
    epochs = [[name_of(source.item(e * 37 + i)) for i in range(37)] for e in range(3)]
    assert all(sorted(epoch) == sorted(r.id for r in source.records) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] == [name_of(RecordSource(records(37), plain, seed=3).item(i)) for i in range(37)]


def test_records_in_a_mixture_do_not_repeat_within_an_epoch():
    mixed = Mixture({"a": RecordSource(records(250), plain), "b": Numbers("b")}, {"a": 0.4, "b": 0.6}, 0)
    ids = [i for i in (name_of(mixed.item(n)) for n in range(1250)) if i.startswith("r")]
    first = ids[:250]
    assert len(set(first)) == 250


def test_a_source_without_records():
    with pytest.raises(ValueError, match="no record"):
        RecordSource([], plain)


def test_world_items_follow_from_seed_and_number():
    source = WorldSource(AudioWorld(), {1: 1.0, 2: 3.0}, "train", seed=("x", 1))
    one, again = source.item(5), WorldSource(AudioWorld(), {1: 1.0, 2: 3.0}, "train", seed=("x", 1)).item(5)
    assert one.record == again.record
    np.testing.assert_array_equal(one.media[0].array, again.media[0].array)
    assert one.record.split == "train"
    levels = Counter(source.item(i).record.meta["level"] for i in range(200))
    assert set(levels) == {1, 2} and 120 < levels[2] < 175  # 150 expected, standard deviation 6
    assert len({source.item(i).record.id for i in range(50)}) == 50


@pytest.mark.parametrize(
    ("levels", "message"), [({99: 1.0}, "level 99 is not one of 1-6"), ({1: -1.0}, "weight -1.0"), ({1: 0.0}, "no level"), ({}, "no level")]
)
def test_impossible_levels(levels, message):
    with pytest.raises(ValueError, match=message):
        WorldSource(AudioWorld(), levels)


# --- streams


def encode_world(sample):
    return sample.record.id, float(sample.media[0].array.sum())


def world_stream(workers, seed=0):
    sources = {"easy": WorldSource(AudioWorld(), {1: 1.0}, seed=seed), "hard": WorldSource(AudioWorld(), {2: 1.0}, seed=seed)}
    return Stream(Mixture(sources, {"easy": 0.7, "hard": 0.3}, seed), 4, encode_world, list, workers)


def test_the_number_of_workers_changes_nothing():
    wanted = batches(world_stream(0), 8)
    assert batches(world_stream(2), 8) == wanted
    assert batches(world_stream(1, seed=1), 8) != wanted


@pytest.mark.parametrize(("before", "after"), [(0, 0), (0, 2), (2, 0)])
def test_a_resumed_stream_continues_exactly(before, after):
    whole = batches(world_stream(0), 7)
    first = world_stream(before)
    assert batches(first, 3) == whole[:3]
    second = world_stream(after)
    second.load_state_dict(first.state_dict())
    assert batches(second, 4) == whole[3:]


def test_the_state_counts_batches_handed_out_not_those_made_ahead():
    stream = world_stream(2)
    batches(stream, 3)
    assert stream.state_dict()["position"] == 3


def test_global_randomness_is_left_alone():
    import torch

    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    batches(world_stream(0), 2)
    assert torch.equal(torch.rand(3), wanted)


def test_another_batch_size_cannot_resume():
    stream = Stream(mixture(a=1), 4, name_of, list)
    with pytest.raises(ValueError, match="batch size is 8, the recipe's 4"):
        stream.load_state_dict({"position": 1, "batch_size": 8})


def test_processes_share_each_batch():
    whole = [batch for batch, _ in batches(Stream(mixture(a=1), 6, name_of, list), 3)]
    parts = [[batch for batch, _ in batches(Stream(mixture(a=1), 6, name_of, list, 0, rank, 3), 3)] for rank in range(3)]
    for k in range(3):
        assert sorted(item for part in parts for item in part[k]) == sorted(whole[k])
    with pytest.raises(ValueError, match="not a multiple of the 4 processes"):
        Stream(mixture(a=1), 6, name_of, list, 0, 0, 4)


# --- bad items


@pytest.fixture
def folder(tmp_path):
    """Twelve sounds: one empty, one cut off, one of noise bytes, one of a single sample, one of numbers that are none, one that is not there."""
    import soundfile

    for i in range(12):
        write_media(tmp_path / str(i), Media("audio", np.full(800, i / 100, np.float32), 16_000.0))
    (tmp_path / "1.wav").write_bytes(b"")
    (tmp_path / "3.wav").write_bytes((tmp_path / "3.wav").read_bytes()[:500])
    (tmp_path / "5.wav").write_bytes(np.random.default_rng(0).bytes(900))
    soundfile.write(tmp_path / "7.wav", np.zeros(1), 16_000)
    soundfile.write(tmp_path / "9.wav", np.full(800, np.nan), 16_000, subtype="FLOAT")
    (tmp_path / "11.wav").unlink()
    return tmp_path


BAD = {1: "empty", 3: "truncated", 5: "not a readable sound", 7: "1 audio samples", 9: "not finite", 11: "no such file"}


def decode_folder(record, folder):
    return Sample(record, [decode_ref(ref, SETTINGS, folder) for ref in record.media])


def level_of(sample):
    return round(float(sample.media[0].array[0]) * 100)


def folder_stream(folder, workers=0, encode=level_of, names=None):
    items = [Record(f"r{i}", "q", ["a"], "text", [MediaRef("audio", names[i] if names else f"{i}.wav")]) for i in range(12)]
    source = RecordSource(items, functools.partial(decode_folder, folder=folder))
    return Stream(Mixture({"mine": source}, {"mine": 1.0}, 0), 4, encode, list, workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_items_are_left_out_counted_and_never_replaced(folder, workers):
    """Three batches of four are an epoch: every good item comes once, every bad one is a failure with its id, file and reason."""
    epoch = batches(folder_stream(folder, workers), 3)
    assert sorted(item for batch, _ in epoch for item in batch or []) == [0, 2, 4, 6, 8, 10]
    assert all(len(batch or []) + len(failures) == 4 for batch, failures in epoch)
    failures = {f.id: f for _, some in epoch for f in some}
    assert set(failures) == {f"r{i}" for i in BAD}
    for i, reason in BAD.items():
        failure = failures[f"r{i}"]
        assert failure.file == f"{i}.wav"
        assert failure.reason.startswith("MediaError: ") and reason in failure.reason and f"{i}.wav" in failure.reason
        assert "Traceback" in failure.trace


def test_the_run_goes_on_until_the_ledger_is_full(folder, tmp_path):
    ledger = Quarantine(tmp_path / "q.jsonl", limit=6)
    for _, failures in batches(folder_stream(folder), 9):  # three epochs
        for f in failures:
            ledger.add(f.id, f.file, f.reason, f.trace)
    assert (ledger.count, ledger.met) == (6, 18)
    strict = Quarantine(tmp_path / "strict.jsonl", limit=5)
    with pytest.raises(ValueError, match="more than 5 bad items"):
        for _, failures in batches(folder_stream(folder), 3):
            for f in failures:
                strict.add(f.id, f.file, f.reason, f.trace)


def test_paths_that_lead_out_are_bad_items(folder):
    names = {i: f"../{folder.name}-other/{i}.wav" if i == 2 else f"{i}.wav" for i in range(12)}
    failures = {f.id: f for _, some in batches(folder_stream(folder, names=names), 3) for f in some}
    assert "leads out" in failures["r2"].reason and failures["r2"].file == names[2]


def test_an_item_that_cannot_be_encoded_names_its_file(folder):
    def encode(sample):
        if sample.record.id == "r2":
            raise ValueError("too long")
        return level_of(sample)

    failures = {f.id: f for _, some in batches(folder_stream(folder, encode=encode), 3) for f in some}
    assert (failures["r2"].file, failures["r2"].reason) == ("2.wav", "ValueError: too long")


def test_the_file_at_fault_is_named_among_several(folder):
    record = Record("r", "q", ["a"], "text", [MediaRef("audio", "0.wav"), MediaRef("audio", "3.wav"), MediaRef("audio", "4.wav")])
    source = RecordSource([record], functools.partial(decode_folder, folder=folder))
    ((batch, (failure,)),) = batches(Stream(Mixture({"a": source}, {"a": 1}, 0), 1, level_of, list), 1)
    assert batch is None  # a batch of which nothing is left
    assert (failure.id, failure.file) == ("r", "3.wav")


@pytest.mark.parametrize("error", [AssertionError, ImportError])
def test_our_own_faults_and_missing_packages_end_the_run(error):
    """They are no item's fault: every item would fail alike."""

    def encode(sample):
        raise error("ours")

    with pytest.raises(error, match="ours"):
        batches(Stream(mixture(a=1), 2, encode, list), 1)


def test_a_failure_without_a_record_is_named_by_its_number():
    broken = SimpleNamespace(item=lambda number: 1 / 0)
    (batch, failures) = batches(Stream(Mixture({"a": broken}, {"a": 1}, 0), 2, name_of, list), 1)[0]
    assert batch is None and [f.id for f in failures] == ["item 0", "item 1"]
    assert all(isinstance(f, Failure) and f.reason.startswith("ZeroDivisionError") for f in failures)
