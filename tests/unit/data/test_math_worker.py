"""The process that does mathematics: it answers, it is killed where it takes too long, and it comes back."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data import math_worker
from data.math_worker import MAX_LENGTH, MathWorker

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def worker():
    made = MathWorker(seconds=20.0)  # the machine may be busy
    yield made
    made.close()


@pytest.mark.parametrize(("text", "found"), [("\\sqrt{16}", "4/1"), ("\\frac{1}{3}+\\frac{1}{6}", "1/2"), ("", None)])
def test_values(worker, text, found):
    assert worker.value(text) == found


def test_irrational_values_have_15_digits(worker):
    assert worker.value("2\\pi").startswith("6.2831853071795")


@pytest.mark.parametrize(("gold", "said", "same"), [("(x+1)^2", "x^2+2x+1", True), ("(x+1)^2", "x^2+2x+2", False), ("\\sqrt{2}", "\\sqrt{2", False)])
def test_equality(worker, gold, said, same):
    assert worker.equal(gold, said) is same


def test_numbers_that_nobody_can_write_are_too_hard(worker):
    assert worker.ask(value="9^{99999}") == {"too_hard": True} and worker.value("9^{99999}") is None


def test_long_expressions_are_not_asked(worker):
    before = worker._process
    assert worker.value("1+" * MAX_LENGTH) is None and worker._process is before


def test_a_question_without_end_is_cut_off_and_the_next_one_answered(worker):
    worker.value("1")
    worker.seconds, before = 1.0, worker.timeouts
    begun = time.monotonic()
    assert worker.value("9^{9^{9^{9}}}!") is None or worker.timeouts == before  # given up by sympy, or by us
    assert time.monotonic() - begun < 15
    worker.seconds = 20.0
    assert worker.value("\\sqrt{9}") == "3/1"


def test_a_worker_that_died_is_started_again(worker):
    worker.value("1")
    first = worker._process
    first.kill()
    first.wait()
    assert worker.value("\\sqrt{9}") == "3/1" and worker._process is not first


def test_a_forked_process_has_a_worker_of_its_own(worker):
    worker.value("1")
    mine = worker._process.pid
    child = os.fork()
    if child == 0:
        fine = worker.value("\\sqrt{9}") == "3/1" and worker._process.pid != mine
        worker.close()
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert worker._process.pid == mine and worker.value("\\sqrt{4}") == "2/1"


def test_nothing_starts_at_import():
    code = "import sys, data.answers as a; print(a.WORKER._process, [m for m in ('sympy', 'math_verify', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None []"
    assert Path(math_worker.__file__).read_text().count("from data") == 0  # it runs in an isolated interpreter
