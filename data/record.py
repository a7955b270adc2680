"""The one item that every stage and every benchmark shares.

A `Record` is a question about some media together with its gold answer and, where they are known, the ordered steps that lead to it. It is
plain data: JSON in, JSON out, nothing decoded. `validate()` names the record and the field, so that a bad line in a million-line file can be found.
"""

import dataclasses
import json
import math
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

MediaKind = Literal["audio", "image", "video", "frames"]
AnswerType = Literal["choice", "choices", "integer", "float", "text", "list"]
StepKind = Literal["perception", "reasoning"]
LETTERS = string.ascii_uppercase


@dataclasses.dataclass(slots=True)
class MediaRef:
    """One medium on disk; `frames` is a folder of images in name order. `start_s` and `end_s` cut a part out of it, in seconds."""

    kind: MediaKind
    path: str
    start_s: float | None = None
    end_s: float | None = None


@dataclasses.dataclass(slots=True)
class Step:
    """One line of reasoning: what it says, the value it arrives at, and the indices of the earlier steps that it rests on."""

    text: str
    kind: StepKind = "reasoning"
    value: str | None = None
    parents: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Record:
    """A question with its media, options and gold answer.

    `answer` holds option letters for `choice` (one) and `choices` (any number, also none), all elements in order for `list`, and exactly one
    string otherwise (an empty one where a benchmark withholds its gold). `precision` is the number of decimals that a `float` answer is compared
    at. `group` names what must not straddle a split (a scene, a clip, a puzzle instance). `meta` carries whatever a benchmark wants to break its
    score down by.
    """

    id: str
    question: str
    answer: list[str]
    answer_type: AnswerType
    media: list[MediaRef] = dataclasses.field(default_factory=list)
    options: list[str] | None = None
    precision: int | None = None
    unit: str | None = None
    steps: list[Step] | None = None
    source: str = ""
    split: str = ""
    group: str = ""
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)

    def validate(self) -> "Record":
        """Return self, or raise `ValueError` that names the record and the field."""
        for field, complaint in _complaints(self):
            raise ValueError(f"record {self.id!r}: {field}: {complaint}")
        return self

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Record":
        """Build and validate a record from a parsed JSON object; unknown and missing fields are errors that name them."""
        if not isinstance(row, dict):
            raise ValueError(f"a record must be a JSON object, not {type(row).__name__}")
        name = row.get("id", "?")
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(row) - known):
            raise ValueError(f"record {name!r}: {unknown[0]}: unknown field (known: {', '.join(sorted(known))})")
        if missing := [f for f in ("id", "question", "answer", "answer_type") if f not in row]:
            raise ValueError(f"record {name!r}: {missing[0]}: missing")
        try:
            media = [MediaRef(**m) for m in row.get("media") or []]
            steps = None if row.get("steps") is None else [Step(**s) for s in row["steps"]]
        except TypeError as error:
            raise ValueError(f"record {name!r}: media or steps: {error}") from None
        return cls(**{**row, "media": media, "steps": steps}).validate()


def answer_text(record: Record) -> list[str]:
    """The gold answer in words: option texts for choices, the answer itself otherwise."""
    if record.options is None or record.answer_type not in ("choice", "choices"):
        return list(record.answer)
    return [record.options[LETTERS.index(letter)] for letter in record.answer]


def _complaints(r: Record) -> Iterator[tuple[str, str]]:
    """(field, what is wrong with it). Whoever takes only the first may rely on the order: types before contents."""
    if not isinstance(r.id, str) or not r.id:
        yield "id", "must be a non-empty string"
    if not isinstance(r.question, str) or not r.question.strip():
        yield "question", "must be a non-empty string"
    if r.answer_type not in get_args(AnswerType):
        yield "answer_type", f"{r.answer_type!r} is not one of {', '.join(get_args(AnswerType))}"
    if not _strings(r.answer):
        yield "answer", "must be a list of strings"
    if r.options is not None and not _strings(r.options):
        yield "options", "must be a list of strings"
    if r.precision is not None and (type(r.precision) is not int or not 0 <= r.precision <= 15):
        yield "precision", f"{r.precision!r} must be a number of decimals, 0 to 15"
    for field in ("source", "split", "group", "unit"):
        if not isinstance(getattr(r, field), str) and not (field == "unit" and r.unit is None):
            yield field, "must be a string"
    if not isinstance(r.meta, dict):
        yield "meta", "must be an object"
    yield from _answer_complaints(r)
    for i, m in enumerate(r.media):
        yield from ((f"media[{i}].{field}", complaint) for field, complaint in _media_complaints(m))
    for i, s in enumerate(r.steps or []):
        yield from ((f"steps[{i}].{field}", complaint) for field, complaint in _step_complaints(s, i))


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _media_complaints(m: MediaRef) -> Iterator[tuple[str, str]]:
    if m.kind not in get_args(MediaKind):
        yield "kind", f"{m.kind!r} is not one of {', '.join(get_args(MediaKind))}"
    if not isinstance(m.path, str) or not m.path:
        yield "path", "must be a non-empty string"
    if m.start_s is None and m.end_s is None:
        return
    if any(isinstance(t, bool) or not isinstance(t, (int, float, type(None))) for t in (m.start_s, m.end_s)):
        yield "start_s", "start_s and end_s must be numbers of seconds"
    elif m.kind not in ("audio", "video"):
        yield "start_s", f"only a sound or a video has a part, not {m.kind}"
    elif not 0 <= (m.start_s or 0) < (math.inf if m.end_s is None else m.end_s):
        yield "end_s", f"the part from {m.start_s} s to {m.end_s} s is empty"


def _step_complaints(s: Step, place: int) -> Iterator[tuple[str, str]]:
    if not isinstance(s.text, str) or not s.text.strip():
        yield "text", "must be a non-empty string"
    if s.kind not in get_args(StepKind):
        yield "kind", f"{s.kind!r} is not one of {', '.join(get_args(StepKind))}"
    if s.value is not None and not isinstance(s.value, str):
        yield "value", "must be a string"
    if not isinstance(s.parents, list) or any(type(p) is not int or not 0 <= p < place for p in s.parents):
        yield "parents", f"{s.parents} must be indices of earlier steps"


def _answer_complaints(r: Record) -> Iterator[tuple[str, str]]:
    if r.answer_type not in ("choice", "choices"):
        if r.answer_type != "list" and len(r.answer) != 1:
            yield "answer", f"{r.answer_type} needs exactly one element, not {len(r.answer)}"
        elif not r.answer:
            yield "answer", "an empty list is no answer"
        return
    if not r.options or len(r.options) > len(LETTERS):
        yield "options", f"{r.answer_type} needs 1 to {len(LETTERS)} options"
        return
    if r.answer_type == "choice" and len(r.answer) != 1:
        yield "answer", f"choice needs exactly one letter, not {len(r.answer)}"
    valid = LETTERS[: len(r.options)]
    for letter in r.answer:
        if len(letter) != 1 or letter not in valid:
            yield "answer", f"{letter!r} is not a letter of the {len(r.options)} options ({valid[0]}-{valid[-1]})"
    if len(set(r.answer)) < len(r.answer):
        yield "answer", f"{r.answer} names a letter twice"


def read_json(path: str | Path) -> Any:
    """A parsed JSON file. A broken one is a `ValueError` that names the file; so is a key that an object holds twice, of which Python would silently
    keep the last."""
    try:
        return json.loads(Path(path).read_bytes().decode("utf-8-sig"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} comes twice")
    return found


def read_jsonl(path: str | Path) -> Iterator[Record]:
    """Records of a JSONL file, blank lines skipped. A broken line raises `ValueError` that names the file and the line number."""
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if text:
                    yield Record.from_json(json.loads(text, object_pairs_hook=_unique))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from None


def write_jsonl(path: str | Path, records: list[Record]) -> None:
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(r.to_json(), ensure_ascii=False) + "\n" for r in records)
