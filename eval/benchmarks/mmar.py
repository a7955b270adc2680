"""MMAR (arXiv 2505.13032): 1,000 questions about sound, speech, music and their mixtures. docs/benchmarks/mmar.md."""

from typing import Any

from data.record import Record
from eval.benchmarks.mmau import TokenSetBenchmark
from eval.benchmarks.offline import Problem, choice_record, confined, only_value


class MMAR(TokenSetBenchmark):
    """MMAU's published rule under the key `answer_prediction`."""

    name = "mmar"
    axes = ("modality", "category", "sub-category", "language")
    gold_files = ("mmar/MMAR-meta.json", "mmar/MMAR-meta.jsonl")
    answer_keys = ("answer_prediction", "extraction", "prediction")

    def record(self, row: dict[str, Any], problems: list[Problem]) -> Record:
        id, gold = str(row["id"]), row.get("answer") or ""
        meta = {axis: only_value(row.get(axis), id, axis, problems) for axis in self.axes}
        media = confined(self.media_folder, row.get("audio_path", ""), "audio", id, problems)
        fields: dict[str, Any] = {"source": "mmar", "group": row.get("url") or id, "meta": {**meta, "gold": gold}}
        return choice_record(id, row["question"], row["choices"], gold, problems, media, **fields)
