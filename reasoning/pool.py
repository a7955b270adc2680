"""Samples drawn once, and judged once: every strategy and scorer that asks for the same sample of the same item gets the same one, within a run
and after a crash; what a scorer said of the same candidates is remembered while strategies follow each other.

The file is a trace: one JSON line per generation. Its name carries a hash of everything that the samples depend on but the items; each line
carries a hash of its item (prompt and media).
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.jsonl_log import append_log, read_log
from data.record import Record
from reasoning.policy import Asked, Policy
from reasoning.scorers.base import Scored, Scorer
from reasoning.scorers.guide import Guide
from reasoning.trace import Call, Generation, answer_of


class PooledPolicy:
    """A policy in front of the file of its samples at one temperature and length: `folder/<stem>-t1-<hash>.jsonl`."""

    def __init__(self, policy: Policy, folder: Path, stem: str, temperature: float, max_new_tokens: int, settings: Sequence[object] = ()):
        self.policy, self.name, self.fingerprint, self.seed = policy, policy.name, policy.fingerprint, policy.seed
        self.temperature, self.max_new_tokens = temperature, max_new_tokens
        told = json.dumps([self.fingerprint, temperature, max_new_tokens, *settings], default=str)
        self.path = Path(folder) / f"{stem}-t{temperature:g}-{hashlib.sha256(told.encode()).hexdigest()[:8]}.jsonl"
        self._kept: dict[str, dict[int, Call]] | None = None

    @property
    def kept(self) -> dict[str, dict[int, Call]]:
        """Item -> number -> sample."""
        if self._kept is None:
            self._kept = self._read()
        return self._kept

    def chat(self, turn: str) -> str:
        return self.policy.chat(turn)

    def ask(self, record: Record, instruction: str = "") -> Asked:
        return self.policy.ask(record, instruction)

    def problem(self, asked: Asked) -> str | None:
        return None if item_key(asked) in self.kept else self.policy.problem(asked)

    def prompt_tokens(self, asked: Asked) -> int:
        return self.spans(asked)[-1][2]

    def spans(self, asked: Asked) -> list[tuple[str, int, int]]:
        kept = self.kept.get(item_key(asked))
        return next(iter(kept.values())).spans if kept else self.policy.spans(asked)

    def sample(self, asked: Sequence[Asked], ks: Sequence[Sequence[int]], temperature: float, max_new_tokens: int) -> list[list[Generation]]:
        if (temperature, max_new_tokens) != (self.temperature, self.max_new_tokens):
            return self.policy.sample(asked, ks, temperature, max_new_tokens)
        keys = [item_key(item) for item in asked]
        missing = [[k for k in numbers if k not in self.kept.get(key, {})] for key, numbers in zip(keys, ks, strict=True)]
        if any(missing):
            self._append(asked, keys, self.policy.sample(asked, missing, temperature, max_new_tokens))
        return [[self.kept[key][k].generation for k in numbers] for key, numbers in zip(keys, ks, strict=True)]

    def begin(self, asked: Sequence[Asked]) -> Any:
        return self.policy.begin(asked)

    def _read(self) -> dict[str, dict[int, Call]]:
        """The file's samples."""
        kept: dict[str, dict[int, Call]] = {}
        for row in read_log(self.path):
            call = Call.from_json(row)
            kept.setdefault(row["item"], {})[call.generation.k] = call
        return kept

    def _append(self, asked: Sequence[Asked], keys: list[str], drawn: list[list[Generation]]) -> None:
        rows = []
        for item, key, generations in zip(asked, keys, drawn, strict=True):
            spans = self.policy.spans(item) if generations else []
            for g in generations:
                call = Call(item.record.id, g.k, None, self.name, self.temperature, g, spans, answer_of(item.record, g.text, g.finished))
                self.kept.setdefault(key, {})[g.k] = call
                rows.append({"item": key, **call.to_json()})
        append_log(self.path, rows)


class PooledScorer(Scorer):
    """A scorer behind the memory of what it said of these very candidates: strategies with the same scorer share it, and each pays for the tokens
    as if it had asked alone. `memory` may be shared by scorers of every kind."""

    def __init__(self, scorer: Scorer, memory: dict[Any, Scored]):
        super().__init__(scorer.config, scorer.seed)
        self.scorer, self.memory, self.name = scorer, memory, scorer.name

    @property
    def fingerprint(self) -> str:
        return self.scorer.fingerprint

    def bind(self, policy: Policy) -> None:
        self.scorer.bind(policy)

    def score(self, asked: Sequence[Asked], solutions: Sequence[Sequence[Generation]]) -> list[Scored]:
        mark = self.fingerprint
        keys = [(mark, item_key(item), tuple((g.k, g.text) for g in mine)) for item, mine in zip(asked, solutions, strict=True)]
        new = {key: i for i, key in enumerate(keys) if key not in self.memory}
        if new:
            said = self.scorer.score([asked[i] for i in new.values()], [solutions[i] for i in new.values()])
            self.memory.update(zip(new, said, strict=True))
        return [self.memory[key] for key in keys]

    def cost(self, asked: Sequence[Asked], solutions: Sequence[Sequence[Generation]]) -> list[int]:
        return self.scorer.cost(asked, solutions)

    def begin(self, asked: Sequence[Asked]) -> Guide:
        return self.scorer.begin(asked)


def item_key(asked: Asked) -> str:
    """A hash of what is asked: record, prompt and the very samples of its media."""
    if "key" not in asked.encoded:
        digest = hashlib.sha256(f"{asked.record.id}\0{asked.prompt}".encode("utf-8", "surrogatepass"))
        for medium in asked.media:
            digest.update(f"{medium.kind}{medium.array.shape}{medium.array.dtype}".encode() + medium.array.tobytes())
        asked.encoded["key"] = digest.hexdigest()[:16]
    return asked.encoded["key"]
