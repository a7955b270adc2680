"""Credit where it is due: a step that the verifier judged earns something for its own tokens, beside what the whole completion earns.

An answer says of forty tokens at once that they were good or bad; a verified step says it of four. The baseline is what the group says of the same
fact, so a fact that every rollout gets right, or none, earns nothing. (Process supervision in GRPO, arXiv 2402.03300 section 4.1.3, standardises the
steps of a group together and lets a token earn all later steps; here a token earns its own step alone, which needs no sum over what comes after it.)
Shape legend: B prompts, G rollouts of each, N = B * G rows, R completion positions.
"""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from data import protocol
from data.verdict import StepVerdict

Span = tuple[int, int]  # first token of a step, and the one behind its last


def step_finder(tokenizer: Any) -> Callable[[list[int]], list[Span]]:
    """A function from the token ids of a completion to the spans of its steps, each with its line break; none where its thought has no end."""
    begin, end = (tokenizer.convert_tokens_to_ids(token) for token in (protocol.THINK, protocol.END_THINK))
    piece = functools.cache(lambda token: tokenizer.decode([token]))

    def find(ids: list[int]) -> list[Span]:
        if begin not in ids or end not in ids:
            return []
        spans, start, stop = [], ids.index(begin) + 1, ids.index(end)
        breaks = [i + 1 for i in range(start, stop) if protocol.STEP_DELIMITER in piece(ids[i])]
        for behind in [*breaks, stop]:
            if any(piece(token).strip() for token in ids[start:behind]):
                spans.append((start, behind))
            start = behind
        return spans

    return find


def step_credit(
    spans: Sequence[Sequence[Span]], steps: Sequence[Sequence[str]], verdicts: Sequence[Sequence[StepVerdict]], size: int, positions: int
) -> Tensor:
    """Credit [N, R] in [-1, 1], float64: on the tokens of each step, 1 where it is `ok`, else 0, minus the mean of that over the steps of the group
    that speak of the same fact (what stands before the colon). 0 elsewhere.

    spans, steps, verdicts: per rollout, in order; `size` G, `positions` R. A rollout whose spans and steps differ in number, because a token
    holds the end of one step and the beginning of the next, gets none.
    """
    credit = torch.zeros(len(spans), positions, dtype=torch.float64)
    for first in range(0, len(spans), size):
        told, said = [], collections.defaultdict(list)
        for row in range(first, min(len(spans), first + size)):
            if len(spans[row]) == len(steps[row]) == len(verdicts[row]):
                for span, step, verdict in zip(spans[row], steps[row], verdicts[row], strict=True):
                    fact, value = step.partition(":")[0].strip(), float(verdict == "ok")
                    said[fact].append(value)
                    told.append((row, span, fact, value))
        for row, (start, stop), fact, value in told:
            credit[row, start:stop] = value - sum(said[fact]) / len(said[fact])
    return credit
