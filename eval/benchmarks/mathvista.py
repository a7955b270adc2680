"""MathVista (arXiv 2310.02255): 6,141 questions about figures; answers of the 1,000 of testmini are public. docs/benchmarks/mathvista.md."""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.record import LETTERS, Record
from eval import extraction
from eval.benchmarks import mathvista_official as official
from eval.benchmarks.mathvista_query import CUES, few_shot_query, lmm_query
from eval.benchmarks.offline import JUDGED, Mark, OfflineBenchmark, Prediction, Problem, choice_record, confined


class MathVista(OfflineBenchmark):
    """The submission is the published layout: an object keyed by pid with `response` and `extraction`.

    `official` truncates integers as the current script does, `official-2023` reads them strictly as the published score files of 2023 did,
    `official-ignore-empty` leaves an empty extraction unanswered instead of snapping it to the nearest option.

    Options: `query` (`lmm`, or `solution` or `code`: the published layouts for models that read and see no image, with the texts of `captions` and
    `image_texts`, JSON files pid -> text, and behind `examples`, texts), `quick_extract` (the published script's shortcut, off there too).
    """

    name = "mathvista"
    modality = "image"
    protocols = ("strict", "official", "official-2023", "official-ignore-empty")
    axes = official.AXES
    variants = {split: (f"mathvista/{split}.json", f"mathvista/{split}.jsonl") for split in ("testmini", "test")}  # published; fetched
    gold_files = (*variants["testmini"], *variants["test"])
    id_keys = ("pid", "id")

    def configure(
        self,
        query: str = "lmm",
        captions: str | None = None,
        image_texts: str | None = None,
        examples: Sequence[str] = (),
        quick_extract: bool = False,
        **unknown: Any,
    ) -> None:
        super().configure(**unknown)
        if query not in ("lmm", *CUES):
            raise ValueError(f"benchmark 'mathvista': query {query!r} is not one of lmm, {', '.join(CUES)}")
        if query == "lmm" and (captions or image_texts or examples):
            raise ValueError(f"benchmark 'mathvista': captions, image_texts and examples are for query {' or '.join(CUES)}")
        self.query, self.examples, self.quick_extract = query, tuple(examples), quick_extract
        self.captions, self.image_texts = pid_texts(captions), pid_texts(image_texts)
        self.modality = "image" if query == "lmm" else "text"

    def record(self, row: dict[str, Any], problems: list[Problem]) -> Record:
        pid = str(row.get("pid") or row["#key"])
        meta = {**row.get("metadata", {}), "pid": pid, **{k: row.get(k) for k in ("question_type", "answer_type", "choices", "unit", "precision")}}
        gold = row.get("answer")
        gold = "" if gold is None else str(gold)
        meta["gold"], meta["question"] = gold, row["question"]
        media = confined(self.media_folder, row.get("image", ""), "image", pid, problems) if self.modality == "image" else []
        fields: dict[str, Any] = {"source": "mathvista", "split": meta.get("split", ""), "group": pid, "unit": row.get("unit"), "meta": meta}
        if row["question_type"] == "multi_choice":
            return choice_record(pid, row["question"], row["choices"], gold, problems, media, **fields)
        if not gold:
            problems.append(Problem("gold_empty", pid))
            return Record(pid, row["question"], [""], "text", media, **fields)
        kind = row["answer_type"]
        answer = [part.strip() for part in gold.strip("[]").split(",")] if kind == "list" else [gold]
        return Record(pid, row["question"], answer, kind, media, precision=_whole(row.get("precision")), **fields).validate()

    def prompt(self, record: Record, protocol_name: str, instruction: str = "") -> str:
        """The data set's own query, behind the placeholders of the media. Layouts for text end on their cue: an instruction stands first."""
        from data import protocol

        if self.query != "lmm":
            pid = record.meta["pid"]
            texts = self.captions.get(pid, ""), self.image_texts.get(pid, "")
            query = protocol.escape(few_shot_query(record.meta, self.examples, *texts, self.query))
            return f"{instruction}\n\n{query}" if instruction else query
        query = lmm_query(record.meta)
        lines = ["".join(protocol.PLACEHOLDERS[m.kind] for m in record.media) + protocol.escape(query), *([instruction] if instruction else [])]
        return "\n".join(lines)

    def mark(self, record: Record, prediction: Prediction, protocol_name: str) -> Mark:
        if protocol_name == "strict":
            return self.strict(record, prediction)
        value, used, reason = self._extraction(record, prediction)
        meta = record.meta
        said = official.normalise(
            value,
            meta["question_type"],
            meta["answer_type"],
            meta["choices"],
            meta["precision"],
            integers="strict" if protocol_name == "official-2023" else "truncate",
            ignore_empty=protocol_name == "official-ignore-empty",
        )
        correct = said == meta["gold"]
        why = "ok" if correct else reason or ("unreadable" if said is None else "wrong")
        return Mark(correct, said, None if value is None else str(value), why, float(correct), used=used)

    def _extraction(self, record: Record, prediction: Prediction) -> tuple[Any, str, str]:
        """(what the official normalisation is given, the field it came from, why it is empty). The published script asks a language model to extract;
        our offline rules stand in for it."""
        if "extraction" in prediction.given or prediction.response is None:
            return prediction.answer, "judge" if JUDGED in prediction.row else "extraction", ""
        value = self._unaided(record, prediction.response)
        if value is not None:
            return value, "response", ""
        found = extraction.extract(prediction.response, record, self.prefer)
        return found.answer or "", "response", "" if found.answer else found.reason

    def _unaided(self, record: Record, response: str) -> str | None:
        """The published extraction as far as it asks no language model."""
        meta = record.meta
        value = official.read_response(response, meta["question_type"], meta["answer_type"], meta["choices"])
        return official.quick_extract(response) if value is None and self.quick_extract else value

    def judge_prompt(self, record: Record, prediction: Prediction, protocol_name: str) -> str | None:
        """The published script asks a language model for responses that are neither empty, nor a choice, nor the number asked for."""
        meta = record.meta
        if protocol_name == "strict" or "extraction" in prediction.given or prediction.response is None:
            return None
        if self._unaided(record, prediction.response) is not None:
            return None
        from eval.judge import extraction_prompt

        places = {1: "one decimal place", 2: "two decimal places"}.get(_whole(meta["precision"]) or 1)
        kinds = {"integer": "an integer", "float": f"a number with {places}", "list": "a list"}
        wanted = "an option's letter" if meta["question_type"] == "multi_choice" else kinds.get(meta["answer_type"], "a few words")
        return extraction_prompt(lmm_query(meta).partition("Question: ")[2], prediction.response, wanted)

    def strict(self, record: Record, prediction: Prediction) -> Mark:
        """An option's letter, since that is what the query asks for; numbers with units and separators; lists by their elements."""
        mark = super().strict(record, prediction)
        if record.answer_type == "choice" and mark.prediction:
            return dataclasses.replace(mark, prediction=(record.options or [])[LETTERS.index(mark.prediction)])
        return mark

    def viewed(self, record: Record, prediction: Prediction | None, protocol_name: str) -> Record:
        """The published script breaks the score down by the metadata that stands in the submission itself, where it does."""
        theirs = prediction.row.get("metadata") if prediction is not None and protocol_name != "strict" else None
        if not isinstance(theirs, dict):
            return record
        return dataclasses.replace(record, meta={**record.meta, **{k: v for k, v in theirs.items() if k in self.axes}})

    def missing(self, record: Record, protocol_name: str) -> Mark:
        """The published script averages over the pids of the submission."""
        return Mark(False, None, None, "missing", counted=protocol_name == "strict")


def pid_texts(path: str | None) -> dict[str, str]:
    """pid -> text of a JSON file, which may hold that object under `texts`, as the published ones do; nothing without a file."""
    if path is None:
        return {}
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    content = content.get("texts", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
        raise ValueError(f"{path}: not a JSON object of pid and text")
    return content


def _whole(precision: Any) -> int | None:
    """A precision may come as 1.0 out of a table."""
    return int(precision) if isinstance(precision, (int, float)) and re.fullmatch(r"\d(\.0)?", str(precision)) else None
