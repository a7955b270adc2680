"""Evaluate: a model, a benchmark, a protocol in; one row of `results.json` and one JSON line per item out.

`evaluate` is the whole of it; `run_evaluations` does the lines of a recipe, `open_benchmark` and `load_reasoner` find things by name.
"""

import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from configs import registry
from data.record import Record, read_jsonl, write_jsonl
from eval.answering import Answerer, build_answerer
from eval.benchmarks.base import Benchmark, Wanted
from eval.controls import parse_control
from eval.judging import judge_controls, plan_passes, score_rows
from eval.passes import MediaStore, run_passes
from eval.provenance import commit, gold_sha256, model_fingerprint, prompt_sha256
from eval.results import check_row, mean_effective_ratio
from reasoning.build import build_strategy
from reasoning.names import search_name
from reasoning.scorers.base import Scored

ITEMS = "items"  # folder of a run that holds the records (and rendered media) of its benchmarks


def evaluate(
    model: Any, processor: Any, benchmark: str | Benchmark, *, stage: str, level: int | None = None, n: int | None = 300, seed: int = 0,
    protocol: str | None = None, strategy: str | dict[str, Any] = "greedy", max_new_tokens: int = 200, batch_size: int = 64,
    controls: Sequence[str] = (), out_dir: Path, root: Path | None = None, instruction: str = "", media: dict[str, Any] | None = None,
    answerer: Answerer | None = None, text_only: Answerer | None = None, store: MediaStore | None = None, memory: dict[Any, Scored] | None = None,
    on_bad: Callable[[Record, str], None] = lambda record, reason: None,
) -> dict[str, Any]:  # fmt: skip
    """One row of results. `out_dir` takes the per-item files; paths in the row are relative to `root` (default: `out_dir`), which also takes the
    items. `media`: decoding budgets (default: the processor's). Killed and called again it asks only what is missing and returns the same row,
    `wall_s` apart. An `answerer` stands in for `model`, `processor` and `strategy`; `text_only` is the language model against which leakage is
    measured. A `store` of media that are decoded already, and a `memory` of scores, may be shared by several strategies over the same items."""
    start = time.perf_counter()
    root = Path(root or out_dir)
    bench = open_benchmark(benchmark) if isinstance(benchmark, str) else benchmark
    protocol = bench.check_protocol(protocol)
    wanted_controls = [parse_control(text) for text in controls]
    name = full_name(bench)
    answerer = answerer or build_answerer(
        {"name": strategy} if isinstance(strategy, str) else strategy, model, processor, max_new_tokens=max_new_tokens, seed=seed,
        run_dir=root, fingerprint=model_fingerprint(model), memory=memory,
        samples=(Path(out_dir) / "samples", re.sub(r"[^\w.-]+", "-", f"{name}-{level}")),
    )  # fmt: skip
    budget = dict(media if media is not None else getattr(processor, "media", None) or {})
    records = load_items(bench, root, level, n, seed, protocol)
    stem = per_item_stem(bench, level, seed, answerer.settings, protocol)
    prompts = prompt_sha256(answerer.chat(bench.prompt(r, protocol, instruction)) for r in records)
    facts = {
        "protocol": protocol, "extractor": bench.extractor, "prompt_sha256": prompts, "gold_sha256": gold_sha256(records), "data": file_name(bench),
        "decoding": answerer.settings, "media_budget": budget, "families": bench.options.get("families"), "options": own_options(bench),
    }  # fmt: skip
    key = hashlib.sha256(json.dumps([facts, model_fingerprint(model), batch_size, seed, name, level], sort_keys=True).encode()).hexdigest()
    passes = plan_passes(records, wanted_controls, store or MediaStore(budget), Path(out_dir) / stem, key, seed, text_only)
    run_passes(bench, protocol, records, passes, answerer, batch_size, instruction, on_bad)
    rows = {p.name: p.log.finish([r.id for r in records]) for p in passes}
    held = judge_controls(bench, records, wanted_controls, rows, protocol, seed)
    return check_row({
        "stage": stage, "benchmark": name, "modality": bench.modality, "level": level,
        **{k: answerer.settings[k] for k in ("strategy", "scorer", "samples", "temperature")}, "seed": seed,
        **score_rows(bench, records, rows["sighted"], protocol),
        "controls": {k: v["score"] for k, v in held.items() if "score" in v}, "control_details": held,
        "effective_ratio": mean_effective_ratio(root, stage), **facts, "per_item": relative(passes[0].log.path, root),
        "items": relative(items_dir(root, bench, level, n, seed) / "records.jsonl", root),
        "commit": commit(), "wall_s": round(time.perf_counter() - start, 2),
    })  # fmt: skip


def check_evaluations(recipe: Any) -> None:
    """What can be wrong with evaluation lines before there is a model is a `ValueError` that names the line; `check_request` says what that is. A
    study's lines for choosing are looked at too."""
    lines = {f"evaluate.{i}": line for i, line in enumerate(recipe.evaluate)}
    if recipe.study is not None and recipe.study.sweep is not None:
        lines["study.sweep.select"] = recipe.study.sweep.select
    for where, line in lines.items():
        try:
            bench = open_benchmark(line.benchmark, find_path(line.path, recipe.data.root), line.families, line.options)
            check_request(bench, line.level, line.protocol, line.controls, line.strategies)
        except ValueError as error:
            raise ValueError(f"{where} ({line.benchmark}): {error}") from error


def check_request(bench: Benchmark, level: int | None, protocol: str | None, controls: Sequence[str], strategies: Sequence[dict[str, Any]]) -> None:
    """Refuse (`ValueError`) a level that a world does not have, a protocol, a control, a strategy, a scorer or an option of theirs that there is not,
    and a value out of range. Nothing is loaded: strategies and scorers are built as they will be, and scorers read weights only when they score."""
    if bench.wants == "world" and level is not None and level not in bench.source.levels:
        raise ValueError(f"level {level} is not one of the levels {', '.join(map(str, bench.source.levels))} of {full_name(bench)!r}")
    bench.check_protocol(protocol)
    for control in controls:
        parse_control(control)
    for strategy in strategies:
        build_strategy(strategy)


def run_evaluations(model: Any, processor: Any, recipe: Any, wanted: Sequence[Any], stage: str, run_dir: Path) -> list[dict[str, Any]]:
    """The rows of the recipe's evaluation lines `wanted` for the model as it is after `stage`; bad media go into the run's quarantine ledger."""
    from data.media import Quarantine

    run_dir = Path(run_dir)
    quarantine = Quarantine(run_dir / "quarantine.jsonl", recipe.data.quarantine_limit)
    rows = []
    for line in wanted:
        path = find_path(line.path, recipe.data.root)
        bench = open_benchmark(line.benchmark, path, line.families, line.options)
        store = MediaStore(recipe.data.media.model_dump())
        memory: dict[Any, Scored] = {}
        for strategy in line.strategies:
            rows.append(
                evaluate(
                    model, processor, bench, stage=stage, level=line.level, n=line.n, seed=line.seed, protocol=line.protocol, strategy=strategy,
                    max_new_tokens=line.max_new_tokens, batch_size=line.batch_size, controls=line.controls, root=run_dir,
                    out_dir=stage_folder(recipe, stage, run_dir) / "eval", instruction=recipe.protocol.instruction, memory=memory,
                    media=store.settings, store=store, on_bad=lambda r, why: quarantine.add(r.id, r.media[0].path if r.media else "", why, ""),
                )
            )  # fmt: skip
            print(describe(rows[-1]), flush=True)
    return rows


def describe(row: dict[str, Any]) -> str:
    """One line for a terminal: `sft  world/audio L3  71.0 % [66.3, 75.2]  n 400  blank_media 27.0 …`."""
    controls = "  ".join(f"{k} {100 * v:.1f}" for k, v in row["controls"].items())
    low, high = row["ci95"]
    level = "" if row["level"] is None else f" L{row['level']}"
    search = "" if row["strategy"] == "greedy" else f" {search_name(row)}"
    score = f"{100 * row['score']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    held = row.get("control_details", {}).get("ablation")
    ablated = f"  gain {100 * held['gain']:+.1f}  leakage {100 * held['leakage']:.1f} over {held['against']}" if held else ""
    return f"{row['stage']}  {row['benchmark']}{level}{search}  {score}  n {row['n']}  {controls}{ablated}"


def open_benchmark(name: str, path: Path | None = None, families: list[str] | None = None, options: dict[str, Any] | None = None) -> Benchmark:
    """The benchmark of a registry name, with its variant behind a slash (`world/audio`); unknown names are errors that list the known ones."""
    head, _, variant = name.partition("/")
    kind = registry.BENCHMARKS.get(head)
    options = dict(options or {})
    source = None
    if kind.wants == "world":
        source = registry.WORLDS.get(variant)(families)
    elif kind.wants == "reader":
        source = registry.READERS.get(variant or "jsonl")
    if families is not None:
        options["families"] = families
    return kind(variant=variant, path=path, source=source, **options)


def full_name(bench: Benchmark) -> str:
    return f"{bench.name}/{bench.variant}" if bench.variant else bench.name


def file_name(bench: Benchmark) -> str | None:
    """What tells one's own questions from others of one's own."""
    return bench.path.stem if bench.wants == "reader" and bench.path else None


def find_path(path: str | None, root: str) -> Path | None:
    """A recipe's path: as it is where it exists, otherwise below the data root."""
    if path is None:
        return None
    given = Path(path)
    return given if given.is_absolute() or given.exists() else Path(root) / given


def stage_folder(recipe: Any, stage: str, run_dir: Path) -> Path:
    names = [s.name for s in recipe.stages]
    return run_dir / "stages" / (f"{names.index(stage)}-{stage}" if stage in names else stage)


def per_item_stem(bench: Benchmark, level: int | None, seed: int, settings: dict[str, Any], protocol: str) -> str:
    """`world-audio-3`, with whatever is not the default behind it: `world-audio-3-majority-8`, `world-video-2-perceive-transcription-s1000`; of a
    strategy's options and its scorer's weights, a hash. Measurements that differ in anything never share a file."""
    searched = settings["strategy"] != "greedy"
    parts = [full_name(bench), level, *(bench.options.get("families") or [])]
    parts += [settings["strategy"], settings["scorer"], settings["samples"]] if searched else []
    told = [settings[k] for k in ("options", "scorer_fingerprint") if k in settings]
    parts += [short_hash(told)] if told else []
    parts += [f"t{settings['temperature']}"] if settings["temperature"] != float(searched) else []
    parts += [protocol] if protocol != bench.protocols[0] else []
    parts += [f"s{seed}"] if seed else []
    others = own_options(bench) | ({"path": bench.path} if bench.wants == "reader" else {})
    parts += [short_hash(others)] if others else []
    return re.sub(r"[^\w.-]+", "-", "-".join(str(p) for p in parts if p is not None))


def own_options(bench: Benchmark) -> dict[str, Any]:
    """What a benchmark was told beside its families, which stand in a row of their own."""
    return {k: v for k, v in bench.options.items() if k != "families"}


def short_hash(told: Any) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:6]


def items_dir(root: Path, bench: Benchmark, level: int | None, n: int | None, seed: int) -> Path:
    """The same at every stage and strategy, so that every comparison is paired."""
    told = [bench.options, str(bench.path or "")]
    mark = "" if told == [{}, ""] else "-" + short_hash(told)
    parts = [full_name(bench), level, f"n{n}" if n is not None else "all", f"s{seed}"]
    return root / ITEMS / (re.sub(r"[^\w.-]+", "-", "-".join(str(p) for p in parts if p is not None)) + mark)


def load_items(bench: Benchmark, root: Path, level: int | None, n: int | None, seed: int, protocol: str) -> list[Record]:
    """The benchmark's records that the protocol asks, kept beside the results too, because reports read them. Duplicate ids are a `ValueError`."""
    folder = items_dir(root, bench, level, n, seed)
    records = bench.load(Wanted(n=n, seed=seed, level=level, media_dir=folder))
    if not records:
        raise ValueError(f"benchmark {full_name(bench)!r} has no items")
    if len({r.id for r in records}) < len(records):
        raise ValueError(f"benchmark {full_name(bench)!r}: two items have one id")
    if not (folder / "records.jsonl").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        whole = [dataclasses.replace(r, media=[dataclasses.replace(m, path=str(Path(m.path).resolve())) for m in r.media]) for r in records]
        write_jsonl(folder / "records.jsonl", whole)
    asked = [r for r in records if bench.asked(r, protocol)]
    if not asked:
        raise ValueError(f"benchmark {full_name(bench)!r}: protocol {protocol!r} asks none of these {len(records)} items")
    return asked


def kept_records(path: Path) -> dict[str, Record]:
    """id -> record of a run's item file; media that were rendered beside it are found wherever the run has been moved to."""
    here = Path(path).parent
    found = (dataclasses.replace(r, media=[dataclasses.replace(m, path=str(here / m.path)) for m in r.media]) for r in read_jsonl(path))
    return {r.id: r for r in found}


def relative(path: Path, root: Path) -> str:
    return Path(path).resolve().relative_to(Path(root).resolve()).as_posix()
