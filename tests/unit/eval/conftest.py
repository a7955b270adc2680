"""Questions about small pictures and sounds on disk, and an answerer that looks at what it is given: no model, no torch."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from data.media import write_media
from data.record import MediaRef, Record, Step, write_jsonl
from eval.answering import Answered
from eval.benchmarks.records import RecordsBenchmark
from models.media import Media

SHADES = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}
NAMES = list(SHADES)


def shade_of(array: np.ndarray) -> str:
    """The colour that a picture shows, `none` for grey: what a perfect observer reads from the pixels alone."""
    mean = array.reshape(-1, 3).mean(0)
    return NAMES[int(mean.argmax())] if mean.max() - mean.min() > 50 else "none"


class Looker:
    """Answers with the letter of the colour it sees, and `A` where it sees none. `wrong`: ids that it answers with the next option, `mute`: ids to
    which it gives no answer. Counts what it is asked; `die_after` batches it raises."""

    def __init__(self, wrong=(), mute=(), die_after=None):
        self.settings = {"strategy": "greedy", "scorer": None, "samples": 1, "temperature": 0.0, "max_new_tokens": 20, "seed": 0}
        self.wrong, self.mute, self.die_after, self.calls, self.asked = set(wrong), set(mute), die_after, 0, []

    def chat(self, user_turn):
        return f"<|user|>{user_turn}<|assistant|>"

    def answer(self, asked):
        if self.die_after is not None and self.calls >= self.die_after:
            raise KeyboardInterrupt
        self.calls += 1
        return [self._one(item) for item in asked]

    def _one(self, item):
        self.asked.append(item.record.id)
        options = item.record.options
        seen = shade_of(item.media[0].array)
        place = options.index(seen) if seen in options else 0
        place = (place + (item.record.id in self.wrong)) % len(options)
        if item.record.id in self.mute:
            return Answered("<think>colour: red", 3, 3, finished=False)
        return Answered(f"<think>colour: {seen}</think><answer>{'ABC'[place]}</answer><|end|>", 7, 7)


def order_of(i: int) -> list[str]:
    """The options of item i: an order that depends on its number alone."""
    digest = hashlib.sha256(str(i).encode()).digest()
    return sorted(NAMES, key=lambda name: digest[NAMES.index(name)])


def picture_records(folder: Path, count: int = 12, groups: int | None = None) -> list[Record]:
    """Item i shows colour i mod 3; its group is i, or i mod `groups`."""
    records = []
    for i in range(count):
        colour, options = NAMES[i % 3], order_of(i)
        path = write_media(folder / f"{i:03d}", Media("image", np.full((8, 8, 3), SHADES[colour], dtype=np.uint8)))
        records.append(
            Record(
                id=f"item-{i:03d}", question="Which colour is it?", answer=["ABC"[options.index(colour)]], answer_type="choice",
                media=[MediaRef("image", str(path))], options=options, steps=[Step(f"colour: {colour}", "perception", colour)], split="test",
                group=f"g{i if groups is None else i % groups}", meta={"family": "even" if i % 2 == 0 else "odd", "true_count": i % 3},
            )
        )  # fmt: skip
    return records


@pytest.fixture
def looker():
    return Looker


@pytest.fixture
def pictures(tmp_path):
    """Function: (count, groups) -> a benchmark over that many pictures on disk."""

    def build(count: int = 12, groups: int | None = None) -> RecordsBenchmark:
        from data.readers.jsonl import JsonlReader

        records = picture_records(tmp_path / "pictures", count, groups)
        path = tmp_path / "pictures.jsonl"
        write_jsonl(path, records)
        return RecordsBenchmark(path=path, source=JsonlReader)

    return build
