"""Steps of cached decoding: one token of every row after the other, on a GPU as a CUDA graph that is captured once and replayed.

A step of a small model is hundreds of kernels that are done before the next one can be launched; a replayed graph launches them all at once. What a
graph repeats it repeats on the same memory and without asking the host, so the cache is pinned (`SharedCache.pin`), and whether a row has ended is
looked at only after a block of steps. Shape legend: R rows, k steps, V vocabulary.
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .cache import SharedCache

BLOCK = 16  # steps of a graph between two looks at what was said: so many tokens at most are read in vain behind a row's end
WINDOW = 256  # own keys that a graph reads at first; twice as many whenever they are full
FOLLOWS_HOST = ("dynamic", "longrope")  # rotary embeddings that look at the positions on the host

Choose = Callable[[Tensor, Tensor, Any], tuple[Tensor, Tensor]]


def open_decoder(model: Any, cache: SharedCache, choose: Choose, live: Tensor, tokens: int) -> "Decoder":
    """What decodes `tokens` more tokens of the `live` rows [R] of a cache: a graph where there is a GPU and it is worth capturing one."""
    graphed = live.is_cuda and tokens > BLOCK and _rope(model) not in FOLLOWS_HOST
    return (GraphedDecoder if graphed else Decoder)(model, cache, choose, live)


class Decoder:
    """One step at a time, each launched kernel by kernel."""

    def __init__(self, model: Any, cache: SharedCache, choose: Choose, live: Tensor):
        self.model, self.cache, self.choose, self.live = model, cache, choose, live
        self.never = torch.tensor(model.never_said, dtype=torch.long, device=live.device)

    def pick(self, hidden: Tensor, step: int | Tensor) -> tuple[Tensor, Tensor]:
        """(tokens [R], their log-probabilities [R]) that follow hidden states [R, d]; placeholders of media are never drawn."""
        return self.choose(self.model.logits(hidden).index_fill_(1, self.never, -torch.inf), self.live, step)

    def first(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """What follows a prefill: tokens and log-probabilities, [R, 1] each."""
        token, logp = self.pick(hidden, 0)
        return token[:, None], logp[:, None]

    def go_on(self, last: Tensor, step: int, left: int) -> tuple[Tensor, Tensor]:
        """Tokens and log-probabilities [R, k] of the steps from `step` on, behind the tokens `last` [R]; at most `left` of them."""
        token, logp = self.pick(self.model.decode(last[:, None], self.cache)[:, -1], step)
        return token[:, None], logp[:, None]


class GraphedDecoder(Decoder):
    """A block of steps at a time, replayed. The first step of a window is run as it is, which also warms up what a capture must not do."""

    def __init__(self, model: Any, cache: SharedCache, choose: Choose, live: Tensor):
        super().__init__(model, cache, choose, live)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.capturable, self.size = live.is_cuda, 0
        self.last = torch.zeros_like(live)
        # [1], not a scalar tensor: indexing by that one asks the host for its value.
        self.step, self.column = (torch.zeros(1, dtype=torch.long, device=live.device) for _ in range(2))
        self.said = live.new_zeros(len(live), BLOCK)
        self.scores = torch.zeros(len(live), BLOCK, device=live.device, dtype=torch.promote_types(cache.tails[0][0].dtype, torch.float32))

    def go_on(self, last: Tensor, step: int, left: int) -> tuple[Tensor, Tensor]:
        count, longest = min(BLOCK, left), max(self.cache.lengths)
        if longest + count > self.size:
            self._widen(longest + count)
        self.last.copy_(last)
        self.step.fill_(step)
        self.column.zero_()
        for _ in range(count):
            if self.graph is not None:
                self.graph.replay()
                continue
            self._step()
            if self.capturable:
                self._capture()
        self.cache.lengths = [n + count for n in self.cache.lengths]
        return self.said[:, :count].clone(), self.scores[:, :count].clone()

    def _widen(self, needed: int) -> None:
        """Another graph, over twice as many own keys."""
        self.size = max(WINDOW, 2 * self.size)
        while self.size < needed:
            self.size *= 2
        self.graph = None
        self.cache.pin(min(self.size, self.cache.tails[0][0].shape[2]))

    def _step(self) -> None:
        """One step on fixed memory: reads `last`, leaves the next token there and in its column."""
        token, logp = self.pick(self.model.decode(self.last[:, None], self.cache)[:, -1], self.step)
        self.said.index_copy_(1, self.column, token[:, None])
        self.scores.index_copy_(1, self.column, logp[:, None].to(self.scores.dtype))
        self.last.copy_(token)
        self.step.add_(1)
        self.column.add_(1)

    def _capture(self) -> None:
        graph, generator = torch.cuda.CUDAGraph(), torch.cuda.default_generators[self.live.device.index]
        state = generator.clone_state()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._step()
        except RuntimeError as error:  # a family that asks the host in its layers, as some mixtures of experts do
            self.capturable = False
            generator.graphsafe_set_state(state)  # a capture that fails leaves its own behind, which refuses to draw
            warnings.warn(f"{type(self.model.llm).__name__} decodes without a CUDA graph: {str(error).splitlines()[0]}", stacklevel=2)
            return
        self.graph = graph


def _rope(model: Any) -> str | None:
    """The kind of rotary embedding of the LLM, where it names one."""
    config = model.llm.config
    found = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    return found.get("rope_type") if isinstance(found, dict) else None
