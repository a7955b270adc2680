"""PuzzleVQA (DeCLaRe Lab, MIT): abstract visual puzzles, 20 JSON-lines files and their images.

Two leaks of the release are closed here: options come in random order (`grid_number` has its answer in slot D always), and puzzles that say the
same thing twice (`size_cycle`) are kept once. Splits are by puzzle instance.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from data.media import confine
from data.record import LETTERS, MediaRef, Record, Step
from data.worlds.base import generator, split_of


class PuzzleVQAReader:
    """Records of all puzzles (or of the `puzzles` named), in file order. Steps: the caption, the pattern, the deduction."""

    def __init__(self, path: str | Path, puzzles: list[str] | None = None, seed: int = 0):
        self.path, self.seed = Path(path), seed
        if not self.path.is_dir():
            raise ValueError(f"no PuzzleVQA folder at {self.path}: set data.root, or see docs/your_data.md for how to get it")
        files = {file.stem: file for file in sorted(self.path.glob("*.json"))}
        if unknown := sorted(set(puzzles or []) - set(files)):
            raise ValueError(f"puzzlevqa: no puzzle is called {unknown[0]!r} (there are: {', '.join(files)})")
        self.files = {name: file for name, file in files.items() if not puzzles or name in puzzles}

    def __iter__(self) -> Iterator[Record]:
        seen: set[str] = set()
        for name, file in self.files.items():
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                try:
                    row = json.loads(line)
                    same = hashlib.blake2b(json.dumps([row["question"], row["caption"], str(row["answer"])]).encode(), digest_size=8).hexdigest()
                    if same not in seen:
                        seen.add(same)
                        yield self._record(name, row, same)
                except (ValueError, KeyError, TypeError) as error:
                    raise ValueError(f"{file}, line {number}: {type(error).__name__}: {error}") from None

    def _record(self, puzzle: str, row: dict, uid: str) -> Record:
        given = [str(option) for option in row["options"]]
        order = generator(self.seed, "puzzlevqa", uid).permutation(len(given)).tolist()
        options = [given[i] for i in order]
        answer = str(row["answer"])
        steps = [
            Step(row["caption"], "perception"),
            Step(row["explanation"], "reasoning", parents=[0]),
            Step(row["deduction"], "reasoning", answer, [0, 1]),
        ]
        group = f"puzzlevqa/{uid}"
        return Record(
            f"puzzlevqa/{Path(row['image']).stem}", row["question"], [LETTERS[options.index(answer)]], "choice",
            [MediaRef("image", str(confine(row["image"], self.path)))], options, steps=steps, source="puzzlevqa", split=split_of(group), group=group,
            meta={"puzzle": puzzle},
        ).validate()  # fmt: skip
