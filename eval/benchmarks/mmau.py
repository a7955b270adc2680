"""MMAU (arXiv 2410.19168): 10,000 questions about sound, music and speech; answers of the 1,000 of test-mini are public. docs/benchmarks/mmau.md."""

from typing import Any

from data.record import Record
from eval import extraction
from eval.benchmarks.mmau_official import official_match
from eval.benchmarks.offline import Mark, OfflineBenchmark, Prediction, Problem, choice_record, confined, only_value, text_of


class TokenSetBenchmark(OfflineBenchmark):
    """Multiple choice about a sound, marked by MMAU's published token-set rule (`official`) or strictly. Answers are options' texts: the published
    rule credits no letter."""

    modality = "audio"
    protocols = ("strict", "official")
    prefer = "text"

    def mark(self, record: Record, prediction: Prediction, protocol_name: str) -> Mark:
        if protocol_name == "strict":
            return self.strict(record, prediction)
        text, used = text_of(prediction)
        if text is None:
            return self.missing(record, protocol_name)
        if used == "response":  # the published rule extracts nothing: our own tags are taken off, the rest is matched as it stands
            spans = extraction.answer_spans(text)
            text = spans[0][0] if spans and spans[0][1] == "tag" else text
        correct = official_match(text, record.meta["gold"], record.options or [])
        return Mark(correct, text, text, "ok" if correct else "wrong", float(correct), used=used)

    def missing(self, record: Record, protocol_name: str) -> Mark:
        """The published script skips a row without output, which shrinks its denominator."""
        return Mark(False, None, None, "missing", counted=protocol_name == "strict")


class MMAU(TokenSetBenchmark):
    """The submission is the gold list with `model_output` (which the script reads) or `model_prediction` (which its README asks for) in each row."""

    name = "mmau"
    axes = ("task", "difficulty", "category", "sub-category")
    variants = {"mini": ("mmau/mmau-test-mini.json",), "full": ("mmau/mmau-test.json",)}
    gold_files = (*variants["mini"], *variants["full"])
    answer_keys = ("model_output", "model_prediction", "extraction", "prediction")

    def record(self, row: dict[str, Any], problems: list[Problem]) -> Record:
        id = row["id"]
        meta = {axis: only_value(row.get(axis), id, axis, problems) for axis in self.axes}
        media = confined(self.media_folder, row.get("audio_id", ""), "audio", id, problems)
        gold = row.get("answer") or ""
        fields: dict[str, Any] = {"source": "mmau", "split": row.get("split", ""), "group": id}
        meta |= {"dataset": row.get("dataset", ""), "gold": gold}
        return choice_record(id, row["question"], row["choices"], gold, problems, media, meta=meta, **fields)
