"""CLEVRER (arXiv 1910.01442): four families of questions about colliding objects, in 5-second clips. docs/benchmarks/clevrer.md.

`official` is the data set's own score: descriptive answers by exact match, the other families per question (every option judged rightly), with the
score per option in the breakdown. The `multi_answer` protocols are the recast of TW-GRPO (arXiv 2505.24718): options as letters, one answer string;
its published number is the strict one on counterfactual questions with at least one right option, so it is no CLEVRER score.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data import answers
from data.readers.clevrer import find_file
from data.record import LETTERS, MediaRef, Record
from eval import extraction
from eval.benchmarks.offline import Mark, OfflineBenchmark, Prediction, Problem, confined, read_json, text_of

SPLITS = ((10_000, "train"), (15_000, "validation"), (float("inf"), "test"))  # scenes below these numbers
FAMILIES = ("descriptive", "explanatory", "predictive", "counterfactual")


class Clevrer(OfflineBenchmark):
    """The submission is CLEVRER's own nested list, or rows of `{id, prediction}` with ids `scene_index-question_id`."""

    name = "clevrer"
    modality = "video"
    protocols = ("official", "multi_answer", "multi_answer_partial", "multi_answer_with_empty", "multi_answer_with_empty_partial")
    axes = ("family", "number_of_options")
    gold_files = ("clevrer/validation.json", "clevrer/questions/validation.json", "questions/validation.json", "questions/test.json")
    payload_keys = ("choices",)

    def records(self, path: Path) -> tuple[list[Record], list[Problem]]:
        records: list[Record] = []
        problems: list[Problem] = []
        seen: set[str] = set()
        for scene in read_json(path, problems):
            for question in scene.get("questions", []) if isinstance(scene, dict) else ():
                try:
                    record = self._question(scene, question, problems)
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    problems.append(Problem("gold_broken", f"scene {scene.get('scene_index')}", f"{type(error).__name__}: {error}"))
                    continue
                if record.id in seen:
                    problems.append(Problem("gold_duplicate_id", record.id))
                else:
                    seen.add(record.id)
                    records.append(record)
        return records, problems

    @property
    def media_folder(self) -> Path:
        """The folder above `questions/`, where the videos are, too."""
        folder = super().media_folder
        return folder.parent if folder.name == "questions" else folder

    def _question(self, scene: dict[str, Any], question: dict[str, Any], problems: list[Problem]) -> Record:
        id = f"{scene['scene_index']}-{question['question_id']}"
        video, index = scene.get("video_filename") or "", int(scene["scene_index"])
        media = confined(self.media_folder, video, "video", id, problems) if video else []
        if media:
            split = next(name for end, name in SPLITS if index < end)
            media = [MediaRef("video", str(find_file(self.media_folder, "video", split, video, index)))]
        choices = sorted(question.get("choices") or [], key=lambda c: c["choice_id"])
        meta = {"family": question["question_type"], "number_of_options": len(choices), "choice_ids": [c["choice_id"] for c in choices]}
        fields: dict[str, Any] = {"source": "clevrer", "group": str(scene["scene_index"]), "meta": meta, "media": media}
        if not choices:
            gold = question.get("answer") or ""
            if not gold:
                problems.append(Problem("gold_empty", id))
            return Record(id, question["question"], [str(gold)], "text", **fields)
        if any(c.get("answer") not in ("correct", "wrong") for c in choices):
            problems.append(Problem("gold_empty", id))
            return Record(id, question["question"], [""], "text", **fields)
        letters = [LETTERS[i] for i, c in enumerate(choices) if c["answer"] == "correct"]
        return Record(id, question["question"], letters, "choices", options=[c["choice"] for c in choices], **fields).validate()

    def rows(self, content: Any) -> Iterator[tuple[str, dict[str, Any] | str]]:
        if not (isinstance(content, list) and content and isinstance(content[0], dict) and "questions" in content[0]):
            yield from super().rows(content)
            return
        for place, scene in enumerate(content):
            if not isinstance(scene, dict) or not isinstance(scene.get("questions"), list):
                yield "", f"row {place + 1} is no scene with questions"
                continue
            for question in scene["questions"]:
                if isinstance(question, dict):
                    yield f"{scene.get('scene_index')}-{question.get('question_id')}", _flat(question)
                else:
                    yield "", f"scene {scene.get('scene_index')}: a question is {type(question).__name__}, not an object"

    def mark(self, record: Record, prediction: Prediction, protocol_name: str) -> Mark:
        if record.answer_type != "choices":
            return self._descriptive(record, prediction)
        chosen, said, reason, used = self._letters(record, prediction)
        count, truth = len(record.options or []), set(record.answer)
        if protocol_name == "official":
            right = 0 if chosen is None else sum((LETTERS[i] in chosen) == (LETTERS[i] in truth) for i in range(count))
            correct, credit = right == count, float(right == count)
            units: tuple[tuple[str, int, int], ...] = ((record.meta["family"], right, count),)
        else:
            correct, partial = answers.grade(said, record)
            credit = partial if protocol_name.endswith("_partial") else float(correct)
            units = ()
        return Mark(correct, said, said, "ok" if correct else reason or "wrong", credit, used=used, units=units)

    def _letters(self, record: Record, prediction: Prediction) -> tuple[set[str] | None, str | None, str, str]:
        """(letters judged right or None, the same as an answer string, why there are none, field used)."""
        ids, judged = record.meta["choice_ids"], prediction.row.get("choices")
        if isinstance(judged, list):
            marks = {c["choice_id"]: c.get("answer") for c in judged if isinstance(c, dict) and isinstance(c.get("choice_id"), (int, str))}
            if any(marks.get(i) not in ("correct", "wrong") for i in ids):
                return None, None, "no_answer", "choices"
            letters = {LETTERS[k] for k, i in enumerate(ids) if marks[i] == "correct"}
            return letters, ",".join(sorted(letters)) or "none", "", "choices"
        text, used = text_of(prediction)
        if text is None:
            return None, None, "no_answer", used
        found = extraction.extract(text, record)
        if found.answer is None:
            return None, None, found.reason, used
        return (set() if found.answer == "none" else set(found.answer.split(","))), found.answer, "", used

    def _descriptive(self, record: Record, prediction: Prediction) -> Mark:
        text, used = text_of(prediction)
        if text is not None:
            spans = extraction.answer_spans(text)
            text = spans[0][0] if spans and spans[0][1] == "tag" else text
        correct = text is not None and text.strip() == record.answer[0]
        reason = "ok" if correct else "no_answer" if text is None else "wrong"
        return Mark(correct, text, text, reason, float(correct), used=used)

    def asked(self, record: Record, protocol_name: str) -> bool:
        if protocol_name == "official" or record.answer == [""]:
            return super().asked(record, protocol_name)
        return record.answer_type == "choices" and (bool(record.answer) or "with_empty" in protocol_name)

    def missing(self, record: Record, protocol_name: str) -> Mark:
        """Wrong, with all its options."""
        options = len(record.options or []) if protocol_name == "official" else 0
        return Mark(False, None, None, "missing", units=((record.meta["family"], 0, options),) if options else ())


def _flat(question: dict[str, Any]) -> dict[str, Any]:
    """A question of the nested submission as a row."""
    return {**question, "prediction": question["answer"]} if "answer" in question else question
