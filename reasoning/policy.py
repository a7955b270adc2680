"""Who generates: our own model behind the few calls that a strategy makes. `policy_http` is the same over a server."""

import collections
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

from data import protocol
from data.record import Record
from data.worlds.base import generator
from models.media import Media
from reasoning.trace import Generation

MAX_ROWS = 512  # completions decoded side by side


@dataclasses.dataclass(slots=True)
class Asked:
    """One item as it is put to a model: `turn` is the user's turn, `prompt` the whole prompt in the policy's chat layout. `encoded` keeps what
    processors made of it, so that media features are computed once per item."""

    record: Record
    prompt: str
    media: list[Media]
    turn: str = ""
    encoded: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)


class Policy(Protocol):
    """`name` and `fingerprint` tell models apart, in ledgers and on disk."""

    name: str
    fingerprint: str
    seed: int

    def chat(self, turn: str) -> str:
        """The user turn as the model's whole prompt."""

    def ask(self, record: Record, instruction: str = "") -> Asked:
        """A record as it is put to this model, its media decoded."""

    def problem(self, asked: Asked) -> str | None:
        """Why an item cannot be asked (a medium of a kind or shape that the model does not take); None where it can."""

    def prompt_tokens(self, asked: Asked) -> int: ...

    def spans(self, asked: Asked) -> list[tuple[str, int, int]]:
        """What the prompt's tokens are: (`text` or a medium, start, end), in order."""

    def sample(self, asked: Sequence[Asked], ks: Sequence[Sequence[int]], temperature: float, max_new_tokens: int) -> list[list[Generation]]:
        """The samples numbered `ks[i]` of item i; number k depends on (seed, record id, k) alone, whatever is drawn beside it (up to rounding)."""

    def begin(self, asked: Sequence[Asked]) -> Any:
        """A stepper behind the prompts of the items, one row each (see `stepping.ModelStepper`)."""


def sample_seed(seed: int, record_id: str, k: int) -> int:
    """The randomness of sample k of a record."""
    return int(generator(seed, "sample", record_id, k).integers(1 << 62))


def encode(asked: Asked, processor: Any, prompt: str, signature: str) -> Any:
    """The prompt's ids and media features by a processor; kept in the item under the processor's signature."""
    if signature not in asked.encoded:
        asked.encoded[signature] = processor.encode(prompt, asked.media)
    return asked.encoded[signature]


def twins(asked: Sequence[Asked], ks: Sequence[Sequence[int]]) -> list[int]:
    """For each item the place of the first that puts the very same to a model: prompt, media (blank ones of one size) and numbers. Without
    temperature they are answered alike."""
    counts = collections.Counter(item.prompt for item in asked)
    seen: dict[tuple, int] = {}
    places = []
    for place, (item, numbers) in enumerate(zip(asked, ks, strict=True)):
        if counts[item.prompt] > 1:  # only then are media looked at
            media = (content_key(m) for m in item.media)
            place = seen.setdefault((item.prompt, tuple(numbers), *media), place)
        places.append(place)
    return places


def content_key(medium: Media) -> tuple:
    """Equal for media with the same content."""
    times = None if medium.times is None else medium.times.tobytes()
    return medium.kind, medium.rate, times, medium.array.shape, medium.array.dtype.str, hashlib.sha256(medium.array.tobytes()).digest()


class ModelPolicy:
    """Our own model. Temperature 0 is greedy."""

    name = "policy"

    def __init__(self, model: Any, processor: Any, *, seed: int = 0, fingerprint: str = "", max_rows: int = MAX_ROWS):
        self.model, self.processor, self.seed, self.fingerprint, self.max_rows = model, processor, seed, fingerprint, max_rows

    def chat(self, turn: str) -> str:
        return self.processor.tokenizer.apply_chat_template([{"role": "user", "content": turn}], add_generation_prompt=True, tokenize=False)

    def ask(self, record: Record, instruction: str = "") -> Asked:
        from data.media import decode_ref

        turn = protocol.prompt(record, instruction)
        return Asked(record, self.chat(turn), [decode_ref(ref, self.processor.media) for ref in record.media], turn)

    def problem(self, asked: Asked) -> str | None:
        try:
            self.encode(asked)
        except ValueError as error:
            return str(error)
        return None

    def encode(self, asked: Asked) -> Any:
        return encode(asked, self.processor, asked.prompt, "policy")

    def prompt_tokens(self, asked: Asked) -> int:
        return len(self.encode(asked).prompt)

    def spans(self, asked: Asked) -> list[tuple[str, int, int]]:
        names = {stream.token_id: name for name, stream in self.model.streams.items()}
        spans: list[tuple[str, int, int]] = []
        for place, token in enumerate(self.encode(asked).prompt):
            kind = names.get(token, "text")
            start = spans.pop()[1] if spans and spans[-1][0] == kind else place
            spans.append((kind, start, place + 1))
        return spans

    def sample(self, asked: Sequence[Asked], ks: Sequence[Sequence[int]], temperature: float, max_new_tokens: int) -> list[list[Generation]]:
        if temperature > 0:
            return self._sample(asked, ks, temperature, max_new_tokens)
        first = twins(asked, ks)
        own = sorted(set(first))
        found = dict(zip(own, self._sample([asked[i] for i in own], [ks[i] for i in own], temperature, max_new_tokens), strict=True))
        pairs = zip(asked, first, strict=True)
        return [[dataclasses.replace(g, seed=sample_seed(self.seed, item.record.id, g.k)) for g in found[i]] for item, i in pairs]

    def _sample(self, asked: Sequence[Asked], ks: Sequence[Sequence[int]], temperature: float, max_new_tokens: int) -> list[list[Generation]]:
        drawn: list[list[Generation]] = [[] for _ in asked]
        counts = {len(k) for k in ks}
        for count in sorted(counts - {0}):  # items that want equally many share batches, and each batch a prefill
            places = [i for i, k in enumerate(ks) if len(k) == count]
            size = max(1, self.max_rows // count)
            for start in range(0, len(places), size):
                part = places[start : start + size]
                for i, generations in zip(
                    part, self._decode([asked[i] for i in part], [ks[i] for i in part], temperature, max_new_tokens), strict=True
                ):
                    drawn[i] = generations
        return drawn

    def _decode(self, asked: list[Asked], ks: list[Sequence[int]], temperature: float, max_new_tokens: int) -> list[list[Generation]]:
        from models.sampler import sample

        batch = self.batch(asked)
        stops = stop_ids(self.processor.tokenizer)
        pad = self.processor.tokenizer.pad_token_id
        seeds = [sample_seed(self.seed, item.record.id, k) for item, numbers in zip(asked, ks, strict=True) for k in numbers]
        drawn = sample(
            self.model, batch, max_new_tokens, stop_ids=stops, pad_id=stops[0] if pad is None else pad, temperature=temperature,
            num_samples=len(ks[0]), seeds=seeds,
        )  # fmt: skip
        flat = [k for numbers in ks for k in numbers]
        rows = zip(flat, seeds, drawn.ids.tolist(), drawn.lengths.tolist(), drawn.finished.tolist(), drawn.logps.tolist(), strict=True)
        made = [Generation(k, seed, self.text(ids[:n]), n, done, ids[:n], logps[:n]) for k, seed, ids, n, done, logps in rows]
        return [made[i : i + len(ks[0])] for i in range(0, len(made), len(ks[0]))]

    def begin(self, asked: Sequence[Asked]) -> Any:
        from models.sampler import Session
        from reasoning.stepping import ModelStepper

        return ModelStepper(self, Session.prefill(self.model, self.batch(asked)))

    def batch(self, asked: Sequence[Asked]) -> dict[str, Any]:
        """Left-padded prompts with their media, on the model's device."""
        device = next(self.model.parameters()).device
        batch = self.processor.collate([self.encode(item) for item in asked], "left")
        return {k: v.to(device) if hasattr(v, "to") else v for k, v in dict(batch).items()}

    def text(self, ids: Sequence[int]) -> str:
        return self.processor.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def stop_ids(tokenizer: Any) -> list[int]:
    """The tokens that end a turn."""
    stops = [tokenizer.convert_tokens_to_ids(protocol.END)]
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in stops:
        stops.append(tokenizer.eos_token_id)
    return stops
