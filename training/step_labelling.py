"""Labels for the solutions of a rollout, from one source or several: the exact verifier, Monte-Carlo completions, a judge, or their consensus.

Solutions that a policy says twice are labelled and scored once, and count twice.
"""

import dataclasses
from collections.abc import Sequence

from data import protocol
from data.record import Record
from data.solutions import LabelledSolution
from data.step_errors import corrupt
from data.step_labels import solution_labels, step_kinds
from data.worlds.base import generator


@dataclasses.dataclass(slots=True)
class Drawn:
    """A distinct solution: the index of its prompt, how often it was drawn, and its labels once it has them."""

    owner: int
    count: int
    solution: LabelledSolution


def distinct_solutions(records: Sequence[Record], texts: Sequence[str], size: int) -> list[Drawn]:
    """The distinct solutions among the completions `texts` of `records` (`size` of each, together), with their exact labels where the record has
    facts. Completions without an answer are left out: they are no solutions to score."""
    found: dict[tuple[int, str], Drawn] = {}
    for i, text in enumerate(texts):
        owner = i // size
        parsed = protocol.parse(text)
        if parsed.answer is None:
            continue
        key = (owner, "\n".join([*parsed.steps, "", parsed.answer]))
        if key in found:
            found[key].count += 1
        else:
            found[key] = Drawn(owner, 1, solution_of(records[owner], text))
    return sorted(found.values(), key=lambda drawn: drawn.owner)


def solution_of(record: Record, text: str, source: str = "verifier") -> LabelledSolution:
    """A completion that has an answer, with its exact labels."""
    parsed, exact = protocol.parse(text), solution_labels(record, text)
    assert exact is not None
    return LabelledSolution(record, parsed.steps, parsed.answer, list(exact), source, step_kinds(record, parsed.steps), list(exact))


def injected_solutions(records: Sequence[Record], count: int, seed: tuple) -> list[Drawn]:
    """`count` gold solutions of each record with one seeded error each (see `data.step_errors`); records without steps give none."""
    drawn = []
    for owner, record in enumerate(records):
        for k in range(count):
            text = corrupt(record, generator(*seed, "inject", owner, k))
            if text is not None:
                drawn.append(Drawn(owner, 1, solution_of(record, text, "injected")))
    return drawn
