"""The items of an evaluation through a model, once as they are and once per control, batch by batch, each medium decoded once.

Batches are laid out over all items before anything is asked: which items share a batch does not depend on where an earlier attempt was killed.
Passes share decoded media, the features of encoders that keep them, and within a batch the answer to the very same question (blank media of one
size), but no key-value prefix: media stand ahead of the text and differ between passes, and where they do not (shuffled options) the sampler's shared
prefix, one whole prompt under many continuations, has no place for two endings of it.
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from data.record import Record
from eval.answering import Answered, Answerer, Asked
from eval.benchmarks.base import Benchmark, Graded
from eval.item_log import ItemLog
from models.media import Media

CACHE_BYTES = 512 * 1024**2
BAD_MEDIA = "bad_media"


class MediaStore:
    """Decoded media of records, the latest kept up to `CACHE_BYTES`. `settings`: the fields of `MediaSpec`."""

    def __init__(self, settings: dict[str, Any], max_bytes: int = CACHE_BYTES):
        self.settings, self.max_bytes, self.used, self.decoded = settings, max_bytes, 0, 0
        self._kept: collections.OrderedDict[str, list[Media]] = collections.OrderedDict()

    def get(self, record: Record) -> list[Media]:
        """The media of a record in order; a bad file raises `MediaError` (a `ValueError`) naming it."""
        from data.media import decode_ref

        if record.id in self._kept:
            self._kept.move_to_end(record.id)
            return self._kept[record.id]
        media = [decode_ref(ref, self.settings) for ref in record.media]
        self.decoded += 1
        self._kept[record.id] = media
        self.used += _bytes(media)
        while self.used > self.max_bytes and len(self._kept) > 1:
            self.used -= _bytes(self._kept.popitem(last=False)[1])
        return media


@dataclasses.dataclass
class Pass:
    """One way of asking all items: which record and which media stand in for each, the log of its rows, and who answers where it is somebody
    else than in the other passes."""

    name: str
    log: ItemLog
    record: Callable[[Record], Record]
    media: Callable[[Record], list[Media] | None]
    answerer: Answerer | None = None


def run_passes(
    benchmark: Benchmark, protocol: str, records: Sequence[Record], passes: Sequence[Pass], answerer: Answerer, batch_size: int,
    instruction: str = "", on_bad: Callable[[Record, str], None] = lambda record, reason: None, progress: Callable[[int], None] = lambda done: None,
) -> None:  # fmt: skip
    """Fill the log of every pass. `on_bad` hears of each item whose media are bad, once; `progress` of the items done."""
    for batch in batches(records, batch_size):
        for turn in passes:
            if all(r.id in turn.log.rows for r in batch):
                continue
            rows = _ask(benchmark, protocol, batch, turn, turn.answerer or answerer, instruction)
            fresh = [row for row in rows if row["id"] not in turn.log.rows]
            turn.log.append(fresh)
            if turn is passes[0]:
                by_id = {r.id: r for r in batch}
                for row in fresh:
                    if row["reason"] == BAD_MEDIA:
                        on_bad(by_id[row["id"]], row["completion"])
        progress(len(batch))


def batches(records: Sequence[Record], size: int) -> list[list[Record]]:
    """Items of like kind and length beside each other, so that little is padded and a batch ends together."""
    ordered = sorted(records, key=lambda r: (tuple(ref.kind for ref in r.media), len(r.question) + sum(map(len, r.options or [])), r.question, r.id))
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def item_row(benchmark: Benchmark, record: Record, answered: Answered, protocol: str) -> dict[str, Any]:
    """What is kept of one answered item."""
    if answered.error is not None:
        graded, text = Graded(False, 0.0, BAD_MEDIA, None), answered.error
    else:
        graded, text = benchmark.judge(record, answered.completion, protocol), answered.completion
    verdict = graded.verdict
    row = {
        "id": record.id, "correct": bool(graded.correct), "extracted": graded.extracted, "reason": graded.reason, "partial": round(graded.partial, 6),
        "completion": text, "steps": list(verdict.steps) if verdict else [], "format_ok": verdict.format_ok if verdict else None,
        "process_accuracy": round(verdict.process_accuracy, 6) if verdict else None, "counted": graded.counted, "group": record.group or record.id,
        "tokens": {"sequential": answered.sequential, "total": answered.total, "scorer_total": answered.scorer_total}, "finished": answered.finished,
    }  # fmt: skip
    for key in ("family", "level", "true_count"):
        if key in record.meta:
            row[key] = record.meta[key]
    if answered.trace is not None:
        row["trace"] = answered.trace
    return row


def graded_of(row: dict[str, Any]) -> Graded:
    """The judgement that a row keeps."""
    return Graded(row["correct"], row["partial"], row["reason"], row["extracted"], None, row["counted"])


def _ask(benchmark: Benchmark, protocol: str, batch: Sequence[Record], turn: Pass, answerer: Answerer, instruction: str) -> list[dict[str, Any]]:
    """Rows of one batch; items without a stand-in (a control that has none for them) give no row's worth of asking but a row that is not counted."""
    asked, answers = [], {}
    for original in batch:
        record = turn.record(original)
        try:
            media = turn.media(original)
        except (ValueError, OSError) as error:
            answers[original.id] = Answered("", error=str(error))
            continue
        if media is not None:
            turn_text = benchmark.prompt(record, protocol, instruction)
            asked.append(Asked(record, answerer.chat(turn_text), media, turn_text))
    for item, answered in zip(asked, answerer.answer(asked) if asked else [], strict=True):
        answers[item.record.id] = answered
    rows = []
    for original in batch:
        if original.id in answers:
            rows.append(item_row(benchmark, turn.record(original), answers[original.id], protocol))
        else:
            rows.append(item_row(benchmark, original, Answered("", error="no other item can lend its media"), protocol) | {"counted": False})
    return rows


def _bytes(media: Sequence[Media]) -> int:
    return sum(m.array.nbytes for m in media)
