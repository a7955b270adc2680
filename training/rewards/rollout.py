"""What a reward may look at."""

import dataclasses

from data.record import Record
from data.verdict import Verdict


@dataclasses.dataclass(slots=True)
class Rollout:
    """One sampled completion and its judgement. `num_tokens` counts the completion with its end token; `truncated` says that it has none."""

    record: Record
    completion: str
    verdict: Verdict
    num_tokens: int
    truncated: bool = False
