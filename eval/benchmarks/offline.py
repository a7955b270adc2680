"""Benchmarks whose outputs may come from anywhere: gold from the official file, predictions in the official layout or as `{id, prediction}` rows.

A subclass says how the gold file reads (`records`), how a submission is taken apart (`rows`) and how one prediction is marked (`mark`). Marking
is pure and offline. What is wrong with an input is collected as a `Problem` with the id it belongs to, never dropped and never a crash.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from data import answers
from data.record import LETTERS, AnswerType, MediaKind, MediaRef, Record
from data.worlds.base import generator
from eval import extraction
from eval.benchmarks.base import Benchmark, Extraction, Graded, Wanted


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an input: a code (`unknown_id`, `duplicate_id`, `not_text`, …), the id or place, and a detail."""

    kind: str
    where: str
    detail: str = ""


MAX_DEPTH = 64  # levels of lists and objects in a file; no layout has ten
JUDGED = "#judged"  # in a prediction's row: its answer was read by a judge model


@dataclasses.dataclass(slots=True)
class Prediction:
    """One row of a submission. `answer` is what the row states as its final or extracted answer, `response` a raw output to extract from;
    `given` says which fields the row had, so that an explicit null and an absent field stay apart."""

    id: str
    answer: Any = None
    response: str | None = None
    given: frozenset[str] = frozenset()
    row: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """One marked prediction. `credit` in [0, 1] is what the protocol gives for it; `counted` False leaves it out of the denominator, as some
    official scripts do. `units` are finer parts (options of a question): (axis value, right, total)."""

    correct: bool
    prediction: str | None
    extracted: str | None
    reason: str
    credit: float = 0.0
    counted: bool = True
    used: str = ""
    units: tuple[tuple[str, int, int], ...] = ()


class OfflineBenchmark(Benchmark):
    """See the top of this file. `gold_files` are places under the data root, `variants` those of each variant; the `…_keys` are names of fields, the
    official one first."""

    gold_files: ClassVar[tuple[str, ...]] = ()
    id_keys: ClassVar[tuple[str, ...]] = ("id",)
    answer_keys: ClassVar[tuple[str, ...]] = ("extraction", "prediction")
    response_keys: ClassVar[tuple[str, ...]] = ("response", "completion", "output")
    payload_keys: ClassVar[tuple[str, ...]] = ()  # fields that stand in for an answer (judged options, similarity scores)
    page: ClassVar[str] = ""  # its page in docs/benchmarks, where that is not called as it is
    prefer: ClassVar[extraction.Prefer] = "letter"
    extractor = extraction.VERSION

    def records(self, path: Path) -> tuple[list[Record], list[Problem]]:
        """Gold records of a file or folder, and what is wrong with it. Default: one record a row, by `record`."""
        found: list[Record] = []
        problems: list[Problem] = []
        seen: set[str] = set()
        for place, row in self.gold_rows(path, problems):
            try:
                record = self.record(row, problems)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                problems.append(Problem("gold_broken", f"{path.name}, {place}", f"{type(error).__name__}: {error}"))
                continue
            if record is None:
                continue
            if record.id in seen:
                problems.append(Problem("gold_duplicate_id", record.id))
                continue
            seen.add(record.id)
            found.append(record)
        return found, problems

    def gold_rows(self, path: Path, problems: list[Problem]) -> Iterable[tuple[str, dict[str, Any]]]:
        """(place, row) of a gold file."""
        return read_rows(path, problems)

    @property
    def media_folder(self) -> Path:
        """Where the media paths of the gold file start: the folder of the benchmark."""
        return Path() if self.path is None else self.path if self.path.is_dir() else self.path.parent

    def record(self, row: dict[str, Any], problems: list[Problem]) -> Record | None:
        """One gold row as a record, None to leave it out."""
        raise NotImplementedError

    def rows(self, content: Any) -> Iterator[tuple[str, dict[str, Any] | str]]:
        """(id, row) of a parsed submission: a list of rows, or an object keyed by id. In the place of a row that is none: what is wrong with it."""
        if is_row(content, (*self.id_keys, "id")):
            content = [content]
        if isinstance(content, dict):
            for key, row in content.items():
                yield str(key), row if isinstance(row, dict) else {"prediction": row}
            return
        for place, row in enumerate(content):
            if not isinstance(row, dict):
                yield "", f"row {place + 1} is {type(row).__name__}, not an object"
                continue
            key = next((row[k] for k in (*self.id_keys, "id") if row.get(k) is not None), "")
            usable = isinstance(key, (str, int, float)) and key != ""
            yield str(key), row if usable else f"row {place + 1} has {'no id' if key == '' else f'a {type(key).__name__} for its id'}"

    def mark(self, record: Record, prediction: Prediction, protocol_name: str) -> Mark:
        """The strict rule: what the row answers, read by `eval.extraction`, compared by `data.answers`."""
        return self.strict(record, prediction)

    def strict(self, record: Record, prediction: Prediction) -> Mark:
        """Abstains where the output is undecided; options with the same text are the same answer."""
        text, used = text_of(prediction)
        read = extraction.extract(text, record, self.prefer)
        late = answers.WORKER.timeouts
        correct, credit = answers.grade(read.answer, record)
        if record.answer_type == "choice" and read.answer:  # a letter, even where an option's text is another letter
            texts = [extraction.plain(option) for option in record.options or []]
            correct = texts[LETTERS.index(read.answer)] == texts[LETTERS.index(record.answer[0])]
            credit = float(correct)
        reason = "ok" if correct else read.reason if read.answer is None else "wrong"
        if reason == "wrong" and read.answer:
            if len(read.answer) > answers.MAX_LENGTH:
                reason = "too_long"
            elif answers.WORKER.timeouts > late or answers.too_hard(read.answer, record):
                reason = "too_hard"
        return Mark(correct, read.answer, read.answer, reason, credit, used=used)

    def load(self, wanted: Wanted) -> list[Record]:
        """The items of `self.path` whose answers are known, in an order settled by the seed. Media that lie outside the folder or are absent are one
        `ValueError` that lists them, before any work starts."""
        if self.path is None:
            raise ValueError(f"benchmark {self.name!r} needs the path of its file or folder")
        records, problems = self.records(self.gold_path(self.path))
        outside = [f"{p.where}: {p.detail}" for p in problems if p.kind == "gold_media_outside"]
        absent = [f"{r.id}: {m.path}" for r in records for m in r.media if not Path(m.path).exists()]
        if outside or absent:
            listed = "\n  ".join((outside + absent)[:50])
            raise ValueError(f"benchmark {self.name!r}: {len(outside)} media outside of {self.path}, {len(absent)} missing:\n  {listed}")
        records = [r for r in records if has_gold(r)]
        order = generator(wanted.seed, "benchmark", self.name).permutation(len(records)).tolist()
        return [records[i] for i in order[: wanted.n]]

    def gold_path(self, path: Path) -> Path:
        """The gold file: the path itself, or the first of the variant's files, or of `gold_files`, under it."""
        if path.is_file():
            return path
        names = self.variants.get(self.variant, self.gold_files)
        for name in names:
            for found in (path / name, path / Path(name).name):
                if found.exists():
                    return found
        listed = ", ".join(names) or "its files"
        raise ValueError(f"benchmark {self.name!r}: none of {listed} under {path} (docs/benchmarks/{self.page or self.name}.md)")

    def worded(self, record: Record, answer: Sequence[str], protocol_name: str) -> str:
        """An option's text where the benchmark asks for texts, otherwise its letter."""
        texts = dict(zip(LETTERS, record.options or [], strict=False)) if self.prefer == "text" else {}
        return super().worded(record, [texts.get(part, part) for part in answer], protocol_name)

    def extract(self, record: Record, completion: str, protocol_name: str) -> Extraction:
        return extraction.extract(completion, record, self.prefer)

    def grade(self, record: Record, extraction: Extraction, protocol_name: str) -> Graded:
        return _graded(self.mark(record, Prediction(record.id, extraction.answer, given=frozenset(["extraction"])), protocol_name))

    def judge(self, record: Record, completion: str, protocol_name: str) -> Graded:
        return _graded(self.mark(record, Prediction(record.id, None, completion, frozenset(["response"])), protocol_name))

    def judge_prompt(self, record: Record, prediction: Prediction, protocol_name: str) -> str | None:
        """What a judge model is asked in order to extract this prediction's answer; None where the protocol asks no language model."""
        return None

    def viewed(self, record: Record, prediction: Prediction | None, protocol_name: str) -> Record:
        """The record whose `meta` the score is broken down by; official scripts that trust the submission's own fields override this."""
        return record

    def asked(self, record: Record, protocol_name: str) -> bool:
        """Whether a protocol asks this item at all."""
        return has_gold(record)

    def missing(self, record: Record, protocol_name: str) -> Mark:
        """How an item without a prediction counts: wrong."""
        return Mark(False, None, None, "missing")

    def aggregate(self, records: Sequence[Record], marks: Sequence[Mark], protocol_name: str) -> float:
        """The score of counted marks: their mean credit. Benchmarks with another measure (F1) override it."""
        return sum(m.credit for m in marks) / len(marks) if marks else 0.0

    def remarks(self, records: Sequence[Record], marks: Sequence[Mark], protocol_name: str) -> list[str]:
        """What a reader of the score should know."""
        return []


def _graded(mark: Mark) -> Graded:
    return Graded(mark.correct, mark.credit, mark.reason, mark.extracted, counted=mark.counted)


def has_gold(record: Record) -> bool:
    """Whether the item can be scored: test sets ship empty answers, and a gold may not be among the options."""
    return record.answer != [""]


def text_of(prediction: Prediction) -> tuple[str | None, str]:
    """(the text that a strict reading starts from, the field it came from): the raw output where there is one, else the stated answer."""
    if prediction.response is not None:
        return prediction.response, "response"
    answer = prediction.answer
    return (None if answer is None else answer if isinstance(answer, str) else str(answer)), "answer"


def choice_record(
    id: str, question: str, options: Sequence[Any], gold: str, problems: list[Problem], media: Sequence[MediaRef] = (), **fields: Any
) -> Record:
    """A record with one right option, given by its text. Repeated options are a problem that is counted; the gold is their first copy. A gold that is
    not among the options, or empty, makes an item that cannot be scored: its answer is the empty text."""
    texts = [str(option) for option in options]
    if len({extraction.plain(t) for t in texts}) < len(texts):
        problems.append(Problem("gold_duplicate_option", id))
    hits = [i for i, text in enumerate(texts) if text == gold] or [i for i, text in enumerate(texts) if text.strip() == gold.strip() and gold.strip()]
    if not hits:
        problems.append(Problem("gold_empty" if not gold.strip() else "gold_not_an_option", id))
    kind: AnswerType = "choice" if hits else "text"
    answer = [LETTERS[hits[0]]] if hits else [""]
    return Record(id, question, answer, kind, list(media), texts, **fields).validate()


def confined(folder: Path, relative: str, kind: MediaKind, id: str, problems: list[Problem]) -> list[MediaRef]:
    """The medium inside `folder`; a path that leads out of it is a problem, and the item goes without its medium."""
    inside = PurePosixPath(str(relative).replace("\\", "/"))
    if not str(relative) or inside.is_absolute() or ".." in inside.parts or re.match(r"^[A-Za-z]:", str(relative)):
        problems.append(Problem("gold_media_outside", id, str(relative)))
        return []
    return [MediaRef(kind, str(folder / inside))]


def only_value(value: Any, id: str, key: str, problems: list[Problem]) -> Any:
    """The single element of a list-valued entry (a `Problem` is noted), anything else as it is."""
    if isinstance(value, list):
        problems.append(Problem(f"gold_list_{key}", id))
        return value[0] if len(value) == 1 else value
    return value


def read_rows(path: Path, problems: list[Problem]) -> Iterable[tuple[str, dict[str, Any]]]:
    """(place, row) of a JSON list, a JSON object keyed by id (the key arrives as `#key`), or JSON lines."""
    content = read_json(path, problems)
    content = [content] if is_row(content, ("question", "problem")) else content
    pairs = content.items() if isinstance(content, dict) else enumerate(content, 1)
    for place, row in pairs:
        if isinstance(row, dict):
            yield f"row {place}", {"#key": str(place), **row} if isinstance(content, dict) else row
        else:
            problems.append(Problem("not_an_object", f"{path.name}, row {place}", type(row).__name__))


def read_json(path: Path, problems: list[Problem]) -> Any:
    """A JSON document or, where the text is not one, its JSON lines; bad lines are problems. Invalid UTF-8 survives as lone surrogates, which whoever
    reads a row finds there (`valid_text`). Repeated keys of an object are problems, the first value stands. A whole number of more than
    `answers.MAX_DIGITS` digits comes as its text, since Python refuses to read it; what is nested deeper than `MAX_DEPTH` is refused."""
    text = path.read_bytes().decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")

    def first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                problems.append(Problem("duplicate_id" if isinstance(value, dict) else "duplicate_key", key, path.name))
            else:
                found[key] = value
        return found

    decoder = json.JSONDecoder(object_pairs_hook=first_wins, parse_int=lambda digits: int(digits) if len(digits) <= answers.MAX_DIGITS else digits)

    def decode(text: str) -> Any:
        found = decoder.decode(text)
        if deeper_than(found, MAX_DEPTH):
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        return found

    noted = len(problems)
    try:
        return decode(text)
    except (ValueError, RecursionError) as error:
        del problems[noted:]
        whole = str(error)
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            rows += [decode(line.strip())] if line.strip() else []
        except (ValueError, RecursionError) as error:
            problems.append(Problem("broken_line", f"line {number}", str(error)))
    if not rows:
        raise ValueError(f"{path}: neither JSON nor JSON lines: {whole}")
    return rows


def deeper_than(value: Any, levels: int) -> bool:
    """Whether lists and objects stand in one another to more than `levels` levels; takes no stack."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [v for v in layer if isinstance(v, (dict, list))]
        if not layer:
            return False
        layer = [inner for v in layer for inner in (v.values() if isinstance(v, dict) else v)]
    return True


def is_row(content: Any, keys: Sequence[str]) -> bool:
    """Whether an object is one row, a file of JSON lines with one line, and not an object keyed by id."""
    return isinstance(content, dict) and any(key in content and not isinstance(content[key], dict) for key in keys)


def valid_text(text: str) -> bool:
    """Whether text was valid UTF-8 (see `read_json`)."""
    return not any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else True


def printable(text: str) -> str:
    """What a file says, fit for a terminal: no control characters, no lone surrogates, no endless lines."""
    safe = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:121])
    return safe if len(text) <= 120 else safe[:117] + "…"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, or over the names and hashes of the files of a folder."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    whole = hashlib.sha256()
    for file in sorted(p for p in path.glob("*.json*") if p.is_file()):
        whole.update(f"{file.name} {file_sha256(file)}\n".encode())
    return whole.hexdigest()
