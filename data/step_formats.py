"""Labelled solutions from and to the formats of the field, one pair of functions each; `FORMATS` names them (`focal` is our own).

`trl`: TRL's stepwise supervision rows. `math_shepherd`: one text with a tag behind each step. `visualprm`: conversations that answer `+` or `-` to
each step. `processbench` and `visualprocessbench`: the step benchmarks. A format says of a solution what it can; what it has no place for (kinds,
soft labels, counts) does not come back. The last step of a foreign solution holds its answer, so foreign solutions have no answer of their own and
no label for one.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data.label_report import hardened
from data.record import MediaRef, Record
from data.solutions import Label, LabelledSolution
from data.step_labels import first_error

TAG = "ки"  # behind every step of a Math-Shepherd text
NEUTRAL = -1  # of VisualProcessBench: neither right nor wrong
QUESTION, PROCESS = "### Question:\n", "### Solution Process:\n"
SYSTEM = (
    "You are checking a solution step by step. Answer each step with + where everything up to it is right, or with - where something in it or "
    "before it is wrong."
)


class Format(NamedTuple):
    """`read(row)` and `write(solution)`, of parsed JSON objects. Rows that do not fit are `ValueError`s naming the field."""

    read: Callable[[dict[str, Any]], LabelledSolution]
    write: Callable[[LabelledSolution], dict[str, Any]]


def from_trl(row: dict[str, Any]) -> LabelledSolution:
    """`prompt`, `completions`, `labels` (booleans)."""
    return _solution(row, _need(row, "prompt"), _need(row, "completions"), [int(bool(v)) for v in _need(row, "labels")], "trl")


def to_trl(solution: LabelledSolution) -> dict[str, Any]:
    """TRL has no place for an unmeasured step: the row ends before the first one. Labels of at least 0.5 are right."""
    labels = hardened(step_labels(solution))
    end = labels.index(None) if None in labels else len(labels)
    return {"prompt": solution.record.question, "completions": solution.steps[:end], "labels": [bool(v) for v in labels[:end]]}


def from_math_shepherd(row: dict[str, Any]) -> LabelledSolution:
    """`input`: the question and its steps, `Step 1: … ки`; `label`: the same text with `+` or `-` in the place of each tag."""
    text, marked = _need(row, "input"), _need(row, "label")
    first = re.search(r"(?:^|(?<=\s))Step 1:", text)
    if first is None or TAG not in text:
        raise ValueError(f"math_shepherd: input: no `Step 1:` with a {TAG} behind its steps")
    *pieces, rest = text[first.start() :].split(TAG)
    if rest.strip():
        raise ValueError(f"math_shepherd: input: the last step has no {TAG} behind it")
    labels: list[Label] = []
    place = first.start()  # in the marked text, where a sign is one character
    for i, piece in enumerate(pieces, 1):
        end = place + len(piece)
        if marked[place:end] != piece or marked[end : end + 1] not in ("+", "-"):
            raise ValueError(f"math_shepherd: label: step {i} is not the one of input with + or - behind it")
        labels.append(int(marked[end] == "+"))
        place = end + 1
    steps = [re.sub(r"^\s*Step \d+:\s*", "", piece).strip() for piece in pieces]
    return _solution(row, text[: first.start()].strip(), steps, labels, "math_shepherd", task=row.get("task"))


def to_math_shepherd(solution: LabelledSolution) -> dict[str, Any]:
    """An unmeasured step ends the text, as in `to_trl`. A step that holds the tag is a `ValueError`."""
    row = to_trl(solution)
    if any(TAG in step for step in row["completions"]):
        raise ValueError(f"record {solution.record.id!r}: a step holds the tag {TAG}")
    head = solution.record.question
    lines = [f"Step {i}: {step} " for i, step in enumerate(row["completions"], 1)]
    signs = ["+" if label else "-" for label in row["labels"]]
    return {
        "input": head + " " + "\n".join(line + TAG for line in lines),
        "label": head + " " + "\n".join(line + sign for line, sign in zip(lines, signs, strict=True)),
        "task": solution.record.source,
    }


def from_visualprm(row: dict[str, Any]) -> LabelledSolution:
    """`conversations`: a system turn, then a human turn for each step (the first also holds the question) and a gpt turn `+` or `-`; `image`."""
    turns = [turn for turn in _need(row, "conversations") if turn.get("from") != "system"]
    if len(turns) % 2 or not turns:
        raise ValueError("visualprm: conversations: every step needs a human and a gpt turn")
    said, signs = [turn["value"] for turn in turns[::2]], [turn["value"].strip() for turn in turns[1::2]]
    if bad := [sign for sign in signs if sign not in ("+", "-")]:
        raise ValueError(f"visualprm: conversations: a gpt turn says {bad[0]!r}, neither + nor -")
    head, found, first = said[0].partition(PROCESS)
    if not found:
        raise ValueError(f"visualprm: conversations: the first human turn has no {PROCESS.strip()!r}")
    question = head.replace(QUESTION, "").replace("<image>", "").strip()
    images = row.get("image") or []
    labels = [int(sign == "+") for sign in signs]
    return _solution(row, question, [first.strip(), *(s.strip() for s in said[1:])], labels, "visualprm", images)


def to_visualprm(solution: LabelledSolution) -> dict[str, Any]:
    """An unmeasured step ends the conversation, as in `to_trl`. Only pictures have a place in this format; other media are a `ValueError`."""
    row, record = to_trl(solution), solution.record
    if bad := [m.kind for m in record.media if m.kind != "image"]:
        raise ValueError(f"record {record.id!r}: visualprm has no place for {bad[0]}")
    images = [m.path for m in record.media]
    turns = [{"from": "system", "value": SYSTEM}]
    for i, (step, label) in enumerate(zip(row["completions"], row["labels"], strict=True)):
        head = "" if i else "<image>\n" * len(images) + f"{QUESTION}{record.question}\n\n{PROCESS}"
        turns += [{"from": "human", "value": head + step}, {"from": "gpt", "value": "+" if label else "-"}]
    return {"id": record.id, "image": images[0] if len(images) == 1 else images, "conversations": turns}


def from_processbench(row: dict[str, Any]) -> LabelledSolution:
    """`problem`, `steps`, `label`: the index of the first wrong step, -1 without one. What lies behind it was not judged."""
    steps, wrong = _need(row, "steps"), _need(row, "label")
    if type(wrong) is not int or not -1 <= wrong < len(steps):
        raise ValueError(f"processbench: label: {wrong!r} is no index of the {len(steps)} steps and not -1")
    labels: list[Label] = [*[1] * len(steps)] if wrong == -1 else [*[1] * wrong, 0, *[None] * (len(steps) - wrong - 1)]
    extra = {k: row[k] for k in ("generator", "final_answer_correct") if k in row}
    return _solution(row, _need(row, "problem"), steps, labels, "processbench", **extra)


def to_processbench(solution: LabelledSolution) -> dict[str, Any]:
    """A solution with an unmeasured step before its first error has no first error to name: `ValueError`."""
    labels = hardened(step_labels(solution))
    wrong = first_error(labels)
    if None in labels[: len(labels) if wrong is None else wrong]:
        raise ValueError(f"record {solution.record.id!r}: an unmeasured step stands before the first error")
    outcome = solution.labels[-1] if solution.answer is not None else None
    right = None if outcome is None else bool(outcome >= 0.5)
    meta = {"generator": "", "final_answer_correct": right} | {k: v for k, v in solution.meta.items() if k in ("generator", "final_answer_correct")}
    shown = {"problem": solution.record.question, "steps": solution.steps, "label": -1 if wrong is None else wrong}
    return {"id": solution.record.id, **meta, **shown}


def from_visualprocessbench(row: dict[str, Any]) -> LabelledSolution:
    """`question`, `answer`, `image` (list), `response.steps` and `response.process_correctness` (1, 0, or -1 neutral: no label)."""
    response = _need(row, "response")
    marks = _need(response, "process_correctness")
    if bad := [mark for mark in marks if mark not in (1, 0, NEUTRAL)]:
        raise ValueError(f"visualprocessbench: process_correctness: {bad[0]!r} is not 1, 0 or -1")
    labels: list[Label] = [None if mark == NEUTRAL else mark for mark in marks]
    extra = {k: row[k] for k in ("policy_model", "data_source") if k in row}
    images, answer = row.get("image") or [], str(row.get("answer", ""))
    return _solution(row, _need(row, "question"), _need(response, "steps"), labels, "visualprocessbench", images, answer, **extra)


def to_visualprocessbench(solution: LabelledSolution) -> dict[str, Any]:
    """An unmeasured step becomes neutral."""
    marks = [NEUTRAL if label is None else label for label in hardened(step_labels(solution))]
    extra = {k: v for k, v in solution.meta.items() if k in ("policy_model", "data_source")}
    record = solution.record
    images = [m.path for m in record.media if m.kind == "image"]
    response = {"steps": solution.steps, "process_correctness": marks}
    return {"image": images, "question": record.question, "answer": ", ".join(record.answer), "response": response, **extra}


FORMATS = {
    "focal": Format(LabelledSolution.from_json, LabelledSolution.to_json),
    "trl": Format(from_trl, to_trl),
    "math_shepherd": Format(from_math_shepherd, to_math_shepherd),
    "visualprm": Format(from_visualprm, to_visualprm),
    "processbench": Format(from_processbench, to_processbench),
    "visualprocessbench": Format(from_visualprocessbench, to_visualprocessbench),
}


def convert(source: str, target: str, path: str | Path, out: str | Path) -> int:
    """A file of one format (JSON lines, or one JSON list) as JSON lines of another; returns how many. A row that does not fit is a `ValueError`
    naming the file and the row."""
    for name in (source, target):
        if name not in FORMATS:
            raise ValueError(f"unknown format {name!r} (known: {', '.join(FORMATS)})")
    text = Path(path).read_text(encoding="utf-8")
    try:
        rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    written = []
    for number, row in enumerate(rows, 1):
        try:
            written.append(json.dumps(FORMATS[target].write(FORMATS[source].read(row)), ensure_ascii=False))
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, row {number}: {error}") from None
    Path(out).write_text("".join(line + "\n" for line in written), encoding="utf-8")
    return len(written)


def step_labels(solution: LabelledSolution) -> list[Label]:
    """Without the answer's."""
    return solution.labels[: len(solution.steps)]


def _need(row: dict[str, Any], field: str) -> Any:
    if not isinstance(row, dict) or field not in row:
        raise ValueError(f"{field}: missing (the row has {', '.join(row) if isinstance(row, dict) else 'no fields'})")
    return row[field]


def _solution(
    row: dict[str, Any], question: str, steps: Sequence[str], labels: Sequence[Label], source: str, images: Any = (), answer: str = "", **meta: Any
) -> LabelledSolution:
    if not isinstance(question, str):
        raise ValueError(f"{source}: the question must be a string, not {type(question).__name__}")
    if len(steps) != len(labels):
        raise ValueError(f"{source}: {len(labels)} labels for {len(steps)} steps")
    paths = [images] if isinstance(images, str) else list(images)
    uid = str(row.get("id") or hashlib.blake2b(question.encode(), digest_size=8).hexdigest())
    record = Record(uid, question, [answer], "text", [MediaRef("image", path) for path in paths], source=source).validate()
    known = {k: v for k, v in meta.items() if v is not None}
    return LabelledSolution(record, list(steps), None, list(labels), source, [None] * len(steps), meta=known).validate()
