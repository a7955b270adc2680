"""NExT-GQA (arXiv 2309.01327), the question-answering part, in the layout that TW-GRPO evaluates. docs/benchmarks/nextgqa.md."""

from typing import Any

from eval.benchmarks.mmvu import VideoR1Benchmark


class NExTGQA(VideoR1Benchmark):
    """Options "(A) text", answer "(C)"; `type` is one of CW, CH, TN, TC, TP (why, how; next, present, past). Grounding spans stay in the file."""

    name = "nextgqa"
    axes = ("type",)
    gold_files = ("nextgqa/nextgqa_val.json", "nextgqa/eval_nextgqa.json")

    def meta(self, row: dict[str, Any], path: str) -> dict[str, Any]:
        return {"type": row.get("type"), "grounding_s": row.get("glue"), "duration_s": row.get("duration")}
