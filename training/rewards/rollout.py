"""What a reward may look at."""

import dataclasses
from collections.abc import Sequence

from data.record import Record
from data.verdict import Verdict


@dataclasses.dataclass(slots=True)
class Rollout:
    """One sampled completion and its judgement. `num_tokens` counts the completion with its end token; `truncated` says that it has none.

    `group` holds all rollouts of the same prompt, this one among them; `shuffled` the verdicts of rollouts that saw the prompt's video with its
    frames shuffled, where the stage draws any (`shuffled_frames`).
    """

    record: Record
    completion: str
    verdict: Verdict
    num_tokens: int
    truncated: bool = False
    group: Sequence["Rollout"] = dataclasses.field(default=(), repr=False)
    shuffled: Sequence[Verdict] = ()
