"""Strategies behind an evaluation: rows with their costs, samples drawn once for all of them, resumed after a crash, every table's controls."""

import json

import pytest

from data.record import write_jsonl
from eval.answering import ModelAnswerer, build_answerer
from eval.benchmarks.records import RecordsBenchmark
from eval.run import evaluate
from reasoning.strategies.base import Budget
from tests.unit.reasoning.toy import ToyPolicy, solution, toy

LINES = [
    {"name": "greedy"},
    {"name": "majority", "n": 4},
    {"name": "best_of_n", "n": 4, "scorer": "oracle"},
    {"name": "best_of_n", "n": 4, "scorer": "random"},
    {"name": "best_of_n", "n": 4, "scorer": "shortest"},
    {"name": "weighted_majority", "n": 4, "scorer": "oracle"},
    {"name": "majority_same_tokens", "n": 4, "scorer": "oracle"},
    {"name": "guided_greedy", "n": 4, "scorer": "oracle"},
]


def bench(folder, count=12):
    from data.readers.jsonl import JsonlReader

    write_jsonl(folder / "toy.jsonl", [toy(i) for i in range(count)])
    return RecordsBenchmark(path=folder / "toy.jsonl", source=JsonlReader)


def row_of(policy, line, folder, **options):
    return evaluate(policy, None, bench(folder), stage="prm", strategy=line, max_new_tokens=200, batch_size=5, out_dir=folder / "eval", **options)


def test_rows_carry_strategy_scorer_samples_and_tokens(tmp_path):
    rows = {f"{line['name']}-{line.get('scorer')}": row_of(ToyPolicy(), line, tmp_path) for line in LINES}
    assert len({row["per_item"] for row in rows.values()}) == len(LINES)
    best, voted = rows["best_of_n-oracle"], rows["majority-None"]
    assert (best["strategy"], best["scorer"], best["samples"], best["temperature"]) == ("best_of_n", "oracle", 4, 1.0)
    assert voted["scorer"] is None and best["tokens"]["total"] == voted["tokens"]["total"] > best["tokens"]["sequential"]
    # An oracle that reads nothing costs nothing: the same tokens are the same samples.
    assert rows["majority_same_tokens-oracle"]["score"] == voted["score"]
    assert rows["weighted_majority-oracle"]["score"] == best["score"] > voted["score"]
    assert rows["guided_greedy-oracle"]["score"] > voted["score"]
    assert best["score"] >= max(row["score"] for name, row in rows.items() if name.startswith("best_of_n"))


def test_samples_are_drawn_once_and_survive_a_crash(tmp_path):
    policy = ToyPolicy()
    for line in LINES[1:6]:
        row_of(policy, line, tmp_path)
    assert policy.drawn == 12 * 4
    row_of(policy, {"name": "majority", "n": 6}, tmp_path)
    assert policy.drawn == 12 * 6  # the four that are there, and two more
    file = next((tmp_path / "eval" / "samples").glob("*.jsonl"))
    whole = file.read_bytes()
    assert {"spans", "logps", "steps", "answer", "seed", "parent"} <= set(json.loads(whole.splitlines()[0]))
    file.write_bytes(whole[: len(whole) // 2])  # killed while writing
    again = ToyPolicy()
    first = row_of(again, {"name": "majority", "n": 5}, tmp_path)
    assert 0 < again.drawn < 12 * 6
    (tmp_path / "fresh").mkdir()
    assert first["score"] == row_of(ToyPolicy(), {"name": "majority", "n": 5}, tmp_path / "fresh")["score"]
    other = row_of(ToyPolicy(seed=1), {"name": "majority", "n": 5, "temperature": 0.5}, tmp_path)
    assert other["per_item"] != first["per_item"] and len(list(file.parent.glob("*.jsonl"))) == 2


def test_an_item_that_cannot_be_asked_is_a_row_with_its_reason(tmp_path):
    class Deaf(ToyPolicy):
        def problem(self, asked):
            return "no such medium" if asked.record.id == "toy-3" else None

    row = row_of(Deaf(), LINES[2], tmp_path)
    items = [json.loads(line) for line in (tmp_path / "eval" / row["per_item"].removeprefix("eval/")).read_text().splitlines()]
    bad = next(i for i in items if i["id"] == "toy-3")
    assert bad["reason"] == "bad_media" and bad["completion"] == "no such medium" and row["bad_media"] == 1
    kept = [i["trace"] for i in items if i["id"] != "toy-3"]
    assert all(len(t["calls"]) == 4 and "score" in t["calls"][0] for t in kept)


def test_answers_are_those_of_the_strategy():
    policy = ToyPolicy({"toy-0": [solution(1, 2, 4), solution(1, 2, 3), "<think>a: 1", solution(1, 2, 3), solution(9, 9, 9)]})
    answerer = build_answerer({"name": "majority", "n": 5}, policy, None, max_new_tokens=100, seed=0)
    assert isinstance(answerer, ModelAnswerer) and answerer.budget == Budget(100)
    found = answerer.answer([policy.ask(toy())])[0]
    assert found.completion == solution(1, 2, 3) and found.scorer_total == 0 and found.finished
    assert [c["answer"] for c in found.trace["calls"]] == ["7", "6", None, "6", "27"] and found.trace["calls"][1]["kept"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"name": "best_of_n", "n": 4}, "needs a scorer"),
        ({"name": "majority", "n": 0}, "n 0"),
        ({"name": "best_of_n", "n": 4, "scorer": "judge"}, "unknown scorer 'judge'"),
        ({"name": "best_of_n", "n": 4, "scorer": "oracle", "aggregate": "min"}, "no option 'aggregate'"),
        ({"name": "best_of_n", "n": 4, "scorer": "prm", "aggregate": "max"}, "aggregate 'max'"),
        ({"name": "best_of_n", "n": 4, "scorer": "random:DIR"}, "takes no path"),
        ({"name": "majority", "width": 4}, "no option 'width'"),
        ({"name": "weighted_majority", "n": 4, "scorer": "shortest"}, "is below 0"),
        ({"name": "guided_greedy", "n": 4, "scorer": "orm:nowhere"}, "holds no process reward model"),
    ],
)
def test_wrong_lines_are_named(line, message):
    with pytest.raises(ValueError, match=message):
        policy = ToyPolicy()
        build_answerer(line, policy, None, max_new_tokens=100, seed=0).answer([policy.ask(toy())])
