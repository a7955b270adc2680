"""What a policy said to a prompt, drawn several times: its distinct solutions with their exact labels, and how a scored one is written down."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from data import answers, protocol
from data.record import Record
from data.solutions import LabelledSolution
from data.step_labels import solution_labels, step_kinds

GIVEN = ("injected", "gold")  # sources of solutions that no policy said
SCORES = "step_scores.jsonl"  # the file of `score_line`s in the folder of a stage


@dataclasses.dataclass(slots=True)
class Drawn:
    """A distinct solution: the index of its prompt, how often it was drawn, and what is known of its steps."""

    owner: int
    count: int
    solution: LabelledSolution


def distinct_solutions(records: Sequence[Record], texts: Sequence[str], size: int) -> list[Drawn]:
    """The distinct solutions among the completions `texts` of `records` (`size` of each, together), by ascending prompt, with their exact labels.
    Completions without an answer are left out: they are no solutions to score."""
    found: dict[tuple[int, tuple[str, ...], str], Drawn] = {}
    for i, text in enumerate(texts):
        parsed = protocol.parse(text)
        if parsed.answer is None:
            continue
        key = (i // size, tuple(parsed.steps), parsed.answer)
        if key in found:
            found[key].count += 1
        else:
            found[key] = Drawn(i // size, 1, exactly_labelled(records[i // size], text))
    return list(found.values())


def exactly_labelled(record: Record, text: str) -> LabelledSolution:
    """A completion that has an answer, with its exact labels."""
    parsed, exact = protocol.parse(text), solution_labels(record, text)
    assert exact is not None
    return LabelledSolution(record, parsed.steps, parsed.answer, list(exact), "verifier", step_kinds(record, parsed.steps), list(exact))


def pass_rates(drawn: Sequence[Drawn], prompts: int, size: int) -> list[float]:
    """Share of right answers among the `size` completions that were drawn from each prompt: one without an answer is a wrong one here."""
    right = [0.0] * prompts
    for d in drawn:
        if d.solution.source not in GIVEN:
            right[d.owner] += d.count * float(d.solution.labels[-1] or 0)
    return [count / size for count in right]


def score_line(drawn: Drawn, scores: list[float], pass_rate: float, value: float | None) -> dict[str, Any]:
    """One solution: the scores of its steps and, last, of its answer, beside the exact labels and the kinds of the steps."""
    solution = drawn.solution
    media = sorted({m.kind for m in solution.record.media})
    answer = answers.canonical(solution.answer, solution.record)
    return {
        "id": solution.record.id, "answer": answer, "modality": "+".join(media) or "text", "level": solution.record.meta.get("level"),
        "count": drawn.count,
        "kinds": solution.kinds, "scores": [round(score, 6) for score in scores], "labels": solution.exact, "pass_rate": pass_rate, "value": value,
    }  # fmt: skip
