"""Fresh solutions beside their exact labels, by a policy and scorers whose every word is known."""

import json

import pytest

from data import protocol
from data.drawn_solutions import distinct_solutions
from eval.__main__ import main
from eval.prm_fresh import text_of, write_fresh
from eval.prm_report import read_scores, show_prm, write_metrics
from eval.run import open_benchmark
from reasoning.policy import Asked
from reasoning.scorers.base import Scored
from reasoning.trace import Generation


class Copyist:
    """Says the gold solution, and every second time a wrong answer behind the gold steps; the last sample says nothing."""

    def ask(self, record, instruction=""):
        return Asked(record, protocol.prompt(record, instruction), [])

    def sample(self, asked, ks, temperature, max_new_tokens):
        gold = [protocol.completion(item.record) for item in asked]
        wrong = [text.partition(protocol.ANSWER)[0] + f"{protocol.ANSWER}no such thing{protocol.END_ANSWER}" for text in gold]
        said = [[g, w, g, "<think>hm"] for g, w in zip(gold, wrong, strict=True)]
        return [[Generation(k, 0, row[k], 9, True) for k in numbers] for row, numbers in zip(said, ks, strict=True)]


class Reader:
    """A step scores 0.9, a right answer 0.8, a wrong one 0.1."""

    def score(self, asked, solutions):
        rows = [[[0.9] * len(protocol.parse(g.text).steps) + [0.1 if "no such" in g.text else 0.8] for g in row] for row in solutions]
        return [Scored([row[-1] for row in mine], mine, [0] * len(mine)) for mine in rows]


def test_lines_are_those_of_a_prm_stage(tmp_path):
    folder = write_fresh(Copyist(), Reader(), open_benchmark("world/vision"), tmp_path, level=1, n=5, seed=3, samples=4, batch_size=2)
    lines = read_scores(folder)
    assert len(lines) == 10 and {line["modality"] for line in lines} == {"image"}
    for right, wrong in zip(lines[::2], lines[1::2], strict=True):
        assert (right["count"], wrong["count"], right["id"]) == (2, 1, wrong["id"])
        assert right["labels"] == [1] * len(right["scores"]) and wrong["labels"] == [*right["labels"][:-1], 0]
        assert right["pass_rate"] == 0.5  # of four, one without an answer
        assert right["scores"] == [*[0.9] * len(right["kinds"]), 0.8] and wrong["scores"][-1] == 0.1
    metrics = write_metrics(folder)["all"]
    assert metrics["solutions"] == 15 and metrics["questions"] == 5 and metrics["answers"]["auroc"] == 1.0
    assert json.loads((folder / "label_report.json").read_text())["solutions"] == 10


def test_a_scorer_that_judges_no_steps_is_refused(tmp_path):
    class Whole(Reader):
        name = "orm"

        def score(self, asked, solutions):
            return [Scored([0.5] * len(row), [[0.5] for _ in row], [0] * len(row)) for row in solutions]

    with pytest.raises(ValueError, match="'orm' gives no score to every step"):
        write_fresh(Copyist(), Whole(), open_benchmark("world/vision"), tmp_path, level=1, n=3, seed=3, samples=4)


def test_what_is_accepted_is_shown_by_pass_rate(tmp_path, capsys):
    write_fresh(Copyist(), Reader(), open_benchmark("world/vision"), tmp_path, level=1, n=5, seed=3, samples=4)
    show_prm(tmp_path)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[-2:-1] == ["[0.722,"]]
    assert line.split()[:6] == ["0.5", "to", "0.75", "15", "10", "1.000"]  # of each question's three answers, the two right ones score 0.8


def test_the_text_of_a_solution_is_read_as_it_was():
    from data.worlds.vision import VisionWorld

    record = VisionWorld().sample(1, 0).record
    for text in (protocol.completion(record), f"<think>a {protocol.STEP} b\nc</think><answer>1 2</answer>"):
        (drawn,) = distinct_solutions([record], [text], 1)
        again = protocol.parse(text_of(drawn))
        assert (again.answer, len(again.steps)) == (drawn.solution.answer, len(drawn.solution.steps))


def test_mistakes_are_named(tmp_path, capsys):
    with pytest.raises(ValueError, match="'gsm8k' has no exact labels of steps"):
        write_fresh(Copyist(), Reader(), open_benchmark("gsm8k"), tmp_path, level=None, n=5, seed=0)
    assert main(["prm"]) == 2 and "either a run" in capsys.readouterr().err
    assert main(["prm", str(tmp_path), "--model", str(tmp_path)]) == 2
    assert main(["prm", "--model", str(tmp_path)]) == 2 and "neither a model" in capsys.readouterr().err
