"""A world as a benchmark: `world/vision`, `world/audio`, `world/video`. Held-out scenes as real wav, png and mp4 files, every step verified."""

from typing import Any

from data import protocol
from data.record import Record
from eval.benchmarks.base import Benchmark, Extraction, Graded, Wanted

MODALITIES = {"vision": "image", "audio": "audio", "video": "video"}


class WorldBenchmark(Benchmark):
    """Options: `families` (default: all but `perceive`), `split` (default `test`; `dev` for settling settings, never for a score)."""

    name = "world"
    protocols = ("strict",)
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
        return Graded(verdict.answer_ok, verdict.partial, verdict.reason, protocol.parse(completion).answer, verdict)

    def grade(self, record: Record, extraction: Extraction, protocol_name: str) -> Graded:
        return self.judge(record, self.wrap(record, extraction.answer or "", protocol_name), protocol_name)
