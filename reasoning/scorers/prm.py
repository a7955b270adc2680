"""The process reward model as a scorer: every step of every candidate in one pass behind one reading of the prompt."""

import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from data import protocol
from data.solutions import mark_steps
from reasoning.policy import MAX_ROWS, Asked, encode
from reasoning.scorers.aggregate import aggregate
from reasoning.scorers.base import Scored, Scorer, ScorerConfig
from reasoning.trace import Generation

How = Literal["min", "prod", "last", "mean", "geo", "logodds"]


class PRMScorerConfig(ScorerConfig):
    """`path`: a run's stage folder, its `checkpoint/`, or a release. `aggregate`: how step scores become one; `last` is the score behind the answer,
    which is the model's belief that all of it is right."""

    aggregate: How = "last"


class PRMScorer(Scorer):
    """`model` and `processor` may be handed in; otherwise they are loaded from the path when they are first needed."""

    name = "prm"
    config_class: ClassVar[type[PRMScorerConfig]] = PRMScorerConfig
    takes_path = True

    def __init__(self, config: Any, seed: int = 0, model: Any = None, processor: Any = None, max_rows: int = MAX_ROWS):
        super().__init__(config, seed)
        self._loaded = None if model is None else (model, processor)
        self.max_rows = max_rows
        if config.aggregate != self.config_class().aggregate:
            self.name = f"{self.name}_{config.aggregate}"

    @property
    def fingerprint(self) -> str:
        weights = "" if self.config.path is None else weights_hash(find_prm(self.config.path))
        return f"{self.name}/{self.config.aggregate}/{weights}"

    @property
    def loaded(self) -> tuple[Any, Any]:
        """(model, processor); a folder that holds no process reward model is a `ValueError`."""
        if self._loaded is None:
            self._loaded = load_prm(find_prm(self.config.path))
        return self._loaded

    def marked(self, text: str) -> str | None:
        """The solution as the model reads it; None where it is none."""
        parsed = protocol.parse(text)
        return None if parsed.answer is None else mark_steps(parsed)

    def combine(self, item: Asked, steps: list[float], tokens: int) -> float:
        return aggregate(steps, self.config.aggregate)

    def score(self, asked: Sequence[Asked], solutions: Sequence[Sequence[Generation]]) -> list[Scored]:
        """Candidates that say the same are read once. A score that is no number is a `ValueError`."""
        rows = [self._rows(generations) for generations in solutions]
        distinct = [list(dict.fromkeys(row for row in mine if row is not None)) for mine in rows]
        found = self._read(asked, distinct)
        return [self._scored(item, mine, known) for item, mine, known in zip(asked, rows, found, strict=True)]

    def cost(self, asked: Sequence[Asked], solutions: Sequence[Sequence[Generation]]) -> list[int]:
        rows = [set(self._rows(generations)) - {None} for generations in solutions]
        return [self.prompt_tokens(item) + sum(map(len, mine)) if mine else 0 for item, mine in zip(asked, rows, strict=True)]  # type: ignore[arg-type]

    def prompt_tokens(self, asked: Asked) -> int:
        return len(self._encode(asked).prompt)

    def _encode(self, asked: Asked) -> Any:
        processor = self.loaded[1]
        turn = asked.turn or protocol.prompt(asked.record)
        prompt = processor.tokenizer.apply_chat_template([{"role": "user", "content": turn}], add_generation_prompt=True, tokenize=False)
        try:
            return encode(asked, processor, prompt, self.config.path or "prm")
        except ValueError as error:
            raise ValueError(f"scorer {self.name!r} cannot read record {asked.record.id!r}: {error}") from None

    def _rows(self, generations: Sequence[Generation]) -> list[tuple[int, ...] | None]:
        tokenizer = self.loaded[1].tokenizer
        texts = [self.marked(g.text) for g in generations]
        return [None if text is None else tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]

    def _scored(self, item: Asked, rows: list[tuple[int, ...] | None], known: dict[tuple[int, ...], list[float]]) -> Scored:
        scored, seen = Scored([], [], [], self.prompt_tokens(item) if known else 0), set()
        for row in rows:
            steps = [] if row is None else known[row]
            if any(score != score for score in steps):
                raise ValueError(f"scorer {self.name!r}: record {item.record.id!r} got a score that is not a number: the model's weights are broken")
            scored.values.append(None if row is None else self.combine(item, steps, scored.prompt_tokens + len(row)))
            scored.steps.append(steps)
            scored.tokens.append(0 if row is None or row in seen else len(row))
            seen.add(row)
        return scored

    def _read(self, asked: Sequence[Asked], distinct: list[list[tuple[int, ...]]]) -> list[dict[tuple[int, ...], list[float]]]:
        found: list[dict[tuple[int, ...], list[float]]] = [{} for _ in asked]
        places = [i for i, mine in enumerate(distinct) if mine]
        while places:
            part: list[int] = []
            rows = 0
            while places and (not part or rows + len(distinct[places[0]]) <= self.max_rows):
                part.append(places.pop(0))
                rows += len(distinct[part[-1]])
            owners = [i for i in part for _ in distinct[i]]
            solutions = [row for i in part for row in distinct[i]]
            scores = self._pass([asked[i] for i in part], [part.index(i) for i in owners], solutions)
            for owner, row, steps in zip(owners, solutions, scores, strict=True):
                found[owner][row] = steps
        return found

    def _pass(self, asked: list[Asked], owners: list[int], solutions: list[tuple[int, ...]]) -> list[list[float]]:
        """Prompts once, then all solutions behind them."""
        import torch

        model = self.loaded[0]
        hidden = self.prefill(asked).fork(owners).extend(solutions)
        marks = [torch.tensor(row, device=h.device) == model.config.step_token_id for row, h in zip(solutions, hidden, strict=True)]
        with torch.no_grad():
            scores = right_probability(model, torch.cat([h[mark] for h, mark in zip(hidden, marks, strict=True)]))
        counts = [int(mark.sum()) for mark in marks]
        ends = list(itertools.accumulate(counts))
        return [scores[end - count : end] for count, end in zip(counts, ends, strict=True)]

    def prefill(self, asked: Sequence[Asked]) -> Any:
        """A session behind the items' prompts, one row each."""
        from models.sampler import Session

        model, processor = self.loaded
        device = next(model.parameters()).device
        batch = dict(processor.collate([self._encode(item) for item in asked], "left"))
        return Session.prefill(model, {k: v.to(device) if hasattr(v, "to") else v for k, v in batch.items()})


def right_probability(model: Any, hidden: Any) -> list[float]:
    """Of hidden states [P, d] at placeholders: the probability that the solution is right up to there."""
    return model.judge_logits(hidden).float().softmax(-1)[:, 1].tolist()


def find_prm(path: str | Path | None) -> Path:
    """The folder of a process reward model's weights: the path itself, its `checkpoint/` or `release/`, or the last such stage of a run."""
    if path is None:
        raise ValueError("scorer prm needs a folder: scorer=prm:DIR")
    tried = [Path(path), Path(path) / "checkpoint", Path(path) / "release", *sorted(Path(path).glob("stages/*/checkpoint"), reverse=True)]
    for folder in tried:
        config = folder / "config.json"
        if config.is_file() and json.loads(config.read_text(encoding="utf-8")).get("step_token_id") is not None:
            return folder
    raise ValueError(f"scorer prm: {path} holds no process reward model (a config.json with step_token_id; looked in {len(tried)} folders)")


def load_prm(folder: Path) -> tuple[Any, Any]:
    import torch

    from models.prm import FocalPRM
    from models.processing import FocalProcessor

    model, processor = FocalPRM.from_pretrained(folder), FocalProcessor.from_pretrained(folder)
    told = processor.tokenizer.convert_tokens_to_ids(protocol.STEP)
    if told != model.config.step_token_id:
        raise ValueError(
            f"{folder}: its tokenizer has {protocol.STEP} at {told}, its model reads {model.config.step_token_id}: they do not belong together"
        )
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), processor


def weights_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with open(file, "rb") as data:
            while block := data.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()[:16]
