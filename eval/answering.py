"""Who answers: prompts and media in, completions out. Greedy and sampled decoding of our own model; search strategies join by the same two
attributes and one method."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from data import protocol
from data.record import Record
from data.worlds.base import generator
from models.media import Media

MODEL_STRATEGIES = ("greedy", "sample")


@dataclasses.dataclass(slots=True)
class Asked:
    """One item as it is put to the model."""

    record: Record
    prompt: str
    media: list[Media]


@dataclasses.dataclass(slots=True)
class Answered:
    """One completion with its end token, where it came to one. Tokens: generated along the longest chain, over all samples, and by or for a
    scorer. `error` says why an item could not be asked."""

    completion: str
    sequential: int = 0
    total: int = 0
    scorer_total: int = 0
    finished: bool = True
    error: str | None = None
    trace: dict[str, Any] | None = None


class Answerer(Protocol):
    """`settings`: everything its completions depend on but the weights: at least strategy, scorer, samples, temperature, max_new_tokens."""

    settings: dict[str, Any]

    def chat(self, user_turn: str) -> str:
        """The user turn as the model's whole prompt."""

    def answer(self, asked: Sequence[Asked]) -> list[Answered]:
        """One answer per item, in order; the same items give the same answers."""


class ModelAnswerer:
    """Our own model, one completion per item: greedy at temperature 0, otherwise sampled from a seed of (seed, record id)."""

    def __init__(self, model: Any, processor: Any, *, max_new_tokens: int = 200, temperature: float = 0.0, seed: int = 0):
        self.model, self.processor, self.seed = model, processor, seed
        self.settings: dict[str, Any] = {
            "strategy": "sample" if temperature > 0 else "greedy", "scorer": None, "samples": 1, "temperature": float(temperature),
            "max_new_tokens": max_new_tokens, "seed": seed,
        }  # fmt: skip

    def chat(self, user_turn: str) -> str:
        turns = [{"role": "user", "content": user_turn}]
        return self.processor.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)

    def answer(self, asked: Sequence[Asked]) -> list[Answered]:
        answers: list[Answered | None] = [None] * len(asked)
        rows, places = [], []
        for i, item in enumerate(asked):
            try:
                rows.append(self.processor.encode(item.prompt, item.media))
                places.append(i)
            except ValueError as error:  # a medium of a kind or shape that the model does not take
                answers[i] = Answered("", error=str(error))
        if rows:
            for i, answered in zip(places, self._decode(rows, [asked[i].record.id for i in places]), strict=True):
                answers[i] = answered
        return [a for a in answers if a is not None]

    def _decode(self, rows: list[Any], ids: list[str]) -> list[Answered]:
        from models.sampler import sample

        tokenizer = self.processor.tokenizer
        batch = dict(self.processor.collate(rows, "left"))
        device = next(self.model.parameters()).device
        batch = {k: v.to(device) if hasattr(v, "to") else v for k, v in batch.items()}
        stops = [tokenizer.convert_tokens_to_ids(protocol.END)]
        if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in stops:
            stops.append(tokenizer.eos_token_id)
        seeds = [int(generator(self.seed, "sample", name).integers(1 << 62)) for name in ids]
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stops[0]
        drawn = sample(
            self.model, batch, self.settings["max_new_tokens"], stop_ids=stops, pad_id=pad, temperature=self.settings["temperature"], seeds=seeds
        )
        answers = []
        for ids_row, length, finished in zip(drawn.ids.tolist(), drawn.lengths.tolist(), drawn.finished.tolist(), strict=True):
            text = tokenizer.decode(ids_row[:length], skip_special_tokens=False, clean_up_tokenization_spaces=False)
            answers.append(Answered(text, length, length, finished=finished))
        return answers


def build_answerer(strategy: dict[str, Any], model: Any, processor: Any, *, max_new_tokens: int, seed: int) -> Answerer:
    """The answerer of a recipe's strategy line: `{name: greedy}`, `{name: sample, temperature: 1.0}`, or one of the registered strategies."""
    options = dict(strategy)
    name = options.pop("name", "greedy")
    if name in MODEL_STRATEGIES:
        temperature = float(options.pop("temperature", 0.0 if name == "greedy" else 1.0))
        if options:
            raise ValueError(f"strategy {name!r} has no option {next(iter(options))!r}")
        if (temperature > 0) != (name == "sample"):
            raise ValueError(f"strategy {name!r}: temperature {temperature} does not fit it")
        return ModelAnswerer(model, processor, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    raise ValueError(f"unknown strategy {name!r} (known: {', '.join(MODEL_STRATEGIES)})")
