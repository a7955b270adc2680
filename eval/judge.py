"""A language model that reads the answer out of an output, where a benchmark's published scorer asks one (MathVista). Off unless it is asked for:
without it our offline rules stand in.

The judge sees the question, the output and worked examples of ours, never the gold answer. It decodes greedily, so that a second run says the same.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data import protocol
from data.record import Record
from eval.benchmarks.offline import JUDGED, OfflineBenchmark, Prediction, Problem
from reasoning.policy import Asked, Policy

VERSION = "judge/1"  # raise the number whenever the prompt changes
MAX_NEW_TOKENS = 64
MAX_OUTPUT = 8_000  # characters of an output that are shown, from its end, where answers stand
EXAMPLES = (
    ("an integer", "How many books lie on the table?", "There are two piles, of three and of four, so seven books in all.", "7"),
    ("a number with one decimal place", "How far is it to the harbour? (Unit: km)", "Adding the legs gives roughly 12.46 km.", "12.5"),
    ("a number with two decimal places", "What share of the votes is invalid?", "7 of 400 votes, that is 0.0175.", "0.02"),
    ("a list", "Between which years did the river rise?", "From the 1998 mark up to the one of 2003.", "[1998, 2003]"),
    ("an option's letter", "Which line is steeper?\n(A) the red one\n(B) the blue one", "The slope of blue is 3, of red 1. It is blue.", "B"),
    ("an integer", "How many children wear a hat?", "I am sorry, the picture cannot be seen.", "none"),
)
NOTHING = ("none", "n/a", "no answer", "")


def extraction_prompt(question: str, output: str, wanted: str) -> str:
    """What the judge is asked. `wanted`: the kind of answer, in words."""
    told = [_case(kind, q, said) + f" {answer}" for kind, q, said, answer in EXAMPLES]
    head = "Copy the final answer out of a model's output. Do not solve the question yourself; write none where the output gives no answer."
    return "\n\n".join([head, *told, _case(wanted, question, output[-MAX_OUTPUT:])])


def _case(wanted: str, question: str, output: str) -> str:
    return f"Question: {question}\nOutput: {output}\nFinal answer ({wanted}):"


def open_judge(where: str, model: str | None = None) -> Policy:
    """A server's address (`http://host:port/v1`, with the name of its model), or the folder of one of our checkpoints."""
    from eval.loading import find_model, is_server, load_reasoner, open_server

    if is_server(where):
        return open_server(where, model, "--judge-model")
    from eval.provenance import model_fingerprint
    from reasoning.policy import ModelPolicy

    reasoner, processor = load_reasoner(find_model(Path(where)).folder)
    return ModelPolicy(reasoner, processor, fingerprint=model_fingerprint(reasoner))


def judged(
    benchmark: OfflineBenchmark, records: Sequence[Record], found: dict[str, Prediction], protocol_name: str, judge: Policy, problems: list[Problem]
) -> dict[str, Prediction]:
    """The predictions, those that the benchmark would put to a language model with what the judge read (nothing: an empty extraction, as published).
    Outputs that the judge cannot be asked about are problems and stay for the offline rules."""
    asked: list[Asked] = []
    for record in records:
        turn = benchmark.judge_prompt(record, found[record.id], protocol_name) if record.id in found else None
        if turn is not None:
            turn = protocol.escape(turn)
            item = Asked(Record(record.id, turn, [""], "text"), judge.chat(turn), [], turn)
            if (reason := judge.problem(item)) is None:
                asked.append(item)
            else:
                problems.append(Problem("not_judged", record.id, reason))
    drawn: list[Any] = judge.sample(asked, [[0]] * len(asked), 0.0, MAX_NEW_TOKENS) if asked else []
    said = {item.record.id: read_verdict(generations[0].text) for item, generations in zip(asked, drawn, strict=True)}
    return {id: read_by_judge(p, said[id]) if id in said else p for id, p in found.items()}


def read_by_judge(prediction: Prediction, said: str) -> Prediction:
    return dataclasses.replace(prediction, answer=said, given=prediction.given | {"extraction"}, row=prediction.row | {JUDGED: True})


def read_verdict(text: str) -> str:
    """The judge's first line, without our own tags and what models like to put around an answer; empty where it says that there is none."""
    inner = protocol.parse(text).answer
    line = (inner if inner is not None else text.split(protocol.END)[0]).strip().split("\n")[0].strip()
    line = line.removeprefix("Final answer:").strip(" `*\"'")
    return "" if line.casefold().rstrip(".") in NOTHING else line
