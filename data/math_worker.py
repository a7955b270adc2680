r"""Mathematical expressions compared by math-verify, in a process of its own that is killed when it takes too long.

A model may answer `9^{9^{9}}` or a page of nested fractions; sympy would work on that for hours or eat the memory. The worker reads one JSON line per
question and writes one per answer; whoever asks waits for a limited time, then kills it. It starts at the first question and never at import.

This file is also the worker's program: it imports nothing of ours, so that it starts in an isolated interpreter.
"""

import atexit
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

SECONDS = 3.0  # for one question
START_SECONDS = 30.0  # for the imports of a new process
MEMORY = 2 << 30  # bytes of address space, where the system can limit it
MAX_LENGTH = 300  # characters; longer expressions are not asked
MAX_BITS = 14_000  # of a number; Python writes none of more than 4,300 digits


class MathWorker:
    """`ask` gives the worker's answer (`too_hard`: beyond its memory or its numbers), or None where it ran out of time, died, or the expression is
    too long. Safe to use from several threads and after a fork (each process starts its own worker)."""

    def __init__(self, seconds: float = SECONDS):
        self.seconds = seconds
        self.timeouts = 0
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._owner = 0
        self._lock = threading.Lock()

    def ask(self, **question: Any) -> dict[str, Any] | None:
        if any(len(text) > MAX_LENGTH for text in question.values() if isinstance(text, str)):
            return None
        if self._owner != os.getpid():  # a fork copies the lock and the pipes, but the worker is the parent's
            self._process, self._lock = None, threading.Lock()
        with self._lock:
            try:
                if self._process is None or self._process.poll() is not None:
                    self._start()
                    self._say({"value": "1"}, START_SECONDS)  # the imports have their own time: a hostile first question gets no more than others
                line = self._say(question, self.seconds)
            except (queue.Empty, OSError):
                self.timeouts += 1
                self._kill()
                return None
            return json.loads(line) if line else None

    def _say(self, question: dict[str, Any], seconds: float) -> str:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answers.get(timeout=seconds)

    def value(self, text: str) -> str | None:
        """The value of an expression: exact as `p/q`, 15 digits where it is irrational, else its simplified form; None where it cannot be read."""
        answer = self.ask(value=text)
        return None if answer is None else answer.get("value")

    def equal(self, gold: str, answer: str) -> bool:
        """Whether math-verify holds the two for equal; the order matters to it."""
        found = self.ask(gold=gold, answer=answer)
        return bool(found and found.get("equal"))

    def close(self) -> None:
        with self._lock:
            self._kill()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        self._owner, self._answers = os.getpid(), queue.Queue()
        threading.Thread(target=_pump, args=(self._process, self._answers), daemon=True).start()
        atexit.register(self.close)

    def _kill(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.wait()
        self._process = None


def _pump(process: subprocess.Popen[str], answers: "queue.Queue[str]") -> None:
    """Lines of the worker into a queue, on which waiting can be limited; an empty line says that it died."""
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(line)
    answers.put("")


def _main() -> None:
    """The worker: questions in, answers out, until the input ends."""
    import logging

    logging.disable(logging.CRITICAL)
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):
        pass  # a system without such limits: the time limit stands alone
    from math_verify import parse, verify

    def read(text: str) -> list[Any]:
        return parse(f"${text.strip().strip('$')}$", parsing_timeout=None)

    for line in sys.stdin:
        question = json.loads(line)
        try:
            if "value" in question:
                found = read(question["value"])
                answer: dict[str, Any] = {"value": _value(found[0]) if found and not isinstance(found[0], str) else None}
            else:
                answer = {"equal": bool(verify(read(question["gold"]), read(question["answer"]), timeout_seconds=None))}
        except (MemoryError, OverflowError, RecursionError):
            answer = {"too_hard": True}
        except (ArithmeticError, ValueError, TypeError, AttributeError, IndexError, KeyError, NotImplementedError):
            answer = {"error": True}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _value(expression: Any) -> str | None:
    import sympy

    if not isinstance(expression, sympy.Expr):
        return str(expression)
    simple = sympy.simplify(expression)
    if simple.is_Float:
        simple = sympy.nsimplify(simple, rational=True)
    if simple.is_Rational:
        if max(int(simple.p).bit_length(), int(simple.q).bit_length()) > MAX_BITS:
            raise OverflowError
        return f"{simple.p}/{simple.q}"
    if simple.is_number and simple.is_real:
        return str(sympy.N(simple, 15))
    return str(simple)


if __name__ == "__main__":
    _main()
