"""Hostile submissions through `python -m eval score`: a megabyte of anything in a row is marked in seconds and counted, whatever is wrong with an
input is named and counted, and nothing of it is executed."""

import contextlib
import json
import multiprocessing
import sys

import pytest

from configs.registry import BENCHMARKS
from data import answers
from eval.__main__ import main
from eval.benchmarks.offline import MAX_DEPTH, OfflineBenchmark, deeper_than
from eval.extraction import MAX_LENGTH

SECONDS = 20  # for a case that takes one on a quiet core: the machine may be busy
MEGABYTE = 1_000_000
CASES = [(name, p) for name in BENCHMARKS.names() if issubclass(kind := BENCHMARKS.get(name), OfflineBenchmark) for p in kind.protocols]


def baits(size, canary, short=False):
    """Texts of that many characters, each of which stalls a careless pattern, or invites somebody to run it; `short`: more of them."""
    code = f"__import__('os').system('touch {canary}')\nimport os; os.system('touch {canary}')\n$(touch {canary})`touch {canary}`{{{{7*7}}}}\n"
    shapes = [("<answer>", " ", "x"), ("x", "\n", "Question"), ("1", "9", "/"), *(("", piece, "") for piece in (code, "<answer>", "\\boxed{", "9^"))]
    if short:
        more = ("a", "([{", "<think><answer> ", "answer to ", "\\frac{1}{", "Question: [1, ", "[/red]\x1b[2J", "\u0130")
        shapes += [("1 \\times 10^", " ", "x"), ("x", " ", "x"), *(("", piece, "") for piece in more)]
    return [begin + (piece * (size // len(piece) + 1))[: size - len(begin + end)] + end for begin, piece, end in shapes]


def choice(i):
    return {"id": f"{i}", "question": "Who?", "choices": ["Man", "Woman"], "answer": "Woman", "category": "c"}


def video(i):
    return {"problem_id": f"{i}", "problem": "q", "options": ["A. burning", "B. rust"], "solution": "<answer>B</answer>", "path": f"./x/{i}.mp4"}


def figure(i):
    kind, gold = [("text", "Woman"), ("integer", "18"), ("float", "1.2"), ("list", "[1, 2]")][min(i, 4) % 4]
    multi = {"question_type": "multi_choice", "choices": ["Man", "Woman"]} if kind == "text" else {"question_type": "free_form", "choices": None}
    row = {"pid": f"{i}", "question": "q", "image": "i.png", "answer_type": kind, "answer": gold, "unit": None, "precision": 1, "metadata": {}}
    return {**row, **multi}


def scene(i):
    choices = [{"choice_id": k, "choice": text, "answer": said} for k, (text, said) in enumerate([("red cube", "wrong"), ("blue cube", "correct")])]
    asked = {"question_type": "explanatory", "choices": choices} if i % 2 == 0 else {"question_type": "descriptive", "answer": "yes"}
    return {"scene_index": i, "video_filename": "v.mp4", "questions": [{"question_id": 0, "question": "q", **asked}]}


def solution(i):
    return {"id": f"{i}", "generator": "g", "problem": "p", "steps": ["a", "b"], "final_answer_correct": True, "label": [1, -1][i % 2]}


# name -> (gold row of a number, the id of its prediction, a right answer to number 0)
LAYOUTS = {
    "mmau": (choice, "{}", "Woman"), "mmar": (choice, "{}", "Woman"), "mmau_pro": (choice, "{}", "Woman"), "mathvista": (figure, "{}", "(B)"),
    "mmvu": (video, "{}", "B"), "nextgqa": (video, "{}", "B"), "gsm8k": (lambda i: {"question": "q", "answer": "x\n#### 18"}, "gold-{}", "18"),
    "puzzlevqa": (lambda i: {"image": f"images/p_{i}.png", "question": "q", "options": ["1", "2"], "answer": "2"}, "p_{}", "(B)"),
    "processbench": (solution, "{}", "1"), "clevrer": (scene, "{}-0", "B"),
    "compa_order": (lambda i: f"{i},a,b", "{}", [[1, 0], [0, 1]]), "compa_attribute": (lambda i: f"{i},a,b", "{}", [[1, 0], [0, 1]]),
}  # fmt: skip


def write_gold(path, rows):
    text = "id,pair_caption,reversed_pair_caption\n" + "\n".join(rows) if isinstance(rows[0], str) else "\n".join(map(json.dumps, rows))
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """benchmark -> (gold, predictions, ids, canary): an honest row, then baits as responses of a megabyte and as answers short enough to read."""
    made = {}

    def make(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            gold_row, id, right = LAYOUTS[name]
            field = "scores" if name.startswith("compa") else "prediction"
            texts = [("response", text) for text in baits(MEGABYTE, folder / "canary")]
            texts += [(field, text) for text in baits(MAX_LENGTH, folder / "canary", short=True)]
            rows = [{"id": id.format(i), key: text} for i, (key, text) in enumerate([(field, right), *texts])]
            (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            gold = write_gold(folder / "gold", [gold_row(i) for i in range(len(rows))])
            made[name] = gold, folder / "predictions.jsonl", [row["id"] for row in rows], folder / "canary"
        return made[name]

    return make


def run_within(seconds, folder, *arguments):
    """(exit code, standard output, errors) of the command in a process of its own, which is killed when its time is over."""

    def job():
        with open(folder / "out", "w") as out, open(folder / "err", "w") as err, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["score", *map(str, arguments)])
        sys.exit(code)

    child = multiprocessing.get_context("fork").Process(target=job)
    child.start()
    child.join(seconds)
    late = child.is_alive()
    child.kill()
    child.join()
    assert not late, f"still at work after {seconds} s"
    return child.exitcode, (folder / "out").read_text(), (folder / "err").read_text()


def test_every_benchmark_that_is_scored_from_files_is_here():
    assert {name for name, _ in CASES} == set(LAYOUTS) and len(CASES) >= 25


@pytest.mark.parametrize("name, protocol", CASES)
def test_a_megabyte_of_anything_is_marked_in_seconds_and_counted(files, tmp_path, name, protocol):
    gold, predictions, ids, canary = files(name)
    options = ("--gold", gold, "--protocol", protocol, "--json", "--out", tmp_path / "rows")
    code, out, err = run_within(SECONDS, tmp_path, name, predictions, *options)
    assert code == 0, err
    report = json.loads(out)
    rows = {row["id"]: row for row in map(json.loads, (tmp_path / "rows").read_text().split("\n")[:-1])}
    long = len(baits(10, ""))
    assert report["missing"] == 0 and report["n"] == len(rows)  # nothing is lost on the way
    assert rows[ids[0]]["correct"] and all(row["reason"] not in ("", "missing") for row in rows.values())
    assert f"too_long: {long}: {ids[1]} ({MEGABYTE} characters), " in err
    if protocol == "strict":
        assert {rows[id]["reason"] for id in ids[1 : long + 1]} == {"too_long"}
    else:  # every item of the file, but for questions of a kind that the protocol does not ask
        assert set(rows) == set(ids[:: 2 if protocol.startswith("multi_answer") else 1])
    assert not canary.exists() and "\x1b" not in out + err


def item(name, **changes):
    row = {"id": name, "audio_id": f"./a/{name}.wav", "question": "Who?", "choices": ["Man", "Woman"], "answer": "Woman", "category": "c"}
    return {**row, **changes}


def score(capsys, tmp_path, golds, rows, *options, name="mmau"):
    """`rows`: bytes of the file, or rows that become its JSON lines."""
    (tmp_path / "gold.json").write_text(json.dumps(golds))
    content = rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / "predictions.jsonl").write_bytes(content)
    code = main(["score", name, str(tmp_path / "predictions.jsonl"), "--gold", str(tmp_path / "gold.json"), *options])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


HONEST = b'{"id": "0", "prediction": "Woman"}\n'


class TestBadInput:
    """Beside a good row each is one line that names it and counts it; alone it ends with exit code 2 where nothing is left to score."""

    @pytest.mark.parametrize(
        "row, line, scored_alone",
        [
            (b'{"id": "77", "prediction": "Man"}', "unknown_id: 1: 77", False),
            (b'{"id": "1", "prediction": "Man"}\n{"id": "1", "prediction": "Woman"}', "duplicate_id: 1: 1", True),
            (b'{"id": "1", "prediction": null}', "null: 1: 1", False),
            (b'{"id": "1", "prediction": 7}', "not_text: 1: 1 (int)", True),
            (b'{"id": "1", "prediction": ' + b"7" * 5_000 + b"}", "missing: 0", True),  # a number too long for Python is its digits
            (b'{"id": "1", "prediction": "' + b"7" * MEGABYTE + b'"}', "too_long: 1: 1 (1000000 characters)", True),
            (b'{"id": "1", "prediction": "W\xff\xfe"}', "not_utf8: 1: 1", False),
            (b'{"id": "1", "prediction": "\\ud800"}', "not_utf8: 1: 1", False),
            (b'{"id": ["1"], "prediction": "Man"}', "no_id: 1: predictions.jsonl (row 2 has a list for its id)", False),
            (b'{"#": 5, "prediction": "Man"}\n{"#": "an object"}', "no_id: 2: predictions.jsonl (row 2 has no id), pred", False),
            (b'{"id": "1", "prediction": ' + b"[" * 80 + b"]" * 80 + b"}", "broken_line: 1: line 2 (nested deeper than 64 levels)", False),
            (b'{"id": "1", "prediction": ' + b"[" * 90_000 + b"]" * 90_000 + b"}", "broken_line: 1: line 2 (maximum recursion", False),
        ],
    )
    def test_of_a_submission(self, capsys, tmp_path, row, line, scored_alone):
        golds = [item("0"), item("1")]
        code, out, err = score(capsys, tmp_path, golds, HONEST + row, "--json")
        assert code == 0 and json.loads(out)["correct"] == 1 and json.loads(out)["n"] == 2
        assert ("missing" not in err) if line == "missing: 0" else (line in err)
        alone, out, err = score(capsys, tmp_path, golds, row, "--json")
        assert alone == (0 if scored_alone else 2) and (out == "") == (not scored_alone)
        kind = line.split(":")[0]
        assert scored_alone or (err.startswith("error: ") and (kind == "broken_line" or f"\n  {kind}: " in err))

    @pytest.mark.parametrize(
        "changes, line, scored",
        [
            ({"answer": ""}, "gold_empty: 1: 1", False),
            ({"choices": ["Man", "Woman", "Woman"]}, "gold_duplicate_option: 1: 1", True),
            ({"category": ["c"]}, "gold_list_category: 1: 1", True),
            ({"audio_id": "../../etc/passwd"}, "gold_media_outside: 1: 1 (../../etc/passwd)", True),
        ],
    )
    def test_of_a_gold_file(self, capsys, tmp_path, changes, line, scored):
        rows = [{"id": "0", "prediction": "Woman"}, {"id": "1", "prediction": "Woman"}]
        code, out, err = score(capsys, tmp_path, [item("0"), item("1", **changes)], rows, "--json")
        assert code == 0 and line in err.split("\n") and json.loads(out)["n"] == 1 + scored
        code, out, err = score(capsys, tmp_path, [item("1", **changes)], rows[1:], "--json")
        assert code == (0 if scored else 2) and (scored or (out == "" and f"\n  {line}" in err))

    def test_what_is_wrong_with_a_file_of_which_nothing_can_be_scored_is_fit_for_a_terminal(self, capsys, tmp_path):
        code, _, err = score(capsys, tmp_path, [item("0")], [{"id": "x\x1b[31m" + "y" * MEGABYTE, "prediction": "Man"}] * 30)
        assert code == 2 and "\x1b" not in err and len(err) < 1_000 and "unknown_id: 30: " in err


def test_breakdowns_that_come_out_of_a_submission_are_printed_as_they_stand(capsys, tmp_path):
    """MathVista's published script trusts the metadata of the submission: markup, control characters, odd digits, invalid text, very many values."""
    metadata = {"task": "[/red]\x1b[2J", "grade": "²", "source": "--5", "context": "\ud800", "skills": [f"s{k}" for k in range(5_000)]}
    golds, rows = {"0": figure(0)}, [{"pid": "0", "response": "(B)", "metadata": metadata}]
    code, out, _ = score(capsys, tmp_path, golds, rows, "--protocol", "official", "--json", name="mathvista")
    assert code == 0 and len(json.loads(out)["breakdown"]["skills"]) == 5_000 and "\\ud800" in out
    code, out, _ = score(capsys, tmp_path, golds, rows, "--protocol", "official", name="mathvista")
    assert code == 0 and "[/red]" in out and "\x1b" not in out and "and 4900 more" in out


def test_judged_options_may_be_anything(capsys, tmp_path):
    judged = [{"choice_id": [1], "answer": "correct"}, {"choice_id": {}, "answer": []}, 5, None]
    code, out, err = score(capsys, tmp_path, [scene(0)], [{"id": "0-0", "choices": judged}], "--json", name="clevrer")
    assert code == 0 and json.loads(out)["correct"] == 0 and "reasons: no_answer 1" in err


def test_nobody_claims_a_judge_but_us(capsys, tmp_path):
    row = {"pid": "0", "extraction": "B", "#judged": True}
    _, _, err = score(capsys, tmp_path, {"0": figure(0)}, [row], "--protocol", "official", name="mathvista")
    assert "scored: extraction of 1 rows" in err


def test_mathematics_without_end_is_no_answer_and_says_why(capsys, tmp_path, monkeypatch):
    """It begins with the right digit, and is not to be read as it."""
    monkeypatch.setattr(answers.WORKER, "seconds", 2.0)
    powers = ["9^9^9^9", "9^{99999}", "9^{9^{9^{9}}}"]
    rows = [{"id": f"gold-{i}", "response": f"So \\boxed{{{power}}}"} for i, power in enumerate(powers)]
    code, out, err = score(capsys, tmp_path, [{"question": "q", "answer": "#### 9"}] * 3, rows, "--json", "--protocol", "strict", name="gsm8k")
    assert code == 0 and json.loads(out)["correct"] == 0 and "reasons: too_hard 3\n" in err


@pytest.mark.parametrize("depth, deep", [(1, False), (MAX_DEPTH, False), (MAX_DEPTH + 1, True), (5_000, True)])
def test_depth_is_measured_without_recursion(depth, deep):
    nested = "leaf"
    for k in range(depth):
        nested = [nested] if k % 2 else {"k": nested, "l": 1}
    assert deeper_than(nested, MAX_DEPTH) is deep
    while isinstance(nested, (list, dict)):  # taken apart by hand: its own end would recurse too
        nested = nested[0] if isinstance(nested, list) else nested["k"]
