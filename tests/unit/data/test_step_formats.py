"""The formats of the field: rows written as their data sets write them, read, and written again."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.record import MediaRef, Record
from data.solutions import LabelledSolution, read_solutions
from data.step_formats import FORMATS, SYSTEM, convert

SHEPHERD = {
    "input": "Janet has 3 ducks. How many legs? Step 1: A duck has 2 legs. ки\nStep 2: 3 * 2 = 5. The answer is: 5 ки",
    "label": "Janet has 3 ducks. How many legs? Step 1: A duck has 2 legs. +\nStep 2: 3 * 2 = 5. The answer is: 5 -",
    "task": "GSM8K",
}
TRL = {"prompt": "Which number is larger?", "completions": ["9.8 - 9.11 = 0.69.", "So + 9.8 is larger."], "labels": [True, False]}
VISUAL = {
    "id": "7", "image": "a/b.png",
    "conversations": [
        {"from": "system", "value": SYSTEM},
        {"from": "human", "value": "<image>\n### Question:\nHow many?\n\n### Solution Process:\nI see - two - cups."},
        {"from": "gpt", "value": "+"}, {"from": "human", "value": "So 2 + 1 = 4."}, {"from": "gpt", "value": "-"},
    ],
}  # fmt: skip
PROCESS = {"id": "gsm8k-0", "generator": "Qwen2-7B", "final_answer_correct": False, "problem": "Why?", "steps": ["a", "b", "c"], "label": 1}
VPB = {
    "image": ["x.png", "y.png"], "question": "Which?", "answer": "B", "response": {"steps": ["a", "b", "c"], "process_correctness": [1, -1, 0]},
    "policy_model": "m", "data_source": "MathVision",
}  # fmt: skip
ROWS = {"trl": TRL, "math_shepherd": SHEPHERD, "visualprm": VISUAL, "processbench": PROCESS, "visualprocessbench": VPB}
LABELS = {
    "trl": [1, 0], "math_shepherd": [1, 0], "visualprm": [1, 0], "processbench": [1, 0, None], "visualprocessbench": [1, None, 0],
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_read_and_comes_back(name):
    solution = FORMATS[name].read(ROWS[name])
    assert solution.labels == LABELS[name] and solution.answer is None and solution.source == name
    back = FORMATS[name].write(solution)
    assert back | {"task": "GSM8K"} == ROWS[name] | {"task": "GSM8K"}
    assert FORMATS["focal"].read(json.loads(json.dumps(FORMATS["focal"].write(solution)))) == solution


def test_what_is_read_in_each():
    shepherd = FORMATS["math_shepherd"].read(SHEPHERD)
    assert shepherd.record.question == "Janet has 3 ducks. How many legs?"
    assert shepherd.steps == ["A duck has 2 legs.", "3 * 2 = 5. The answer is: 5"] and shepherd.meta == {"task": "GSM8K"}
    visual = FORMATS["visualprm"].read(VISUAL)
    assert visual.record.media == [MediaRef("image", "a/b.png")] and visual.record.question == "How many?" and visual.record.id == "7"
    assert visual.steps == ["I see - two - cups.", "So 2 + 1 = 4."]
    assert FORMATS["processbench"].read(PROCESS | {"label": -1}).labels == [1, 1, 1]
    assert [m.path for m in FORMATS["visualprocessbench"].read(VPB).record.media] == ["x.png", "y.png"]


BAD = [
    ("trl", {"labels": [True]}, "1 labels for 2 steps"), ("trl", {"prompt": None}, "question"),
    ("math_shepherd", {"input": "no steps"}, "no `Step 1:`"), ("math_shepherd", {"label": SHEPHERD["input"]}, "step 1 is not the one"),
    ("math_shepherd", {"input": SHEPHERD["input"] + " tail"}, "the last step has no"),
    ("visualprm", {"conversations": VISUAL["conversations"][:-1]}, "every step needs"),
    ("visualprm", {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "ok"}]}, "says 'ok'"),
    ("visualprm", {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "+"}]}, "has no '### Solution"),
    ("processbench", {"label": 3}, "3 is no index of the 3 steps"), ("processbench", {"label": True}, "True is no index"),
    ("visualprocessbench", {"response": {"steps": ["a"], "process_correctness": [2]}}, "2 is not 1, 0 or -1"),
    ("visualprocessbench", {"response": {"steps": ["a"]}}, "process_correctness: missing"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "complaint"), BAD)
def test_rows_that_do_not_fit_are_named(name, change, complaint):
    with pytest.raises(ValueError, match=complaint):
        FORMATS[name].read(ROWS[name] | change)
    with pytest.raises(ValueError, match=": missing"):
        FORMATS[name].read({})


def ours(labels, answer=None, media=()):
    record = Record("r", "Q?", ["x"], "text", list(media), source="world/image")
    steps = [f"s{i}: 1" for i in range(len(labels) - (answer is not None))]
    return LabelledSolution(record, steps, answer, list(labels), "monte_carlo")


def test_what_a_format_has_no_place_for():
    solution = ours([1, 0.6, None, 0, 1], answer="x")
    assert FORMATS["trl"].write(solution) == {"prompt": "Q?", "completions": ["s0: 1", "s1: 1"], "labels": [True, True]}
    with pytest.raises(ValueError, match="an unmeasured step stands before"):
        FORMATS["processbench"].write(solution)
    early = FORMATS["processbench"].write(ours([1, 0, None, 0], answer="x"))
    assert early["label"] == 1 and early["final_answer_correct"] is False
    assert FORMATS["visualprocessbench"].write(solution)["response"]["process_correctness"] == [1, 1, -1, 0]
    with pytest.raises(ValueError, match="no place for audio"):
        FORMATS["visualprm"].write(ours([1], media=[MediaRef("audio", "a.wav")]))
    with pytest.raises(ValueError, match="holds the tag"):
        FORMATS["math_shepherd"].write(dataclasses.replace(ours([1]), steps=["a ки b"]))


TEXT = st.text("abc +-−1=.", min_size=1).map(str.strip).filter(bool)


@given(TEXT, st.lists(st.tuples(TEXT, st.integers(0, 1)), min_size=1, max_size=6), st.sampled_from(["trl", "math_shepherd", "visualprm"]))
def test_signs_inside_steps_are_never_taken_for_labels(question, steps, name):
    record = Record("r", question, ["x"], "text")
    solution = LabelledSolution(record, [s for s, _ in steps], None, [y for _, y in steps], "x")
    back = FORMATS[name].read(FORMATS[name].write(solution))
    assert back.steps == solution.steps and back.labels == solution.labels and back.record.question == question


def test_files(tmp_path):
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps([PROCESS, PROCESS | {"id": "2", "label": -1}]))
    assert convert("processbench", "focal", rows, tmp_path / "ours.jsonl") == 2
    assert [s.record.id for s in read_solutions(tmp_path / "ours.jsonl")] == ["gsm8k-0", "2"]
    assert convert("focal", "trl", tmp_path / "ours.jsonl", tmp_path / "trl.jsonl") == 2
    assert json.loads((tmp_path / "trl.jsonl").read_text().splitlines()[0])["labels"] == [True, False]
    rows.write_text(json.dumps([PROCESS, {"id": "2"}]))
    with pytest.raises(ValueError, match=r"rows.json, row 2: steps: missing"):
        convert("processbench", "focal", rows, tmp_path / "x")
    with pytest.raises(ValueError, match="unknown format 'prm800k'"):
        convert("prm800k", "focal", rows, tmp_path / "x")
