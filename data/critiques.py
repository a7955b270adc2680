"""The question of which step of a solution is the first wrong one, as a record like any other: what a judge is asked, and what it is taught."""

import hashlib
import re

from data import protocol
from data.label_report import hardened
from data.record import LETTERS, Record
from data.solutions import LabelledSolution
from data.step_labels import first_error

SOUND = "none"  # the answer where no step is wrong
QUESTION = "Which step is the first wrong one? Answer with its number, or none."


def critique(solution: LabelledSolution) -> Record:
    """The question about a solution, with the media of its record. The gold answer is the number (from 1) of the first step whose label is below
    0.5, or `none`."""
    record = solution.record
    lines = [record.question, *(f"{LETTERS[i]}. {option}" for i, option in enumerate(record.options or []))]
    lines += [f"Step {i}: {protocol.one_line(step)}" for i, step in enumerate(solution.steps, 1)]
    lines += [f"Answer: {protocol.one_line(solution.answer or '')}", QUESTION]
    wrong = first_error(hardened(solution.labels[: len(solution.steps)]))
    gold = SOUND if wrong is None else str(wrong + 1)
    uid = hashlib.blake2b("\n".join(lines).encode(), digest_size=6).hexdigest()
    return Record(
        f"{record.id}/critique/{uid}", "\n".join(lines), [gold], "text", media=record.media, source=record.source, split=record.split,
        group=record.group or record.id, meta={"solution_of": record.id},
    )  # fmt: skip


def read_critique(text: str | None, steps: int) -> tuple[int | None, bool]:
    """(index from 0 of the step that an answer names, None for `none`; whether it could be read at all). A number that is no step of the solution
    cannot be read."""
    said = (text or "").strip().strip(".").casefold()
    if said == SOUND:
        return None, True
    found = re.fullmatch(r"(?:step )?(\d{1,4})", said)
    if found and 1 <= int(found[1]) <= steps:
        return int(found[1]) - 1, True
    return None, False
