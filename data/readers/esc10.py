"""ESC-10: real environmental sounds in folders `NNN - Class`, files `FOLD-CLIP-TAKE.ogg` (K. J. Piczak, CC BY 3.0). Five folds; a clip never
straddles them."""

import re
from collections.abc import Iterator
from pathlib import Path

from data.record import MediaRef, Record, Step

_FOLDER = re.compile(r"\d+ - (?P<label>.+)")
_FILE = re.compile(r"(?P<fold>[1-5])-(?P<clip>\d+)-(?P<take>[A-Z])")
QUESTION = "Which sound is this?"


class Esc10Reader:
    """Records of the given folds (default: all), in name order. The answer is the class in lower case."""

    def __init__(self, path: str | Path, folds: list[int] | None = None):
        self.path, self.folds = Path(path), set(folds or range(1, 6))
        if not self.path.is_dir():
            raise ValueError(f"no ESC-10 folder at {self.path}: set data.root, or see docs/your_data.md for how to get it")
        if unknown := sorted(self.folds - set(range(1, 6))):
            raise ValueError(f"esc10: fold {unknown[0]} is not one of 1-5")

    def __iter__(self) -> Iterator[Record]:
        for folder in sorted(self.path.iterdir()):
            named = _FOLDER.fullmatch(folder.name)
            for file in sorted(folder.glob("*.ogg")) if named else []:
                found = _FILE.fullmatch(file.stem)
                if found and int(found["fold"]) in self.folds:
                    yield self._record(named["label"].lower(), found, file)

    @staticmethod
    def _record(label: str, found: re.Match, file: Path) -> Record:
        return Record(
            f"esc10/{file.stem}", QUESTION, [label], "text", [MediaRef("audio", str(file))], steps=[Step(f"sound: {label}", "perception", label)],
            source="esc10", group=f"esc10/{found['clip']}", meta={"class": label, "fold": int(found["fold"]), "facts": {"sound": label}},
        )  # fmt: skip
