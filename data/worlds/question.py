"""What every world builds its records from: steps that name their facts, and lettered options in random order."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from data.record import LETTERS, AnswerType, Step


@dataclasses.dataclass
class Question:
    """A question in the making. `see` and `conclude` write steps and facts together, so that no step lacks its fact.

    `template` names everything about the question that can be known without the media (family, wording, number of options): balance is tested per
    template.
    """

    template: str
    text: str = ""
    answer: list[str] = dataclasses.field(default_factory=list)
    answer_type: AnswerType = "text"
    options: list[str] | None = None
    precision: int | None = None
    steps: list[Step] = dataclasses.field(default_factory=list)
    facts: dict[str, str] = dataclasses.field(default_factory=dict)
    meta: dict = dataclasses.field(default_factory=dict)

    def see(self, key: str, value: object) -> int:
        """A perception step `key: value`; returns its index."""
        self.facts[key] = str(value)
        self.steps.append(Step(f"{key}: {value}", "perception", str(value)))
        return len(self.steps) - 1

    def conclude(self, key: str, value: object, working: str = "", parents: list[int] | None = None) -> int:
        """A reasoning step `key: working = value`, resting on `parents` (all earlier steps where not said)."""
        self.facts[key] = str(value)
        text = f"{key}: {working} = {value}" if working else f"{key}: {value}"
        rests_on = list(range(len(self.steps))) if parents is None else parents
        self.steps.append(Step(text, "reasoning", str(value), rests_on))
        return len(self.steps) - 1

    def note(self, facts: Sequence[tuple[str, object]], kept: Mapping[str, tuple[str, object]] | None = None) -> list[int]:
        """Perception steps for all `facts` in reading order; behind one that is in `kept` stands at once what the question asks of it, as a reasoning
        step (key, value). Returns the indices of what was kept, or of all where nothing is.

        Small models learn to note what they perceive, and to see that what was just noted is asked for; to go back to their notes by a name they
        hardly learn.
        """
        seen, found = [], []
        for key, value in facts:
            seen.append(self.see(key, value))
            if kept and key in kept:
                found.append(self.conclude(*kept[key], parents=seen[-1:]))
        return found or seen

    def choose(self, right: str, wrong: list[str], rng: np.random.Generator) -> None:
        """One right option among wrong ones, in random order."""
        options = [right, *wrong]
        order = rng.permutation(len(options)).tolist()
        self.options = [options[i] for i in order]
        self.answer, self.answer_type = [LETTERS[order.index(0)]], "choice"
