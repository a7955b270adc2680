"""The process reward model as an outcome reward model: the whole solution is one step (VL-PRM's one-shot selection)."""

from collections.abc import Sequence

from data import protocol
from data.solutions import mark_steps
from reasoning.policy import Asked
from reasoning.scorers.base import Scorer
from reasoning.scorers.guide import Guide
from reasoning.scorers.prm import Parts, PRMScorer


class ORMScorer(PRMScorer):
    """One score per solution, behind its answer; no marks between its steps. It cannot guide a search step by step."""

    name = "orm"

    def parts(self, text: str) -> Parts:
        return (mark_steps(protocol.parse(text)).replace(protocol.STEP, "") + protocol.STEP,)

    def begin(self, asked: Sequence[Asked]) -> Guide:
        return Scorer.begin(self, asked)
