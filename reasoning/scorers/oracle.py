"""The ceiling: knows the gold answer. Best-of-n by it is pass@n."""

from data.answers import grade
from data.protocol import parse
from data.worlds.base import verify
from reasoning.policy import Asked
from reasoning.scorers.free import FreeScorer


class OracleScorer(FreeScorer):
    """1 for a right solution, else 0. A part of a solution is right as long as the verifier finds no wrong step in it."""

    name = "oracle"

    def value(self, asked: Asked, text: str, k: int, tokens: int) -> float:
        parsed = parse(text)
        if parsed.answer is not None:
            return float(grade(parsed.answer, asked.record)[0])
        return float(verify(asked.record, text).first_error is None)
