"""MMVU (arXiv 2501.12380), its 625 multiple-choice items, in the record layout of Video-R1. docs/benchmarks/mmvu.md."""

import re
from collections.abc import Iterator
from typing import Any

from data.record import LETTERS, MediaRef, Record
from eval import extraction
from eval.benchmarks.offline import Mark, OfflineBenchmark, Prediction, Problem, confined, text_of

_LABEL = re.compile(r"^\s*\(?([A-Z])[.):]\s*")


def letter_of(text: str) -> str | None:
    """The letter in a solution such as `<answer>B</answer>`, `(B)` or `B`."""
    found = re.fullmatch(r"(?:<answer>)?\s*\(?([A-Z])\)?\.?\s*(?:</answer>)?", text.strip())
    return found.group(1) if found else None


def official_letter(text: str) -> str:
    """What Video-R1's evaluation compares: the text inside the first answer tag, stripped; the whole text without one. Its pattern
    (`<answer>\\s*(.*?)\\s*</answer>`) takes cubic time over tags that are never closed, so its words are found one after the other."""
    inner, closed, _ = text.partition("<answer>")[2].partition("</answer>")
    return (inner if closed else text).strip()


def relative(path: str) -> str:
    """Video-R1 writes `./dir/file`, TW-GRPO `/dir/file`: both mean a path under the data folder."""
    return path[2:] if path.startswith("./") else path[1:] if path.startswith("/") else path


class VideoR1Benchmark(OfflineBenchmark):
    """Multiple choice in Video-R1's layout: `problem`, `options` ("A. text"), `solution` ("<answer>A</answer>"), `path` or `video`."""

    modality = "video"
    protocols = ("strict", "official")
    id_keys = ("problem_id", "id")
    response_keys = ("response", "output", "completion")
    kinds = ("multiple choice", "mc", "MC", "")

    def meta(self, row: dict[str, Any], path: str) -> dict[str, Any]:
        """What the score is broken down by."""
        return {}

    def key(self, row: dict[str, Any]) -> str:
        return str(row["problem_id"] if "problem_id" in row else row["id"])

    def record(self, row: dict[str, Any], problems: list[Problem]) -> Record | None:
        if row.get("problem_type", "") not in self.kinds:
            return None  # open-ended items need a judge; this is the closed part
        id, path = self.key(row), str(row.get("path") or row.get("video") or "")
        media: list[MediaRef] = confined(self.media_folder, relative(path), "video", id, problems) if path else []
        options = [_LABEL.sub("", option) for option in row["options"]]
        letter = letter_of(str(row.get("solution") or row.get("answer") or ""))
        question = str(row.get("question") or row["problem"])
        fields: dict[str, Any] = {"source": self.name, "group": path or id, "meta": self.meta(row, path), "media": media, "options": options}
        if letter is None or letter not in LETTERS[: len(options)]:
            problems.append(Problem("gold_empty", id))
            return Record(id, question, [""], "text", **fields)
        if len({extraction.plain(option) for option in options}) < len(options):
            problems.append(Problem("gold_duplicate_option", id))
        return Record(id, question, [letter], "choice", **fields).validate()

    def rows(self, content: Any) -> Iterator[tuple[str, dict[str, Any] | str]]:
        """Evaluation files of Video-R1 wrap their rows: `{"results": [...]}`."""
        wrapped = content.get("results") if isinstance(content, dict) else None
        return super().rows(wrapped if isinstance(wrapped, list) else content)

    def mark(self, record: Record, prediction: Prediction, protocol_name: str) -> Mark:
        if protocol_name == "strict":
            return self.strict(record, prediction)
        text, used = text_of(prediction)
        said = None if text is None else official_letter(text)
        correct = said == record.answer[0]
        return Mark(correct, said, said, "ok" if correct else "no_answer" if not said else "wrong", float(correct), used=used)


class MMVU(VideoR1Benchmark):
    """The subject is in the path: `./MMVU/videos/Chemistry/0.mp4`."""

    name = "mmvu"
    axes = ("subject",)
    gold_files = ("mmvu/eval_mmvu.json",)

    def meta(self, row: dict[str, Any], path: str) -> dict[str, Any]:
        parts = path.split("/")
        return {"subject": parts[-2] if len(parts) > 1 else None}
