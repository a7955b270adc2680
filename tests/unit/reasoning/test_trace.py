"""What a search leaves behind: calls on disk and back, trees, costs per model."""

import json

from hypothesis import given
from hypothesis import strategies as st

from reasoning.ledger import Ledger
from reasoning.trace import Call, Generation, Trace, answer_of
from tests.unit.reasoning.toy import solution, toy


def grown():
    trace = Trace()
    first = trace.add("r", Generation(0, 7, "<think>a: 1\n", 12, False, [4, 5], [-0.123456789, -2.0]), "m", 1.0, spans=[("text", 0, 3)], kept=True)
    second = trace.add("r", Generation(1, 8, "b: 2</think><answer>3</answer><|end|>", 20, True), "m", 1.0, parent=first.call, answer="3", score=0.25)
    return trace, first, second


def test_a_call_is_one_json_line(tmp_path):
    trace, _, second = grown()
    trace.write(tmp_path / "trace.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and lines[0]["logps"] == [-0.12346, -2.0] and lines[0]["steps"] == ["a: 1"] and lines[1]["parent"] == 0
    back = [Call.from_json(line) for line in lines]
    assert back[1] == second and back[0].spans == [("text", 0, 3)] and back[0].generation.ids == [4, 5]


def test_chains_and_outlines():
    trace, first, second = grown()
    assert trace.chain(second) == [first, second] and trace.text(second).startswith("<think>a: 1\nb: 2</think>")
    rows = trace.outline()["calls"]
    assert rows[1]["parent"] == 0 and rows[1]["score"] == 0.25 and rows[0]["text"] == "<think>a: 1\n"
    whole = Trace()
    whole.add("r", Generation(3, 7, "x", 1, True), "m", 1.0)
    assert whole.outline() == {"calls": [{"k": 3, "answer": None, "finished": True, "kept": False}]}
    assert whole.outline(texts=True)["calls"][0]["text"] == "x"


def test_an_unfinished_branch_is_no_answer():
    assert answer_of(toy(), solution(1, 2, 3), True) == "6" and answer_of(toy(), solution(1, 2, 3), False) is None
    assert answer_of(toy(), "<think>", True) is None and answer_of(toy(), "<answer>six</answer>", True) is None


@given(st.lists(st.tuples(st.sampled_from(["policy", "scorer"]), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)), max_size=8))
def test_a_ledger_adds_up(charges):
    ledger = Ledger()
    for role, prompt, generated, sequential in charges:
        ledger.charge(f"the {role}", role, prompt=prompt, generated=generated, sequential=sequential)
    tokens = ledger.tokens()
    assert tokens["total"] == sum(g for role, _, g, _ in charges if role == "policy")
    assert tokens["scorer_total"] == sum(p + g for role, p, g, _ in charges if role == "scorer")
    assert tokens["sequential"] == sum(s for role, _, _, s in charges if role == "policy")
    assert all(row["total"] >= 0 for row in ledger.to_json().values())
