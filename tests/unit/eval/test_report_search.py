"""The search section: paired differences against majority, a plain sentence, and the tree of an item with its step scores."""

import json
from types import SimpleNamespace

from eval.report_search import group, grown, merged, searched, section, verdict
from tests.unit.eval.test_answering import LINES, row_of
from tests.unit.reasoning.toy import FACTS, ToyPolicy, solution


def rows(folder):
    return [row_of(ToyPolicy(), line, folder, root=folder) for line in LINES]


def test_the_table_and_the_tree_of_a_run(tmp_path):
    found = rows(tmp_path)
    by_judge = {**found[2], "scorer": "prm"}  # the oracle's row stands in for a reward model's
    shown = group(tmp_path, [*found[:2], by_judge, *found[3:]])
    gains = {line["name"]: line["gain"] for line in shown["lines"]}
    assert gains["greedy"] is None and gains["majority of 4"] is None
    assert gains["best of n of 4 by prm"]["difference"] > 0 and gains["best of n of 4 by prm"]["n"] == 12
    assert len(shown["words"]) == 1 and shown["words"][0].startswith("best of n of 4 by prm is")
    tree = shown["tree"]
    assert tree["correct"] and tree["roots"] and any(node.kept for node in tree["roots"])
    page = section(SimpleNamespace(rows=[*found[:2], by_judge], run_dir=tmp_path))
    assert "The search tree of toy-" in page and "against majority" in page and "<script" not in page
    assert section(SimpleNamespace(rows=found[:1], run_dir=tmp_path)) is None
    assert len(searched([*found, {**found[0], "stage": "sft"}])) == 1


def test_samples_with_a_common_beginning_share_its_nodes():
    texts = {0: solution(1, 2, 3), 1: solution(1, 2, 4), 2: solution(2, 2, 3), 3: "<think>a: 1\nb"}
    calls = [
        {"k": 0, "kept": True, "scores": [0.9, 0.8, 0.7, 0.6], "score": 0.6}, {"k": 1, "kept": False, "scores": [0.9, 0.8, 0.2, 0.1], "score": 0.1},
        {"k": 2, "kept": False, "score": 0.3}, {"k": 3, "kept": False},
    ]  # fmt: skip
    roots = merged(calls, texts, FACTS)
    assert [n.text for n in roots] == ["a: 1", "a: 2"] and [n.state for n in roots] == ["ok", "wrong"]
    shared = roots[0].children[0]
    assert (shared.text, shared.score, shared.kept) == ("b: 2", 0.8, True) and [c.text for c in shared.children] == ["c: 3", "c: 4"]
    assert [leaf.text for leaf in shared.children[0].children] == ["answer 6"] and not shared.children[1].kept
    last = roots[1]
    while last.children:
        last = last.children[0]
    assert last.score == 0.3  # one score for the whole stands at its answer


def test_a_stepwise_trace_is_a_tree_as_it_is():
    calls = [
        {"k": 0, "parent": None, "text": "<think>a: 1\n", "score": 0.5, "kept": True},
        {"k": 1, "parent": None, "text": "<think>a: 3\n", "kept": False},
        {"k": 2, "parent": 0, "text": "b: 2</think>", "kept": True}, {"k": 3, "parent": 2, "text": "<answer>6</answer><|end|>", "kept": True},
    ]  # fmt: skip
    roots = grown(calls, FACTS)
    assert [(n.text, n.state, n.score) for n in roots] == [("a: 1", "ok", 0.5), ("a: 3", "wrong", None)]
    assert roots[0].children[0].children[0].text == "answer 6"


def test_the_sentence_says_what_the_interval_says():
    line = {"name": "best of 8 by prm", "gain": {"difference": 0.05, "ci95": [0.01, 0.09], "n": 600}}
    assert verdict(line) == "best of 8 by prm is above the majority: +5.0 points [+1.0, +9.0], n 600."
    assert "not told apart" in verdict(line | {"gain": line["gain"] | {"ci95": [-0.01, 0.09]}})
    assert "below" in verdict(line | {"gain": {"difference": -0.05, "ci95": [-0.09, -0.01], "n": 600}})
    assert json.dumps(line)
