"""A world as a benchmark: `world/vision`, `world/audio`, `world/video`. Held-out scenes as real wav, png and mp4 files, every step verified.

`strict` judges the answer. `transcription` judges what was written down on the way to it: right means exactly the gold steps, in any order, each of
them true; the answer is not looked at. It is what the family `perceive` is judged by, whose answer is trivial.
"""

from collections.abc import Sequence
from typing import Any

from data import protocol
from data.record import Record
from data.verdict import Verdict
from eval.benchmarks.base import Benchmark, Extraction, Graded, Wanted

MODALITIES = {"vision": "image", "audio": "audio", "video": "video"}


class WorldBenchmark(Benchmark):
    """Options: `families` (default: all but `perceive`), `split` (default `test`; `dev` for settling settings, never for a score)."""

    name = "world"
    protocols = ("strict", "transcription")
    axes = ("family", "level", "true_count")
    extractor = "tags/1"
    wants = "world"

    def configure(self, families: list[str] | None = None, split: str = "test", **unknown: Any) -> None:
        super().configure(**unknown)
        if split not in ("dev", "test"):
            raise ValueError(f"benchmark world/{self.variant}: split {split!r} is not dev or test")
        self.families, self.split = families, split
        self.modality = MODALITIES.get(self.variant, self.variant)

    def load(self, wanted: Wanted) -> list[Record]:
        """Renders the items below `wanted.media_dir`, or reads those that are there."""
        from data.render import render

        level = wanted.level if wanted.level is not None else self.source.levels[0]
        if level not in self.source.levels:
            raise ValueError(f"benchmark world/{self.variant}: level {level} is not one of {self.source.levels[0]}-{self.source.levels[-1]}")
        if wanted.n is None or wanted.media_dir is None:
            raise ValueError(f"benchmark world/{self.variant}: a world has no end and no files of its own: n and a folder for its media are needed")
        return render(self.variant, level, wanted.n, wanted.seed, self.split, wanted.media_dir, self.families)

    def judge(self, record: Record, completion: str, protocol_name: str) -> Graded:
        verdict = self.source.verify(record, completion)
        parsed = protocol.parse(completion)
        if protocol_name == "transcription":
            return transcription(record, parsed.steps, verdict)
        return Graded(verdict.answer_ok, verdict.partial, verdict.reason, parsed.answer, verdict)

    def grade(self, record: Record, extraction: Extraction, protocol_name: str) -> Graded:
        return self.judge(record, self.wrap(record, extraction.answer or "", protocol_name), protocol_name)

    def wrap(self, record: Record, answer: str, protocol_name: str) -> str:
        """Under `transcription` what is answered are the steps, one a line."""
        if protocol_name != "transcription":
            return super().wrap(record, answer, protocol_name)
        thought = protocol.STEP_DELIMITER.join(protocol.one_line(line) for line in answer.splitlines())
        return f"{protocol.THINK}{thought}{protocol.END_THINK}{protocol.ANSWER}{protocol.NO_OPTION}{protocol.END_ANSWER}"

    def gold(self, record: Record, protocol_name: str) -> Sequence[str]:
        return [step.text for step in record.steps or []] if protocol_name == "transcription" else super().gold(record, protocol_name)

    def worded(self, record: Record, answer: Sequence[str], protocol_name: str) -> str:
        return protocol.STEP_DELIMITER.join(answer) if protocol_name == "transcription" else super().worded(record, answer, protocol_name)


def transcription(record: Record, steps: Sequence[str], verdict: Verdict) -> Graded:
    """Steps against the gold steps. A step is named by what stands before its colon; of several with one name the first counts for `partial`, the
    share of gold steps stated right, and none of them can make up for another. Reasons: `ok`, `no_steps`, `wrong` (a false or unreadable step),
    `missing`, `extra`."""
    named: dict[str, str] = {}
    for step, judged in zip(steps, verdict.steps, strict=True):
        named.setdefault(step_key(step), judged)
    wanted = [step_key(step.text) for step in record.steps or []]
    right = sum(named.get(key) == "ok" for key in wanted)
    if not steps:
        reason = "no_steps"
    elif any(judged != "ok" for judged in verdict.steps):
        reason = "wrong"
    elif right < len(wanted):
        reason = "missing"
    else:
        reason = "ok" if len(steps) == len(wanted) else "extra"
    return Graded(reason == "ok" and bool(wanted), right / len(wanted) if wanted else 0.0, reason, "\n".join(steps) or None, verdict)


def step_key(text: str) -> str:
    return text.partition(":")[0].strip()
