"""What a verifier says of a completion. Rewards, metrics and PRM labels all read this and nothing else."""

import dataclasses
from typing import Literal

StepVerdict = Literal["ok", "wrong", "unparsed"]


@dataclasses.dataclass(slots=True)
class Verdict:
    """The judgement of one completion.

    `partial` in [0, 1] is soft credit for the answer (subset credit for several letters, else 0 or 1). `steps` judges each step of the completion;
    `first_error` is the index of the first wrong one, or None. `process_accuracy` is the share of steps that are ok, 0 without steps.
    `reason` says in a word why the answer is not right (`ok`, `wrong`, `no_answer`, …).
    """

    answer_ok: bool
    partial: float
    format_ok: bool
    steps: list[StepVerdict] = dataclasses.field(default_factory=list)
    first_error: int | None = None
    process_accuracy: float = 0.0
    reason: str = "ok"
