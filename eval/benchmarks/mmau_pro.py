"""MMAU-Pro (arXiv 2508.13992), its closed-form part. docs/benchmarks/mmau_pro.md.

The published scorer takes the option that lies nearest to the output in an embedding model's space, so that an empty output still picks one. That
needs a model's download and never abstains: it is not reproduced. Open questions need a judge, instruction following its own checks: left out.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from data.record import MediaRef, Record
from eval.benchmarks.offline import Mark, OfflineBenchmark, Problem, choice_record, confined, only_value

OPEN_CATEGORIES = ("open", "instruction following")


class MMAUPro(OfflineBenchmark):
    """Gold is the release's parquet file, or the same rows as JSON lines."""

    name = "mmau_pro"
    modality = "audio"
    protocols = ("strict",)
    axes = ("category", "length_type")
    gold_files = ("mmau_pro/test.parquet", "mmau_pro/test.jsonl")
    answer_keys = ("model_output", "extraction", "prediction")
    prefer = "text"

    def gold_rows(self, path: Path, problems: list[Problem]) -> Iterable[tuple[str, dict[str, Any]]]:
        if path.suffix != ".parquet":
            return super().gold_rows(path, problems)
        import pyarrow.parquet

        return ((f"row {number}", row) for number, row in enumerate(pyarrow.parquet.read_table(path).to_pylist(), 1))

    def record(self, row: dict[str, Any], problems: list[Problem]) -> Record | None:
        id, gold = str(row["id"]), row.get("answer") or ""
        category = only_value(row.get("category"), id, "category", problems)
        if category in OPEN_CATEGORIES or not row.get("choices"):
            return None
        paths = row.get("audio_path") or []
        media: list[MediaRef] = [
            m for p in ([paths] if isinstance(paths, str) else paths) for m in confined(self.media_folder, p, "audio", id, problems)
        ]
        meta = {"category": category, "length_type": row.get("length_type"), "gold": gold}
        return choice_record(id, row["question"], row["choices"], gold, problems, media, source="mmau_pro", group=id, meta=meta)

    def remarks(self, records: Sequence[Record], marks: Sequence[Mark], protocol_name: str) -> list[str]:
        return ["closed-form items only, read strictly: no number of this protocol compares with the published embedding match"]
