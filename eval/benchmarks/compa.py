"""CompA-order and CompA-attribute (arXiv 2310.08753): does a model tell a sound and its caption from their rearrangements? docs/benchmarks/compa.md.

An instance has K captions and K sounds, K = 2 or 3; a prediction is the K x K table of similarities, rows captions, columns sounds. Only strict
inequality wins; ties lose.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.record import Record
from eval.benchmarks.offline import Mark, OfflineBenchmark, Prediction, Problem

# Chance of independent continuous scores. Text and audio: each of the K columns (rows) puts its own entry first, (1/K)^K. Group: every diagonal
# entry beats its row and its column; counted over all orders of the K x K entries (tests/unit/eval/benchmarks/test_compa.py derives it).
CHANCE = {("text", 2): 1 / 4, ("audio", 2): 1 / 4, ("group", 2): 1 / 6, ("text", 3): 1 / 27, ("audio", 3): 1 / 27, ("group", 3): 1 / 60}


def text_score(table: Sequence[Sequence[float]]) -> bool:
    """For each sound its own caption scores highest."""
    return all(table[k][k] > table[j][k] for k in range(len(table)) for j in range(len(table)) if j != k)


def audio_score(table: Sequence[Sequence[float]]) -> bool:
    """For each caption its own sound scores highest."""
    return all(table[k][k] > table[k][j] for k in range(len(table)) for j in range(len(table)) if j != k)


class CompA(OfflineBenchmark):
    """Rows are `{id, scores}`. Gold is the release's CSV (`pair_file, pair_caption, reversed_pair_file, reversed_pair_caption`, with
    `triplet_file, triplet_caption` where there is a third); ids are row numbers from 0, or the column `id`."""

    modality = "audio"
    protocols = ("group", "text", "audio")
    axes = ("size",)
    payload_keys = ("scores",)
    page = "compa"

    def records(self, path: Path) -> tuple[list[Record], list[Problem]]:
        import csv

        records: list[Record] = []
        problems: list[Problem] = []
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines)):
                captions = [row.get(f"{part}_caption") for part in ("pair", "reversed_pair", "triplet")]
                captions = [c for c in captions if c and c.strip()]
                id = str(row.get("id") or number)
                if len(captions) < 2:
                    problems.append(Problem("gold_broken", id, "needs pair_caption and reversed_pair_caption"))
                    continue
                records.append(Record(id, " / ".join(captions), ["own"], "text", source=self.name, group=id, meta={"size": len(captions)}))
        return records, problems

    def mark(self, record: Record, prediction: Prediction, protocol_name: str) -> Mark:
        table, size = prediction.row.get("scores"), record.meta["size"]
        if not _square(table, size):
            return Mark(False, None, None, "bad_scores", used="scores")
        right = {"text": text_score(table), "audio": audio_score(table)}
        right["group"] = right["text"] and right["audio"]
        said = " ".join(name for name, ok in right.items() if ok)
        correct = right[protocol_name]
        return Mark(correct, said, said, "ok" if correct else "wrong", float(correct), used="scores")

    def remarks(self, records: Sequence[Record], marks: Sequence[Mark], protocol_name: str) -> list[str]:
        sizes = [r.meta["size"] for r in records]
        chance = sum(CHANCE[(protocol_name, size)] for size in sizes) / len(sizes)
        return [f"chance for {sizes.count(2)} pairs and {sizes.count(3)} triplets: {chance:.4f}"]


class CompAOrder(CompA):
    """Which sound came first: 400 instances."""

    name = "compa_order"
    gold_files = ("compa/CompA_order/CompA_order_benchmark.csv", "compa/order.csv")


class CompAAttribute(CompA):
    """Which sound has which attribute: 200 instances."""

    name = "compa_attribute"
    gold_files = ("compa/CompA_attribute/CompA_attribute_benchmark.csv", "compa/attribute.csv")


def _square(table: Any, size: int) -> bool:
    """Whether this is a table of finite or infinite numbers of the right size; NaN is no score."""
    return (
        isinstance(table, list)
        and len(table) == size
        and all(isinstance(row, list) and len(row) == size for row in table)
        and all(isinstance(x, (int, float)) and not isinstance(x, bool) and x == x for row in table for x in row)
    )
