"""The process reward model as a scorer: the prompt is read once, each step that candidates share is read once, and all steps get a score."""

import collections
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from data import protocol
from data.protocol import Parsed
from data.solutions import mark_steps
from reasoning.policy import MAX_ROWS, Asked, encode
from reasoning.scorers.aggregate import aggregate
from reasoning.scorers.base import Scored, Scorer, ScorerConfig
from reasoning.scorers.guide import Guide
from reasoning.trace import Generation

How = Literal["min", "prod", "last", "mean", "geo", "logodds"]
Parts = tuple[str, ...]  # a solution in the pieces that are read, each with its mark at the end


class PRMScorerConfig(ScorerConfig):
    """`path`: a run's stage folder, its `checkpoint/`, or a release. `aggregate`: how step scores become one; `last` is the score behind the answer,
    which is the model's belief that all of it is right."""

    aggregate: How = "last"


class PRMScorer(Scorer):
    """`model` and `processor` may be handed in; otherwise they are loaded from the path when they are first needed."""

    name = "prm"
    config_class: ClassVar[type[ScorerConfig]] = PRMScorerConfig
    takes_path = True

    def __init__(self, config: Any, seed: int = 0, model: Any = None, processor: Any = None, max_rows: int = MAX_ROWS):
        super().__init__(config, seed)
        self._loaded = None if model is None else (model, processor)
        self.max_rows = max_rows
        if getattr(config, "aggregate", "last") != "last":
            self.name = f"{self.name}_{config.aggregate}"

    @property
    def fingerprint(self) -> str:
        return f"{self.name}/{'' if self.config.path is None else weights_hash(find_prm(self.config.path))}"

    @property
    def loaded(self) -> tuple[Any, Any]:
        """(model, processor); a folder that holds no process reward model is a `ValueError`."""
        if self._loaded is None:
            self._loaded = load_prm(find_prm(self.config.path))
        return self._loaded

    def parts(self, text: str) -> Parts:
        """A completion up to here as it is read; a solution has one part per step and one for its answer. In the teacher-forced form `+` stands
        behind every earlier mark, as in the published codes and wherever else we score: steps are judged as if those before them were right."""
        parsed = protocol.parse(text)
        forced = getattr(self.loaded[0].config, "prm_form", "placeholder") == "teacher_forced"
        labels = [1] * (len(parsed.steps) + 1) if forced else None
        whole = mark_steps(Parsed(parsed.steps, parsed.answer or "", True, "ok"), labels)
        parts = tuple(part + protocol.STEP for part in whole.split(protocol.STEP)[:-1])
        return parts if parsed.answer is not None else parts[:-1]

    def combine(self, scores: list[float], tokens: int) -> float:
        """One number from the scores of the steps; `tokens` counts the prompt and the solution."""
        return aggregate(scores, self.config.aggregate)

    def begin(self, asked: Sequence[Asked]) -> Guide:
        return self.reader(asked)

    def reader(self, asked: Sequence[Asked]) -> Any:
        from reasoning.scorers.prm_guide import PRMGuide

        return PRMGuide(self, asked)

    def score(self, asked: Sequence[Asked], solutions: Sequence[Sequence[Generation]]) -> list[Scored]:
        """Candidates without an answer get no value. A score that is not a number is a `ValueError`."""
        rows = [[self._whole(g.text) for g in generations] for generations in solutions]
        results = []
        for start, end in chunks([len(mine) for mine in rows], self.max_rows):
            results += self._score(asked[start:end], rows[start:end])
        return results

    def cost(self, asked: Sequence[Asked], solutions: Sequence[Sequence[Generation]]) -> list[int]:
        costs = []
        for item, generations in zip(asked, solutions, strict=True):
            rows = {row for row in (self._whole(g.text) for g in generations) if row is not None}
            nodes = {row[: depth + 1] for row in rows for depth in range(len(row))}
            costs.append((self.prompt_tokens(item) if rows else 0) + sum(len(self.ids(node[-1])) for node in nodes))
        return costs

    def prompt_tokens(self, asked: Asked) -> int:
        return len(self.encode(asked).prompt)

    def ids(self, part: str) -> list[int]:
        return self.loaded[1].tokenizer(part, add_special_tokens=False)["input_ids"]

    def encode(self, asked: Asked) -> Any:
        """The record's prompt in the scorer's own layout and tokens."""
        processor = self.loaded[1]
        turn = asked.turn or protocol.prompt(asked.record)
        prompt = processor.tokenizer.apply_chat_template([{"role": "user", "content": turn}], add_generation_prompt=True, tokenize=False)
        try:
            return encode(asked, processor, prompt, f"prm {self.config.path}")
        except ValueError as error:
            raise ValueError(f"scorer {self.name!r} cannot read record {asked.record.id!r}: {error}") from None

    def prefill(self, asked: Sequence[Asked]) -> Any:
        """A session behind the items' prompts, one row each."""
        from models.sampler import Session

        model, processor = self.loaded
        device = next(model.parameters()).device
        batch = dict(processor.collate([self.encode(item) for item in asked], "left"))
        return Session.prefill(model, {k: v.to(device) if hasattr(v, "to") else v for k, v in batch.items()})

    def _whole(self, text: str) -> Parts | None:
        return None if protocol.parse(text).answer is None else self.parts(text)

    def _score(self, asked: Sequence[Asked], rows: Sequence[Sequence[Parts | None]]) -> list[Scored]:
        """From one parting of the ways to the next, so that steps which candidates have in common are read once."""
        scored = [Scored([None] * len(mine), [[] for _ in mine], [0] * len(mine)) for mine in rows]
        solutions = {(i, j): row for i, mine in enumerate(rows) for j, row in enumerate(mine) if row is not None}
        stops = {place: stop for i in range(len(rows)) for place, stop in partings({p: r for p, r in solutions.items() if p[0] == i}).items()}
        places, parents, turn = list(solutions), [i for i, _ in solutions], 0
        guide = self.reader(asked) if places else None
        while places:
            judged = guide.follow(parents, [solutions[place][: stops[place][turn]] for place in places])
            for (i, j), verdict in zip(places, judged, strict=True):
                scored[i].prompt_tokens = guide.prompt_tokens[i]
                scored[i].tokens[j] += verdict.tokens
                scored[i].values[j], scored[i].steps[j] = verdict.value, verdict.steps
            turn += 1
            parents = [n for n, place in enumerate(places) if len(stops[place]) > turn]
            places = [places[n] for n in parents]
        return scored


def partings(solutions: dict[Any, Parts]) -> dict[Any, list[int]]:
    """For each solution, the numbers of parts behind which it parts from another one, or ends."""
    sharers = collections.Counter(row[:depth] for row in solutions.values() for depth in range(1, len(row) + 1))
    return {
        place: [depth for depth in range(1, len(row) + 1) if depth == len(row) or sharers[row[:depth]] != sharers[row[: depth + 1]]]
        for place, row in solutions.items()
    }


def chunks(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """(first, last) of consecutive items that have at most `most` rows together, or are one item."""
    start, rows = 0, 0
    for i, size in enumerate(sizes):
        if i > start and rows + size > most:
            yield start, i
            start, rows = i, 0
        rows += size
    if start < len(sizes):
        yield start, len(sizes)


def is_prm(folder: Path) -> bool:
    """Whether a folder holds a process reward model, of which `step_token_id` is the mark."""
    config = folder / "config.json"
    return config.is_file() and json.loads(config.read_text(encoding="utf-8")).get("step_token_id") is not None


def find_prm(path: str | Path | None) -> Path:
    """The folder of a process reward model's weights: the path itself, its `checkpoint/` or `release/`, or the last such stage of a run."""
    if path is None:
        raise ValueError("scorer prm needs a folder: scorer=prm:DIR")
    tried = [Path(path), Path(path) / "checkpoint", Path(path) / "release", *sorted(Path(path).glob("stages/*/checkpoint"), reverse=True)]
    for folder in tried:
        if is_prm(folder):
            return folder
    raise ValueError(f"scorer prm: {path} holds no process reward model (a config.json with step_token_id; looked in {len(tried)} folders)")


def load_prm(folder: Path) -> tuple[Any, Any]:
    import torch

    from models.prm import FocalPRM
    from models.processing import FocalProcessor

    model, processor = FocalPRM.from_pretrained(folder), FocalProcessor.from_pretrained(folder)
    told = processor.tokenizer.convert_tokens_to_ids(protocol.STEP)
    if told != model.config.step_token_id:
        raise ValueError(f"{folder}: its tokenizer has {protocol.STEP} at {told}, its model reads {model.config.step_token_id}: not a pair")
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), processor


def weights_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with open(file, "rb") as data:
            while block := data.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()[:16]
