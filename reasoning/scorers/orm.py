"""The process reward model as an outcome reward model: the whole solution is one step (VL-PRM's one-shot selection)."""

from data import protocol
from reasoning.scorers.prm import PRMScorer


class ORMScorer(PRMScorer):
    """One score per solution, behind its answer; no marks between its steps."""

    name = "orm"

    def marked(self, text: str) -> str | None:
        marked = super().marked(text)
        return None if marked is None else marked.replace(protocol.STEP, "") + protocol.STEP
