"""MathVista's two published prompt layouts, byte for byte. They are not interchangeable: a score belongs to one of them.

`lmm` is the `query` of the data set (data/query.json): hint, question, choices. `few_shot` is the layout for text models with captions and
recognised text (evaluation/build_query.py): worked examples, question, choices, image description, image text, hint, cue.
"""

from collections.abc import Sequence
from typing import Any

HINTS = {
    "choice": "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.",
    "integer": "Hint: Please answer the question requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end.",
    "float1": "Hint: Please answer the question requiring a floating-point number with one decimal place and provide the final value, "
    "e.g., 1.2, 1.3, 1.4, at the end.",
    "float2": "Hint: Please answer the question requiring a floating-point number with two decimal places and provide the final value, "
    "e.g., 1.23, 1.34, 1.45, at the end.",
    "list": "Hint: Please answer the question requiring a Python list as an answer and provide the final list, "
    "e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end.",
    "code": "Hint: Please generate a python code to solve the problem",
}
CUES = {"solution": "Solution: ", "code": "Python code: "}


def hint(problem: dict[str, Any]) -> str:
    """The hint line for a problem's question type, answer type and precision; none for free text, which MathVista itself never asks for."""
    if problem["question_type"] == "multi_choice":
        return HINTS["choice"]
    kind = problem["answer_type"]
    if kind == "text":
        return ""
    key = f"float{int(problem['precision'])}" if kind == "float" and problem.get("precision") in (1, 2) else kind
    if key not in HINTS:
        raise ValueError(f"MathVista problem {problem.get('pid')!r}: no hint for answer_type {kind!r} with precision {problem.get('precision')!r}")
    return HINTS[key]


def _question(problem: dict[str, Any]) -> str:
    unit = f" (Unit: {problem['unit']})" if problem.get("unit") else ""
    return f"Question: {problem['question']}{unit}"


def _choices(problem: dict[str, Any]) -> str:
    choices = problem.get("choices")
    return "\n".join(["Choices:", *(f"({chr(ord('A') + i)}) {choice}" for i, choice in enumerate(choices))]) if choices else ""


def lmm_query(problem: dict[str, Any]) -> str:
    """The query that goes with the image: hint, question with its unit, choices."""
    return "\n".join(filter(None, (hint(problem), _question(problem), _choices(problem)))).strip()


def few_shot_query(problem: dict[str, Any], examples: Sequence[str] = (), caption: str = "", image_text: str = "", kind: str = "solution") -> str:
    """The query for a text-only model. `examples` are worked examples, already laid out; `kind` is one of `CUES`."""
    parts = (
        _question(problem),
        _choices(problem),
        f"Image description: {caption}" if caption else "",
        f"Image detected text: {image_text}" if image_text else "",
        hint(problem) if kind == "solution" else HINTS["code"],
        CUES[kind],
    )
    return "\n\n".join([*examples, "\n".join(filter(None, parts))]).strip()
