"""A way to score made-up submissions: `score(benchmark, gold, rows, protocol)` writes both to files and reads them back, as a user would."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.benchmarks.offline import OfflineBenchmark
from eval.score import Report, score_files


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def score(tmp_path: Path) -> Callable[..., Report]:
    def run(benchmark: OfflineBenchmark, gold: Any, rows: Any, protocol: str | None = None) -> Report:
        gold_path = gold if isinstance(gold, Path) else write(tmp_path / "gold.json", gold)
        return score_files(benchmark, write(tmp_path / "predictions.json", rows), gold_path, protocol)

    return run
