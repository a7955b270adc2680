"""A judge model reads answers out of outputs exactly where the published scorer asks one, and says how often it did."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from eval.__main__ import main
from eval.benchmarks.mathvista import MathVista
from eval.judge import EXAMPLES, extraction_prompt, judged, open_judge, read_verdict
from eval.score import score_files
from reasoning.trace import Generation

PROBLEM = {"question": "How many?", "image": "i.jpg", "choices": None, "unit": None, "precision": None, "question_type": "free_form",
           "answer_type": "integer", "metadata": {"language": "english"}}  # fmt: skip
GOLD = {
    "1": {**PROBLEM, "pid": "1", "answer": "7"},
    "2": {**PROBLEM, "pid": "2", "answer": "3"},
    "3": {**PROBLEM, "pid": "3", "answer": "red", "choices": ["red", "blue"], "question_type": "multi_choice", "answer_type": "text"},
    "4": {**PROBLEM, "pid": "4", "answer": "1.5", "answer_type": "float", "precision": 1.0},
}
RESPONSES = {"1": "It is neither six nor eight but the one between.", "2": "3", "3": "The warm one of both.", "4": "One and a half."}


class Judge:
    """Answers by what the last case of its prompt holds; refuses record `mute`."""

    name, fingerprint, seed = "judge", "f", 0
    says = {"between": "7", "warm": "(A)", "half": "1.5"}

    def __init__(self, mute=""):
        self.mute, self.asked = mute, []

    def chat(self, turn):
        return turn

    def problem(self, asked):
        return "too long" if asked.record.id == self.mute else None

    def sample(self, asked, ks, temperature, max_new_tokens):
        assert temperature == 0 and all(k == [0] for k in ks)
        self.asked += [(a.record.id, a.prompt) for a in asked]
        tails = [a.prompt.rpartition("Question: ")[2] for a in asked]
        return [[Generation(0, 0, next(v for k, v in self.says.items() if k in tail) + "<|end|>", 2, True)] for tail in tails]


@pytest.fixture
def files(tmp_path):
    gold, said = tmp_path / "gold.json", tmp_path / "said.json"
    gold.write_text(json.dumps(GOLD))
    said.write_text(json.dumps({pid: {"response": text} for pid, text in RESPONSES.items()}))
    return said, gold


def test_only_what_the_published_scorer_would_ask_about(files):
    judge = Judge()
    report = score_files(MathVista(), *files, "official", judge)
    assert report.correct == 4 and report.used == {"judge": 3, "response": 1}
    assert [id for id, _ in judge.asked] == ["1", "3", "4"]  # "3" parses as the integer asked for
    prompts = dict(judge.asked)
    assert "an option's letter" in prompts["3"].rpartition("Output:")[2] and "(B) blue" in prompts["3"] and "one decimal place" in prompts["4"]
    assert score_files(MathVista(), *files, "official").correct < 4  # the offline rules alone
    assert score_files(MathVista(), *files, "strict", judge).used == {"response": 4}


def test_the_gold_is_never_shown(files):
    judge = Judge()
    score_files(MathVista(), *files, "official", judge)
    cases = {id: prompt.rpartition("\n\n")[2] for id, prompt in judge.asked}
    assert "7" not in cases["1"] and "1.5" not in cases["4"]


def test_what_cannot_be_asked_is_a_problem_and_stays_with_the_rules(files):
    report = score_files(MathVista(), *files, "official", Judge(mute="3"))
    assert ("not_judged", "3") in {(p.kind, p.where) for p in report.problems} and report.used == {"judge": 2, "response": 2}


def test_stored_extractions_are_scored_as_they_are(tmp_path, files):
    records = MathVista().records(files[1])[0]
    from eval.benchmarks.offline import Prediction

    found = {"1": Prediction("1", "6", "It is 7.", frozenset(["extraction", "response"]))}
    judge = Judge()
    assert judged(MathVista(), records, found, "official", judge, []) == found and judge.asked == []


@pytest.mark.parametrize(
    "text, answer",
    [
        ("7<|end|>", "7"),
        (" `B`\nbecause", "B"),
        ("none", ""),
        ("N/A.", ""),
        ("<think>x</think><answer>12</answer>", "12"),
        ("Final answer: 3", "3"),
        ("", ""),
    ],
)
def test_verdicts(text, answer):
    assert read_verdict(text) == answer


def test_the_prompt_shows_each_kind_once_and_the_end_of_a_long_output():
    prompt = extraction_prompt("Q?", "x" * 20_000 + " so 5", "an integer")
    assert prompt.count("Final answer (") == len(EXAMPLES) + 1 and prompt.endswith("so 5\nFinal answer (an integer):") and len(prompt) < 10_000


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body["model"] == "small" and body["temperature"] == 0
        text = json.dumps(body["messages"])
        answer = "7" if "between" in text else "A" if "warm" in text else "1.5"
        message = {"choices": [{"message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}], "usage": {"completion_tokens": 1}}
        reply = json.dumps(message).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


def test_over_http_from_the_command_line(files, capsys):
    server = HTTPServer(("127.0.0.1", 0), Server)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        arguments = ["score", "mathvista", str(files[0]), "--gold", str(files[1]), "--protocol", "official", "--json", "--judge", url]
        assert main([*arguments, "--judge-model", "small"]) == 0
        captured = capsys.readouterr()
        assert json.loads(captured.out)["correct"] >= 3 and "judge of 3 rows" in captured.err
        assert main(arguments) == 2 and "--judge-model" in capsys.readouterr().err
    finally:
        server.shutdown()


def test_a_judge_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="no/such/judge"):
        open_judge("no/such/judge")
