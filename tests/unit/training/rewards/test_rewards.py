"""Rewards against the published tables, hostile completions, and the algebra that survives them."""

import re
import time

import numpy as np
import pytest
import torch

from data.record import Record
from data.verdict import Verdict
from data.worlds.base import verify
from training.advantages import group_advantages
from training.rewards import Rollout, format_reward, multi_choice
from training.rewards.algebra import Ledger, build_terms, judge, score
from training.rewards.format import keeps_format
from training.rewards.length import length_bonus, overlong_penalty
from training.rewards.multi_choice import soft_choice
from training.rewards.temporal import temporal, temporal_bonus
from training.rewards.verdict import answer, exact_text, no_error, process


def tagged(text):
    return f"<think>x</think><answer>{text}</answer>"


# The reference's table for truth A,C,D; the last two by the same rule: no tag reads the whole text, empty equals empty.
OFFICIAL = [
    ("A,C,D", 1), ("D, C ,A", 1), ("A,C", 2 / 3), ("A", 1 / 3), ("A,A", 1 / 3), ("A,B", 0), ("A,B,C,D", 0), ("a", 0), ("A,C,", 0), ("A C", 0),
    ("A, C.", 0), ("", 0), ("A\nC,D", 0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "credit"), OFFICIAL)
def test_official_multi_choice(text, credit):
    assert multi_choice(tagged(text), "<answer>A,C,D</answer>", "official") == pytest.approx(credit)


def test_official_multi_choice_without_tags_and_empty():
    assert multi_choice("A,C", "<answer>A,C,D</answer>", "official") == pytest.approx(2 / 3)
    assert multi_choice(tagged(""), tagged(""), "official") == 1.0


@pytest.mark.parametrize(
    ("text", "credit"), [("a", 1 / 3), ("A,C,", 2 / 3), ("A C", 2 / 3), ("(A) and C.", 2 / 3), ("D, C, A", 1), ("A,B", 0), ("E", 0), ("", 0)]
)
def test_robust_multi_choice_reads_what_a_person_would(text, credit):
    assert multi_choice(tagged(text), "A,C,D") == pytest.approx(credit)


def test_robust_multi_choice_wants_a_real_solution():
    with pytest.raises(ValueError, match="names no option letters"):
        multi_choice(tagged("A"), "forty-two")
    with pytest.raises(ValueError, match="'loose' is not one of"):
        multi_choice(tagged("A"), "A", "loose")


FORMATS = [  # completion, official (the release), strict (ours)
    ("hm <think>a</think><answer>b</answer>", 1, 0),
    ("<think>a</think><answer>b</answer>!!", 1, 0),
    ("<think>a</think><answer>b</answer> done", 0, 0),
    ("<think>a<think>b</think><answer>c</answer>", 0, 0),
    ("<answer>b</answer>", 0, 0),
    ("<think></think><answer></answer>", 1, 0),
    ("<think>\n\n</think><answer>b</answer>", 1, 1),
    (" <think>a</think>\n<answer>b</answer>\n", 1, 1),
    ("<answer>b</answer><think>a</think>", 0, 0),
]


@pytest.mark.parametrize(("text", "official", "strict"), FORMATS)
def test_format(text, official, strict):
    assert format_reward(text, "official") == official
    assert format_reward(text) == strict


def test_temporal_contrast_of_the_reference():
    # acc [1,1,0,1], shuffled [1,0]: 0.75 >= 0.8 * 0.5, so each right one gets 0.3.
    assert temporal_bonus([1, 1, 0, 1], [1, 0]) == [0.3, 0.3, 0.0, 0.3]
    assert temporal_bonus([1, 0, 0, 0], [1, 1]) == [0.0] * 4  # 0.25 < 0.8
    assert temporal_bonus([0, 0], [0, 0]) == [0.0, 0.0]
    assert temporal_bonus([1, 1], []) == [0.0, 0.0]


def record(**options):
    facts = {"red": "7", "blue": "5", "sum": "12"}
    return Record("r", "red + blue?", ["12"], "integer", meta={"facts": facts}, **options)


def rollout(text, item=None, num_tokens=10):
    item = item or record()
    return Rollout(item, text, verify(item, text), num_tokens)


GOOD = "<think>red: 7\nblue: 5\nsum: 7 + 5 = 12</think><answer>12</answer>"
SLIP = "<think>red: 7\nblue: 6\nsum: 7 + 5 = 12</think><answer>12</answer>"


def test_verdict_rewards():
    assert (answer(rollout(GOOD)), process(rollout(GOOD)), no_error(rollout(GOOD)), keeps_format(rollout(GOOD))) == (1, 1, 1, 1)
    assert (answer(rollout(SLIP)), process(rollout(SLIP)), no_error(rollout(SLIP))) == (1, pytest.approx(2 / 3), 0)
    assert (answer(rollout("12")), process(rollout("12")), no_error(rollout("12")), keeps_format(rollout("12"))) == (0, 0, 0, 0)


def test_soft_choice_follows_the_rule():
    item = Record("c", "which?", ["A", "C"], "choices", options=["a", "b", "c"])
    assert soft_choice(rollout(tagged("a"), item)) == 0.5
    assert soft_choice(rollout(tagged("a"), item), rule="official") == 0.0


def test_exact_text_is_verbatim():
    item = Record("t", "What does the sign say?", ["Exit 10"], "text")
    assert [exact_text(rollout(tagged(t), item)) for t in (" Exit 10 ", "exit 10", "Exit 10.", "")] == [1, 0, 0, 0]
    assert exact_text(rollout(tagged("exit 10"), item), ignore_case=True) == 1
    assert answer(rollout(tagged("exit 10."), item)) == 1  # the kind reading


def t_grpo(right, kept, lengths, shuffled):
    """Rewards and advantages of a group as Video-R1 computes them, from our terms."""
    verdicts = [Verdict(bool(r), float(r), bool(k)) for r, k in zip(right, kept, strict=True)]
    seen = [Verdict(bool(r), float(r), True) for r in shuffled]
    group = [Rollout(record(), "", v, n, shuffled=seen) for v, n in zip(verdicts, lengths, strict=True)]
    for member in group:
        member.group = group
    lines = [{"name": "answer"}, {"name": "format"}, {"name": "temporal", "weight": 0.3}, {"name": "length_bonus", "weight": 0.2}]
    terms = build_terms(lines, (REWARDS | {"temporal": temporal}).__getitem__)
    totals = [score(member, terms, Ledger())[0] for member in group]
    return totals, group_advantages(torch.tensor([totals], dtype=torch.float64))[0]


def test_t_grpo_of_the_reference():
    totals, advantages = t_grpo([1, 1, 0, 1], [1, 1, 1, 0], [400, 600, 350, 320], [1, 0])
    assert totals == pytest.approx([2.5, 2.3, 1.0, 1.5])
    np.testing.assert_allclose(advantages, [0.964969, 0.679052, -1.179406, -0.464615], atol=1e-6)
    totals, advantages = t_grpo([1, 0, 0, 0], [1, 1, 1, 1], [400, 400, 400, 400], [1, 1])  # no contrast; one right alone earns no length bonus
    assert totals == pytest.approx([2, 1, 1, 1])
    np.testing.assert_allclose(advantages, [1.4997, -0.4999, -0.4999, -0.4999], atol=1e-6)
    assert temporal(rollout(GOOD)) == 0.0  # nothing to compare with


def test_stable_reinforce_table_by_the_algebra():
    """0.5 format + accuracy (1 + 0.5 consistency), consistency in -1, 0, 1."""
    lines = [{"name": "format", "weight": 0.5}, {"name": "answer"}, {"name": "consistency", "weight": 0.5, "gate": "answer"}]
    values = []
    for consistency, text in ((1, GOOD), (-1, GOOD), (0, GOOD), (1, GOOD.replace("r>12", "r>13")), (1, "")):
        terms = build_terms(lines, (REWARDS | {"consistency": lambda _, c=consistency: c}).__getitem__)
        values.append(score(rollout(text), terms, Ledger())[0])
    assert values == [2.0, 1.0, 1.5, 0.5, 0.0]


def test_length_terms():
    pair = [rollout(GOOD), rollout(GOOD)]
    lengths = [Rollout(record(), GOOD, pair[0].verdict, n, group=pair) for n in (319, 320, 512, 513)]
    assert [length_bonus(r) for r in lengths] == [0, 1, 1, 0]
    assert length_bonus(rollout(GOOD, num_tokens=400)) == 0.0  # the only right one
    assert [overlong_penalty(rollout(GOOD, num_tokens=n), limit=100, buffer=20) for n in (80, 90, 100, 140)] == [0, -0.5, -1, -1]
    with pytest.raises(ValueError, match="buffer=20, limit=10"):
        overlong_penalty(rollout(GOOD), limit=10, buffer=20)


REWARDS = {"answer": answer, "format": keeps_format, "process": process, "length_bonus": length_bonus}


def test_sum_weights_and_gate():
    terms = build_terms([{"name": "answer", "weight": 2.0, "gate": "format"}, {"name": "format", "weight": 0.5}], REWARDS.__getitem__)
    assert score(rollout(GOOD), terms, Ledger()) == (2.5, {"answer": 1.0, "format": 1.0})
    assert score(rollout("<answer>12</answer>"), terms, Ledger()) == (0.0, {"answer": 1.0, "format": 0.0})


def test_options_reach_the_reward():
    terms = build_terms([{"name": "length_bonus", "low": 1, "high": 5, "least_right": 1}], REWARDS.__getitem__)
    assert score(rollout(GOOD, num_tokens=3), terms, Ledger())[0] == 1.0


def test_recipe_mistakes_are_named():
    with pytest.raises(ValueError, match="gate 'fmt' is not another reward"):
        build_terms([{"name": "answer", "gate": "fmt"}], REWARDS.__getitem__)
    with pytest.raises(ValueError, match="listed twice"):
        build_terms([{"name": "answer"}, {"name": "answer"}], REWARDS.__getitem__)


def test_a_broken_reward_earns_zero_with_a_reason_and_never_ends_the_run():
    def raises(_):
        return 1 / 0

    ledger = Ledger()
    broken = {"raises": raises, "nan": lambda _: float("nan"), "word": lambda _: "much", "answer": answer}
    terms = build_terms([{"name": name} for name in broken], broken.__getitem__)
    total, parts = score(rollout(GOOD), terms, ledger)
    assert (total, parts) == (1.0, {"raises": 0.0, "nan": 0.0, "word": 0.0, "answer": 1.0})
    assert ledger.failures == {"raises: ZeroDivisionError": 1, "nan: not finite": 1, "word: ValueError": 1}
    assert "ZeroDivisionError" in ledger.tracebacks[0]


HOSTILE = [
    "<think>" * 200_000,
    "<answer>" + "9^9^9^9" + "</answer>",
    "<think>x</think><answer>" + "A," * 500_000 + "</answer>",
    "<think>a</think>" * 50_000 + "<answer>b</answer>" + "!" * 100_000 + "x",
    "<think>" + " \n" * 300_000 + "</think>" + " " * 300_000 + "<answer>__import__('os').system('true')</answer>",
    "<think>sum: " + "1 + " * 200_000 + "1 = 12</think><answer>12</answer>",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_completions_neither_execute_nor_stall(text):
    start = time.perf_counter()
    item = Record("c", "which?", ["A"], "choices", options=["a", "b"], meta={"facts": {"sum": "12"}})
    hostile = rollout(text, item)
    for reward in (answer, process, no_error, soft_choice):
        assert 0.0 <= reward(hostile) < 1.0 or reward is process
    assert format_reward(text, "official") in (0.0, 1.0)
    assert multi_choice(text, "A", "official") in (0.0, 1.0)
    assert time.perf_counter() - start < 5  # a stall would take hours; this is no speed claim


HOSTILE_NUMBERS = ["9^9^9^9", "10^{10^{10^{10}}}", "\\frac{" * 40 + "1", "2^{3^{4^{5^{6}}}}!"]


@pytest.mark.parametrize("text", HOSTILE_NUMBERS)
def test_hostile_numbers_are_wrong_and_are_killed_in_time(text, monkeypatch):
    from data import answers

    monkeypatch.setattr(answers.WORKER, "seconds", 1.0)
    for kind, gold in (("float", "0.5"), ("text", "\\sqrt{2}")):
        item = Record("n", "how much?", [gold], kind)
        verdict = judge(item, tagged(text), Ledger(), "0/0")
        assert not verdict.answer_ok and verdict.reason in ("wrong", "timeout")
    assert judge(Record("n", "how much?", ["12"], "integer"), tagged("\\frac{24}{2}"), Ledger()).answer_ok  # the worker works on


def test_a_verdict_that_timed_out_is_written_down_and_found_again(tmp_path, monkeypatch):
    from data import answers

    def late(gold, answer):
        answers.WORKER.timeouts += 1
        return False

    item = Record("n", "how much?", ["\\sqrt{2}"], "text")
    monkeypatch.setattr(answers.WORKER, "equal", late)
    monkeypatch.setattr(answers, "_ask_value", lambda text: text)
    path = tmp_path / "timeouts.jsonl"
    assert judge(item, tagged("2^{0.5}"), Ledger(path=path), "1/2/3").reason == "timeout"
    monkeypatch.setattr(answers.WORKER, "equal", lambda gold, answer: True)
    again = Ledger(path=path)
    assert judge(item, tagged("2^{0.5}"), again, "1/2/3").reason == "timeout" and again.failures == {"verdict: timeout": 1}
    assert judge(item, tagged("2^{0.5}"), again, "1/2/4").answer_ok


def test_a_reward_that_never_ends_earns_zero_and_is_replayed(tmp_path):
    machine = {"slow": True}

    def endless(_):
        while machine["slow"]:
            pass
        return 1.0

    terms = build_terms([{"name": "endless"}, {"name": "answer"}], {"endless": endless, "answer": answer}.__getitem__)
    path = tmp_path / "timeouts.jsonl"
    ledger = Ledger(seconds=0.05, path=path)
    assert score(rollout(GOOD), terms, ledger, "0/1") == (1.0, {"endless": 0.0, "answer": 1.0})
    assert ledger.failures == {"endless: timeout": 1}
    machine["slow"] = False
    assert score(rollout(GOOD), terms, Ledger(path=path), "0/1")[0] == 1.0
    assert score(rollout(GOOD), terms, Ledger(path=path), "0/2")[0] == 2.0


def test_a_stalling_regular_expression_is_stopped():
    terms = build_terms([{"name": "regex"}], {"regex": lambda r: float(bool(re.match(r"(a+)+$", r.completion)))}.__getitem__)
    ledger, start = Ledger(seconds=0.2), time.perf_counter()
    assert score(rollout("a" * 60 + "b"), terms, ledger)[0] == 0.0
    assert ledger.failures == {"regex: timeout": 1} and time.perf_counter() - start < 20
