"""A policy that writes step by step: rows continue rows of the call before, and nothing is read twice."""

import functools
from collections.abc import Sequence
from typing import Any

from data import protocol
from reasoning.policy import ModelPolicy, stop_ids
from reasoning.trace import Generation

STEP_ENDS = (protocol.STEP_DELIMITER, protocol.END_THINK)  # a step ends behind a delimiter, the last one behind the thought


class ModelStepper:
    """Our own model: its keys and values are forked, never computed again. At first there is one row per item."""

    def __init__(self, policy: ModelPolicy, session: Any):
        self.policy, self.session = policy, session

    @property
    def tokens_read(self) -> int:
        """Of the prompts and everything behind them, each once."""
        return self.session.tokens_read

    def grow(
        self, parents: Sequence[int], ks: Sequence[int], seeds: Sequence[int], temperature: float, max_new_tokens: int, whole: bool = False
    ) -> list[Generation]:
        """Row i goes on behind row `parents[i]` by one step (`whole`: to the end), at most `max_new_tokens`. A generation is `finished` where the
        completion has ended."""
        from models.sampler import Stops

        tokenizer, ends = self.policy.processor.tokenizer, stop_ids(self.policy.processor.tokenizer)
        ids, strings = ((), ()) if whole else step_stop_ids(tokenizer)
        stops = Stops((*ends, *ids), strings, tokenizer)
        self.session = self.session.fork(list(parents))
        pad = ends[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        drawn = self.session.generate(max_new_tokens, stops, temperature=temperature, seeds=list(seeds), pad_id=pad)
        made = []
        for k, seed, ids, n, logps in zip(ks, seeds, drawn.ids.tolist(), drawn.lengths.tolist(), drawn.logps.tolist(), strict=True):
            made.append(Generation(k, seed, self.policy.text(ids[:n]), n, ids[n - 1] in ends, ids[:n], logps[:n]))
        return made


def ended_step(text: str) -> bool:
    """Did a step's end, and not the length, stop this text?"""
    return any(end in text for end in STEP_ENDS)


@functools.lru_cache(maxsize=4)
def step_stop_ids(tokenizer: Any) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """(tokens that end a step, strings that do where no single token says them). A token ends a step if it holds a delimiter."""
    ids = tuple(i for i in range(len(tokenizer)) if protocol.STEP_DELIMITER in tokenizer.decode([i], clean_up_tokenization_spaces=False))
    closing = tokenizer(protocol.END_THINK, add_special_tokens=False)["input_ids"]
    return (*ids, *(closing if len(closing) == 1 else ())), () if len(closing) == 1 else (protocol.END_THINK,)
