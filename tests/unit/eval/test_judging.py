"""Floors that stand beside every score, and MMStar's gain and leakage: who looks has a gain, who has learned the questions by heart leaks."""

import dataclasses

import pytest

from data.record import Record
from eval.answering import Answered
from eval.controls import Control, answer_control, chance
from eval.judging import ablation
from eval.run import evaluate


def rows(*right, counted=True):
    return [{"id": str(i), "group": str(i), "correct": bool(x), "counted": counted} for i, x in enumerate(right)]


class TestAblation:
    def test_by_hand(self):
        found = ablation(rows(1, 1, 1, 0), rows(1, 0, 0, 0), None, [0.25] * 4)
        assert (found["n"], found["gain"], found["leakage"], found["floor"], found["against"]) == (4, 0.5, 0.0, 0.25, "chance")
        assert found["gain_ci95"][0] <= 0.5 <= found["gain_ci95"][1] and not found["leaks"]

    def test_leakage_is_what_a_reader_alone_does_not_know(self):
        blanked = rows(*[1] * 30, *[0] * 10)
        against_chance = ablation(blanked, blanked, None, [0.25] * 40)
        assert against_chance["leakage"] == pytest.approx(0.5) and against_chance["leaks"] and against_chance["gain"] == 0
        against_reader = ablation(blanked, blanked, rows(*[1] * 30, *[0] * 10), [0.25] * 40)
        assert against_reader["leakage"] == 0 and not against_reader["leaks"] and against_reader["against"] == "text_only"

    def test_items_that_do_not_count_are_left_out_of_all_three(self):
        sighted, blanked = rows(1, 1), rows(0, 1)
        blanked[1]["counted"] = False
        assert ablation(sighted, blanked, None, [0.5, 0.5])["n"] == 1


class Reader:
    """Reads the hint that was planted in the question, and never looks."""

    def __init__(self):
        self.settings = {"strategy": "greedy", "scorer": None, "samples": 1, "temperature": 0.0, "max_new_tokens": 20, "seed": 0}
        self.fingerprint = "reader"

    def chat(self, turn):
        return turn

    def answer(self, asked):
        return [Answered(f"<think></think><answer>{item.record.question[-1]}</answer>", 5, 5) for item in asked]


def planted(benchmark):
    """The same items with their answer's letter at the end of the question: a language prior in its plainest form."""
    load = benchmark.load
    benchmark.load = lambda wanted: [dataclasses.replace(r, question=f"{r.question} {r.answer[0]}") for r in load(wanted)]
    return benchmark


def judge(benchmark, answerer, folder, **changes):
    options = {"stage": "sft", "n": None, "controls": ("blank_media",), "media": {}} | changes
    return evaluate(None, None, benchmark, answerer=answerer, out_dir=folder, **options)["control_details"]


def test_a_planted_language_prior_is_detected_as_leakage(pictures, looker, tmp_path):
    leaky = judge(planted(pictures(24)), Reader(), tmp_path / "reader")["ablation"]
    assert leaky["leakage"] == pytest.approx(2 / 3) and leaky["leaks"] and leaky["gain"] == 0
    honest = judge(planted(pictures(24)), looker(), tmp_path / "looker")["ablation"]
    assert honest["gain"] >= 0.5 and not honest["leaks"]


def test_leakage_against_a_language_model(pictures, looker, tmp_path):
    found = judge(planted(pictures(24)), Reader(), tmp_path, text_only=Reader())["ablation"]
    assert found["against"] == "text_only" and found["floor"] == 1 and found["leakage"] == 0  # it knew the prior before it saw any picture
    assert (tmp_path / "records.text_only.jsonl").is_file() or list(tmp_path.glob("*.text_only.jsonl"))


def test_floors_that_cost_nothing_stand_beside_every_score(pictures, looker, tmp_path):
    held = judge(pictures(12), looker(), tmp_path, controls=())
    assert {"always_option", "longest_option", "random_option", "commonest_answer", "answer_wrapper"} == set(held)
    best = held["always_option"]
    assert (
        best["score"] == max(best["scores"].values()) and set(best["scores"]) == {"A", "B", "C"} and best["scores"][best["letter"]] == best["score"]
    )


def test_shuffled_options_are_not_asked_where_there_are_none(tmp_path, looker):
    from data.record import write_jsonl
    from eval.run import open_benchmark

    write_jsonl(tmp_path / "open.jsonl", [Record(f"q{i}", "How many?", [str(i % 2)], "integer") for i in range(4)])
    answerer = Reader()
    answerer.answer = lambda asked: [Answered("<think></think><answer>1</answer>") for _ in asked]
    held = judge(open_benchmark("records", tmp_path / "open.jsonl"), answerer, tmp_path / "out", controls=("shuffled_options",))
    assert held["shuffled_options"]["n"] == 0 and "score" not in held["shuffled_options"] and "always_option" not in held


def test_chance_is_uniform_over_options_and_the_commonest_answer_elsewhere(pictures):
    options = [Record("a", "q", ["B"], "choice", options=list("wxyz")), Record("b", "q", ["A", "C"], "choices", options=list("xyz"))]
    numbers = [Record(f"n{i}", "q", ["3" if i < 3 else "4"], "integer") for i in range(4)]
    bench = pictures(3)
    assert chance(bench, [*options, *numbers], "strict") == [0.25, 0.125, 1.0, 1.0, 1.0, 0.0]
    assert answer_control(bench, numbers, Control("always_option"), "strict") is None
