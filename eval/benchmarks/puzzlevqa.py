"""PuzzleVQA (arXiv 2403.13315): 2,000 abstract visual puzzles in 20 types. docs/benchmarks/puzzlevqa.md."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.record import LETTERS, Record
from eval.benchmarks.offline import Mark, OfflineBenchmark, Prediction, Problem, choice_record, confined, text_of


def official_choice(text: str, options: list[str]) -> str | None:
    """The option that the published rule reads (PuzzleVQA/prompting.py): the last bracketed letter A-D, else the last letter A-D anywhere, inside
    words too; a letter beyond the options means the first option. None without such a letter."""
    found = re.findall(r"\(([ABCD])\)", text) or re.findall(r"[ABCD]", text)
    if not found:
        return None
    index = LETTERS.index(found[-1])
    return options[index] if index < len(options) else options[0]


class PuzzleVQA(OfflineBenchmark):
    """Gold is the folder of JSON-lines files, or one of them. Ids are the stems of the images: `triangle_0000`."""

    name = "puzzlevqa"
    modality = "image"
    protocols = ("strict", "official")
    axes = ("type",)
    gold_files = ("puzzlevqa",)

    def gold_path(self, path: Path) -> Path:
        return path if path.is_file() or any(path.glob("*.json*")) else super().gold_path(path)

    @property
    def media_folder(self) -> Path:
        nested = self.path / "puzzlevqa" if self.path is not None else None
        return nested if nested is not None and nested.is_dir() else super().media_folder

    def records(self, path: Path) -> tuple[list[Record], list[Problem]]:
        if path.is_file():
            return super().records(path)
        found: list[Record] = []
        problems: list[Problem] = []
        for file in sorted(path.glob("*.json")):
            records, wrong = super().records(file)
            found += records
            problems += wrong
        return found, problems

    def record(self, row: dict[str, Any], problems: list[Problem]) -> Record:
        stem = Path(row["image"]).stem
        media = confined(self.media_folder, row["image"], "image", stem, problems)
        meta = {"type": stem.rsplit("_", 1)[0]}
        return choice_record(stem, row["question"], row["options"], str(row["answer"]), problems, media, source="puzzlevqa", group=stem, meta=meta)

    def rows(self, content: Any) -> Iterator[tuple[str, dict[str, Any] | str]]:
        """The published outputs are gold rows with `output`: there the image names the puzzle."""
        named = content if isinstance(content, dict) else [
            {"id": Path(str(r["image"])).stem, **r} if isinstance(r, dict) and "image" in r else r for r in content
        ]  # fmt: skip
        return super().rows(named)

    def mark(self, record: Record, prediction: Prediction, protocol_name: str) -> Mark:
        if protocol_name == "strict":
            return self.strict(record, prediction)
        text, used = text_of(prediction)
        options = record.options or []
        said = None if text is None else text if text in options else official_choice(text, options)
        correct = said is not None and said == options[LETTERS.index(record.answer[0])]
        return Mark(correct, said, text, "ok" if correct else "no_answer" if said is None else "wrong", float(correct), used=used)

    def remarks(self, records: list[Record], marks: list[Mark], protocol_name: str) -> list[str]:  # type: ignore[override]
        if not any(r.meta["type"] == "grid_number" for r in records):
            return []
        return ["grid_number has its answer in slot D in every record of the release: read that type only with shuffled options"]
