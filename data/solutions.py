"""A solution as a process reward model reads it: a placeholder behind every step, and one behind the answer."""

from data import protocol
from data.protocol import Parsed


def mark_steps(parsed: Parsed) -> str:
    """The completion with `<|step|>` behind each step and behind the answer. What a completion says is escaped first, so text can never pose as
    a placeholder.

    A completion without an answer cannot be judged as a solution: `ValueError`.
    """
    if parsed.answer is None:
        raise ValueError("a completion without an answer is no solution to score")
    steps = protocol.STEP_DELIMITER.join(protocol.escape(step) + protocol.STEP for step in parsed.steps)
    return f"{protocol.THINK}{steps}{protocol.END_THINK}{protocol.ANSWER}{protocol.escape(parsed.answer)}{protocol.END_ANSWER}{protocol.STEP}"
