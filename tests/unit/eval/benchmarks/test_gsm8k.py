"""GSM8K: `#### N` under official, any clear final number under strict."""

import json

import pytest

from eval.benchmarks.gsm8k import GSM8K, official_answer
from eval.controls import Control, answer_control, wrapper_sensitivity

GOLD = [
    {"question": "q", "answer": "16 - 7 = <<16-7=9>>9\nSo 9 * 2 = $<<9*2=18>>18\n#### 18"},
    {"question": "q", "answer": "many\n#### 2,125"},
]


@pytest.mark.parametrize("text, expected", [("x\n#### 18", "18"), ("#### 2,125", "2125"), ("#### -3.", "-3."), ("18", None), ("####18", None)])
def test_published_rule(text, expected):
    assert official_answer(text) == expected


@pytest.mark.parametrize(
    "response, strict, official",
    [
        ("#### 18", True, True),
        ("She makes $18 every day.", True, False),
        ("The answer is 18.", True, False),
        ("\\boxed{18}", True, False),
        ("\\boxed{\\frac{36}{2}}", True, False),
        ("9 * 2 = 18.00", True, False),
        ("The answer is 19.", False, False),
        ("I am sorry, I cannot say.", False, False),
    ],
)
def test_responses(score, tmp_path, response, strict, official):
    gold = tmp_path / "test.jsonl"
    gold.write_text("".join(json.dumps(row) + "\n" for row in GOLD))
    rows = [{"id": "test-0", "response": response}]
    assert score(GSM8K(), gold, rows, "strict").rows[0]["correct"] is strict
    assert score(GSM8K(), gold, rows, "official").rows[0]["correct"] is official


def test_a_stated_answer_needs_no_marker(score, tmp_path):
    gold = tmp_path / "test.jsonl"
    gold.write_text("".join(json.dumps(row) + "\n" for row in GOLD))
    assert score(GSM8K(), gold, [{"id": "test-1", "prediction": "2125"}, {"id": "test-0", "prediction": 18}], "official").correct == 2


@pytest.mark.parametrize("protocol", GSM8K.protocols)
def test_gold_over_the_test_split(score, data_root, protocol):
    path = data_root / "gsm8k" / "test.jsonl"
    rows = [{"id": f"test-{i}", "response": json.loads(line)["answer"]} for i, line in enumerate(path.read_text().splitlines())]
    report = score(GSM8K(), path, rows, protocol)
    assert (report.correct, report.n) == (1319, 1319)


@pytest.mark.parametrize("protocol", GSM8K.protocols)
def test_the_blind_guess_is_written_as_the_rule_reads_it(tmp_path, protocol):
    """Golds 7, 7, 7, 9: the others of each say 7, which is right for three of four, with the published marker where that is what is read."""
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps({"question": "q", "answer": f"x\n#### {n}"}) + "\n" for n in (7, 7, 7, 9)))
    records = GSM8K().records(path)[0]
    assert answer_control(GSM8K(), records, Control("commonest_answer"), protocol) == {"n": 4, "score": 0.75}
    assert wrapper_sensitivity(GSM8K(), records, protocol)["scores"]["X"] == 1
    assert GSM8K().worded(records[0], ["7"], protocol) == {"strict": "7", "official": "#### 7"}[protocol]


def test_steps_come_without_their_calculator_marks(data_root):
    record = GSM8K().records(data_root / "gsm8k" / "test.jsonl")[0][0]
    assert record.answer == ["18"]
    assert all("<<" not in step.text for step in record.steps)
    assert record.meta["steps"] == len(record.steps) == 2
