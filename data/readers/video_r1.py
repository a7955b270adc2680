"""Records in the layout of Video-R1 and of those who built on it: NExT-GQA and STAR as TW-GRPO reformatted them, and its CLEVRER questions with
several right letters. One JSON list beside its videos.

A row has `problem` (or `question`), `options` ("(A) sat", "A. sat", or "A sat" as lines of the problem), `solution` (`<answer>A,C</answer>`) or
`answer` ("(C)"), `video` or `path`, and an id. Rows of other kinds (numbers, transcriptions, free text) keep their answer as text.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.media import confine
from data.record import LETTERS, AnswerType, MediaRef, Record, read_json

_OPTION = re.compile(r"^\s*\(?([A-Z])(?:[.):]\s*|\s+)(\S.*)$")
_LETTERS = re.compile(r"\(?[A-Z]\)?(?:\s*,\s*\(?[A-Z]\)?)*\.?")
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


class VideoR1Reader:
    """Records of a file, in its order. `media_root` confines the files that are used (default: the file's folder); all records get the `split`."""

    def __init__(self, path: str | Path, media_root: str | Path | None = None, split: str = "train"):
        self.path, self.split = Path(path), split
        if not self.path.is_file():
            raise ValueError(f"no Video-R1 file at {self.path}")
        self.media_root = Path(media_root or self.path.parent)

    def __iter__(self) -> Iterator[Record]:
        rows = read_json(self.path)
        if not isinstance(rows, list):
            raise ValueError(f"{self.path}: Video-R1 is a list of rows, not {type(rows).__name__}")
        for number, row in enumerate(rows, 1):
            try:
                yield self._record(row, number)
            except KeyError as error:
                raise ValueError(f"{self.path}, row {number}: {error} is missing") from None
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"{self.path}, row {number}: {error}") from None

    def _record(self, row: dict[str, Any], number: int) -> Record:
        id = f"video_r1/{row.get('problem_id', row.get('id', number))}-{number}"
        question, options = split_options(str(row.get("problem") or row["question"]), row.get("options") or [])
        answer, kind = read_answer(str(row.get("solution") or row["answer"]), len(options))
        file = str(row.get("video") or row.get("path") or "").lstrip("./")
        what: Any = "image" if row.get("data_type") == "image" else "video"
        media = [MediaRef(what, str(confine(file, self.media_root)))] if file else []
        meta: dict[str, Any] = {k: row[k] for k in ("problem_type", "type", "data_source") if k in row}
        return Record(
            id, question, answer, kind, media, options or None, source="video_r1", split=self.split, group=f"video_r1/{file or id}", meta=meta
        ).validate()


def split_options(text: str, options: list[str]) -> tuple[str, list[str]]:
    """(question, options without letters). Options that are lines of the text come off it where they are lettered A, B, C … without a gap."""
    lines = text.splitlines()
    found = [_OPTION.match(line) for line in lines]
    start = next((i for i in range(1, len(lines)) if _lettered(found[i:])), len(lines))
    listed = [found[i][2].strip() for i in range(start, len(lines)) if lines[i].strip()]
    stated = [m[2].strip() if (m := _OPTION.match(option)) else option.strip() for option in options]
    question = "\n".join(lines[:start]) if listed and (not stated or stated == listed) else text
    return question.removesuffix("Options:").strip(), stated or listed


def _lettered(found: list[re.Match[str] | None]) -> bool:
    letters = [match[1] for match in found if match]
    return len(letters) >= 2 and len(letters) == len(found) and letters == list(LETTERS[: len(letters)])


def read_answer(text: str, options: int) -> tuple[list[str], AnswerType]:
    """(answer, its type): letters where there are options, several of them as `choices`; otherwise the text."""
    tagged = _ANSWER.search(text)
    inside = (tagged[1] if tagged else text).strip()
    if not options:
        return [inside], "text"
    if not _LETTERS.fullmatch(inside):
        raise ValueError(f"answer {inside!r} is no letter of the options")
    letters = sorted(set(re.findall(r"[A-Z]", inside)))
    if beyond := [letter for letter in letters if letter not in LETTERS[:options]]:
        raise ValueError(f"answer {beyond[0]!r} is beyond the {options} options")
    return letters, "choice" if len(letters) == 1 else "choices"
