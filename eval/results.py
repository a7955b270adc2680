"""`results.json`: what a run measured, how, against what, and how sure it is. One versioned schema; keys are added, never renamed.

A file is validated before it is written and after it is read, and appears whole or not at all.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eval.metrics import accuracy
from eval.provenance import commit, device

SCHEMA = 1
ROW_KEYS = (
    "stage", "benchmark", "modality", "level", "strategy", "scorer", "samples", "temperature", "seed", "protocol", "n", "score", "ci95", "controls",
    "effective_ratio", "tokens", "prompt_sha256", "extractor", "per_item",
)  # fmt: skip


class Tokens(BaseModel):
    """Tokens, mean per item: generated along the longest chain, generated over all samples, read or written by a scorer."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    sequential: float
    total: float
    scorer_total: float = 0.0


class Evaluation(BaseModel):
    """One row: a benchmark at a level, after a stage, under a strategy and a protocol. Scores are fractions."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    stage: str
    benchmark: str
    modality: str
    level: int | None
    strategy: str
    scorer: str | None
    samples: int = Field(ge=1)
    temperature: float = Field(ge=0)
    seed: int
    protocol: str
    n: int = Field(ge=0)
    score: float = Field(ge=0, le=1)
    ci95: tuple[float, float]
    controls: dict[str, float]
    effective_ratio: float | None
    tokens: Tokens
    prompt_sha256: str
    extractor: str
    per_item: str

    @model_validator(mode="after")
    def sound(self) -> "Evaluation":
        low, high = self.ci95
        if not 0 <= low <= high <= 1:
            raise ValueError(f"ci95 {self.ci95} is no interval inside [0, 1]")
        if bad := [k for k, v in self.controls.items() if not 0 <= v <= 1]:
            raise ValueError(f"control {bad[0]!r} is not a fraction")
        return self


class Results(BaseModel):
    """The whole file. `wall_s`: seconds of disjoint phases."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    schema_: Literal[1] = Field(alias="schema")
    recipe: str
    commit: str
    device: str
    wall_s: dict[str, float]
    evaluations: list[Evaluation]


def check_row(row: dict[str, Any]) -> dict[str, Any]:
    """The row itself, if it keeps the schema; otherwise `ValueError` naming the key."""
    try:
        Evaluation.model_validate(row)
    except ValidationError as error:
        raise ValueError(f"results row {row.get('benchmark')!r} after {row.get('stage')!r}: {_first(error)}") from None
    return row


def check_results(tree: dict[str, Any], where: str = "results.json") -> dict[str, Any]:
    """The tree itself, if it keeps the schema; otherwise `ValueError` naming the file and the key."""
    if tree.get("schema") != SCHEMA:
        raise ValueError(f"{where}: schema {tree.get('schema')!r} is not {SCHEMA}, the one that this version reads")
    try:
        Results.model_validate(tree)
    except ValidationError as error:
        raise ValueError(f"{where}: {_first(error)}") from None
    return tree


def write_results(run_dir: Path, recipe: dict[str, Any], rows: list[dict[str, Any]], seconds: dict[str, float]) -> Path:
    """Write `run_dir/results.json` from the resolved recipe, the rows of its evaluations and the seconds of its phases."""
    text = json.dumps(recipe, sort_keys=True, ensure_ascii=False)
    tree = {
        "schema": SCHEMA, "recipe": recipe.get("name", "?"), "recipe_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "commit": commit(), "device": device(), "wall_s": dict(seconds), "evaluations": merge_rows([], rows),
    }  # fmt: skip
    return write_tree(run_dir, tree)


def write_tree(run_dir: Path, tree: dict[str, Any]) -> Path:
    """Write a whole results tree (one that was read, with rows merged in)."""
    return write_atomic(Path(run_dir) / "results.json", json.dumps(check_results(tree), indent=1, ensure_ascii=False) + "\n")


def read_results(run_dir: str | Path) -> dict[str, Any]:
    """The validated results of a run directory (or of a results file), or a `ValueError` that says what is wrong."""
    path = Path(run_dir)
    path = path / "results.json" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"no results at {path}: has the run been evaluated?")
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: not a JSON object")
    return check_results(tree, str(path))


def row_key(row: dict[str, Any]) -> tuple:
    """What makes a row the same measurement: a second one with this key takes the first one's place."""
    return tuple(row.get(k) for k in ("stage", "benchmark", "level", "strategy", "scorer", "samples", "temperature", "seed", "protocol", "per_item"))


def measure(row: dict[str, Any]) -> tuple[str, int | None, str]:
    """What was measured, whoever was measured: (benchmark with its file's name and its families, level, protocol)."""
    told = [row["benchmark"], row.get("data"), *(row.get("families") or [])]
    return " ".join(filter(None, told)), row["level"], row["protocol"]


def measure_order(key: tuple[str, int | None, str]) -> tuple:
    """Sort key of measures: by name, rows without a level first."""
    return key[0], key[1] is not None, key[1] or 0, key[2]


def mean_effective_ratio(run_dir: Path, stage: str | None = None) -> float | None:
    """The share of groups with something to tell, in [0, 1], meaned over the steps of a stage (None: of all) of a run; None where no step logged
    one, as in stages that draw no groups."""
    path = Path(run_dir) / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]  # a training in progress may be writing the last one
    ratios = [r["effective_ratio"] for r in rows if stage in (None, r.get("stage")) and r.get("effective_ratio") is not None]
    return round(accuracy(ratios), 4) if ratios else None


def merge_rows(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Old rows with the new ones put in their places, or behind them."""
    merged = {row_key(row): row for row in old}
    merged.update({row_key(row): check_row(row) for row in new})
    return list(merged.values())


def write_atomic(path: Path, text: str) -> Path:
    """Write a text file through a synced temporary one beside it: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{path.name}")
    with open(temporary, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, path)
    return path


def _first(error: ValidationError) -> str:
    item = error.errors()[0]
    return f"{'.'.join(str(p) for p in item['loc']) or 'row'}: {item['msg'].removeprefix('Value error, ')}"
