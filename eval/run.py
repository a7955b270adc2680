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
from eval.benchmarks.base import Benchmark, Graded, Wanted, gold_sha256
from eval.controls import (
    Control,
    answer_control,
    blank,
    donors,
    option_consistency,
    parse_control,
    shuffle_options,
    wrapper_sensitivity,
)  # fmt: skip
from eval.item_log import ItemLog
from eval.metrics import accuracy, interval
from eval.passes import BAD_MEDIA, MediaStore, Pass, graded_of, run_passes
from eval.provenance import commit, model_fingerprint, prompt_sha256
from eval.results import check_row

ITEMS = "items"  # folder of a run that holds the records (and rendered media) of its benchmarks


def evaluate(
    model: Any,
    processor: Any,
    benchmark: str | Benchmark,
    *,
    stage: str,
    level: int | None = None,
    n: int | None = 300,
    seed: int = 0,
    protocol: str | None = None,
    strategy: str | dict[str, Any] = "greedy",
    max_new_tokens: int = 200,
    batch_size: int = 64,
    controls: Sequence[str] = (),
    out_dir: Path,
    root: Path | None = None,
    instruction: str = "",
    media: dict[str, Any] | None = None,
    answerer: Answerer | None = None,
    on_bad: Callable[[Record, str], None] = lambda record, reason: None,
) -> dict[str, Any]:
    """One row of results. `out_dir` takes the per-item files; paths in the row are relative to `root` (default: `out_dir`), which also takes the
    items. `media`: decoding budgets (default: the processor's). Killed and called again it asks only what is missing and returns the same row,
    `wall_s` apart. An `answerer` stands in for `model`, `processor` and `strategy`."""
    start = time.perf_counter()
    root = Path(root or out_dir)
    bench = open_benchmark(benchmark) if isinstance(benchmark, str) else benchmark
    protocol = bench.check_protocol(protocol)
    wanted_controls = [parse_control(text) for text in controls]
    name = full_name(bench)
    line = {"name": strategy} if isinstance(strategy, str) else strategy
    answerer = answerer or build_answerer(
        line, model, processor, max_new_tokens=max_new_tokens, seed=seed, run_dir=root, fingerprint=model_fingerprint(model),
        samples=(Path(out_dir) / "samples", re.sub(r"[^\w.-]+", "-", f"{name}-{level}")),
    )  # fmt: skip
    budget = dict(media if media is not None else getattr(processor, "media", None) or {})
    records = load_items(bench, root, level, n, seed)
    stem = per_item_stem(bench, level, seed, answerer.settings, protocol)
    prompts = prompt_sha256(answerer.chat(bench.prompt(r, protocol, instruction)) for r in records)
    facts = {
        "protocol": protocol, "extractor": bench.extractor, "prompt_sha256": prompts, "gold_sha256": gold_sha256(records),
        "decoding": answerer.settings, "media_budget": budget,
    }  # fmt: skip
    key = hashlib.sha256(json.dumps([facts, model_fingerprint(model), batch_size, seed, name, level], sort_keys=True).encode()).hexdigest()
    passes = plan_passes(records, wanted_controls, MediaStore(budget), Path(out_dir), stem, key, seed)
    run_passes(bench, protocol, records, passes, answerer, batch_size, instruction, on_bad)
    rows = {p.name: p.log.finish([r.id for r in records]) for p in passes}
    held = judge_controls(bench, records, wanted_controls, rows, protocol, seed)
    row = {
        "stage": stage, "benchmark": name, "modality": bench.modality, "level": level,
        **{k: answerer.settings[k] for k in ("strategy", "scorer", "samples", "temperature")}, "seed": seed,
        "families": bench.options.get("families"),
        **score_rows(bench, records, rows["sighted"], protocol),
        "controls": {k: v["score"] for k, v in held.items() if "score" in v}, "control_details": held, "effective_ratio": None, **facts,
        "per_item": relative(passes[0].log.path, root), "items": relative(items_dir(root, bench, level, n, seed) / "records.jsonl", root),
        "commit": commit(), "wall_s": round(time.perf_counter() - start, 2),
    }  # fmt: skip
    return check_row(row)


def run_evaluations(model: Any, processor: Any, recipe: Any, wanted: Sequence[Any], stage: str, run_dir: Path) -> list[dict[str, Any]]:
    """The rows of the recipe's evaluation lines `wanted` for the model as it is after `stage`; bad media go into the run's quarantine ledger."""
    from data.media import Quarantine

    run_dir = Path(run_dir)
    quarantine = Quarantine(run_dir / "quarantine.jsonl", recipe.data.quarantine_limit)
    rows = []
    for line in wanted:
        path = find_path(line.path, recipe.data.root)
        bench = open_benchmark(line.benchmark, path, line.families, line.options)
        for strategy in line.strategies:
            rows.append(
                evaluate(
                    model, processor, bench, stage=stage, level=line.level, n=line.n, seed=line.seed, protocol=line.protocol, strategy=strategy,
                    max_new_tokens=line.max_new_tokens, batch_size=line.batch_size, controls=line.controls, root=run_dir,
                    out_dir=stage_folder(recipe, stage, run_dir) / "eval", instruction=recipe.protocol.instruction,
                    media=recipe.data.media.model_dump(), on_bad=lambda r, why: quarantine.add(r.id, r.media[0].path if r.media else "", why, ""),
                )
            )  # fmt: skip
            print(describe(rows[-1]), flush=True)
    return rows


def describe(row: dict[str, Any]) -> str:
    """One line for a terminal: `sft  world/audio L3  71.0 % [66.3, 75.2]  n 400  blank_media 27.0 …`."""
    controls = "  ".join(f"{k} {100 * v:.1f}" for k, v in row["controls"].items())
    low, high = row["ci95"]
    level = "" if row["level"] is None else f" L{row['level']}"
    search = "" if row["strategy"] == "greedy" else f" {row['strategy']}"
    score = f"{100 * row['score']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{row['stage']}  {row['benchmark']}{level}{search}  {score}  n {row['n']}  {controls}"


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
    """`world-audio-3`, with whatever is not the default behind it: `world-audio-3-best_of_n-prm-8`, `world-video-2-perceive-transcription-s1000`.
    Measurements that differ in anything never share a file."""
    searched = settings["strategy"] != "greedy"
    parts = [full_name(bench), level, *(bench.options.get("families") or [])]
    parts += [settings["strategy"], settings["scorer"], settings["samples"]] if searched else []
    parts += [f"t{settings['temperature']}"] if settings["temperature"] != float(searched) else []
    parts += [protocol] if protocol != bench.protocols[0] else []
    parts += [f"s{seed}"] if seed else []
    others = {k: v for k, v in bench.options.items() if k != "families"} | ({"path": bench.path} if bench.wants == "reader" else {})
    parts += [short_hash(others)] if others else []
    return re.sub(r"[^\w.-]+", "-", "-".join(str(p) for p in parts if p is not None))


def short_hash(told: Any) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:6]


def items_dir(root: Path, bench: Benchmark, level: int | None, n: int | None, seed: int) -> Path:
    """The same at every stage and strategy, so that every comparison is paired."""
    told = [bench.options, str(bench.path or "")]
    mark = "" if told == [{}, ""] else "-" + short_hash(told)
    parts = [full_name(bench), level, f"n{n}" if n is not None else "all", f"s{seed}"]
    return root / ITEMS / (re.sub(r"[^\w.-]+", "-", "-".join(str(p) for p in parts if p is not None)) + mark)


def load_items(bench: Benchmark, root: Path, level: int | None, n: int | None, seed: int) -> list[Record]:
    """The benchmark's records, kept beside the results too, because reports read them. Duplicate ids are a `ValueError`."""
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
    return records


def kept_records(path: Path) -> dict[str, Record]:
    """id -> record of a run's item file; media that were rendered beside it are found wherever the run has been moved to."""
    here = Path(path).parent
    found = (dataclasses.replace(r, media=[dataclasses.replace(m, path=str(here / m.path)) for m in r.media]) for r in read_jsonl(path))
    return {r.id: r for r in found}


def plan_passes(
    records: Sequence[Record], controls: Sequence[Control], store: MediaStore, out_dir: Path, stem: str, key: str, seed: int
) -> list[Pass]:
    """The sighted pass first, then one per control that goes through the model (one per shuffle)."""
    same: Callable[[Record], Record] = lambda r: r  # noqa: E731
    passes = [Pass("sighted", ItemLog(out_dir / f"{stem}.jsonl", key), same, store.get)]
    by_id = {r.id: r for r in records}
    for control in controls:
        if control.name == "blank_media":
            passes.append(Pass("blank_media", ItemLog(out_dir / f"{stem}.blank_media.jsonl", key), same, lambda r: [blank(m) for m in store.get(r)]))
        elif control.name == "shuffled_media":
            for k in range(int(control.argument or 1)):
                lent = donors(records, seed + 7919 * k)
                take = lambda r, lent=lent: store.get(by_id[lent[r.id]]) if r.id in lent else None  # noqa: E731
                passes.append(Pass(f"shuffled_media:{k}", ItemLog(out_dir / f"{stem}.shuffled_media-{k}.jsonl", key), same, take))
        elif control.name == "shuffled_options":
            log = ItemLog(out_dir / f"{stem}.shuffled_options.jsonl", key)
            passes.append(Pass("shuffled_options", log, lambda r: shuffle_options(r, seed), store.get))
    return passes


def score_rows(bench: Benchmark, records: Sequence[Record], rows: Sequence[dict[str, Any]], protocol: str) -> dict[str, Any]:
    """n, score, interval, breakdown, reasons and token counts of one pass."""
    graded: list[Graded] = [graded_of(row) for row in rows]
    summary = bench.summarise(records, graded, protocol)
    counted = [row for row in rows if row["counted"]]
    low, high = interval([float(r["correct"]) for r in counted], [r["group"] for r in counted])
    reasons: dict[str, int] = {}
    for row in rows:
        reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    stepped = [r["process_accuracy"] for r in counted if r["steps"]]
    return {
        "n": summary.n, "score": summary.score, "ci95": [round(min(low, summary.score), 6), round(max(high, summary.score), 6)],
        "correct": summary.correct, "partial": _mean([r["partial"] for r in counted]), "breakdown": summary.breakdown,
        "reasons": dict(sorted(reasons.items())), "bad_media": reasons.get(BAD_MEDIA, 0), "process_accuracy": _mean(stepped) if stepped else None,
        "tokens": {k: round(_mean([r["tokens"][k] for r in rows]), 3) for k in ("sequential", "total", "scorer_total")},
        "unfinished": sum(not r["finished"] for r in rows),
    }  # fmt: skip


def judge_controls(
    bench: Benchmark, records: Sequence[Record], controls: Sequence[Control], rows: dict[str, list[dict[str, Any]]], protocol: str, seed: int
) -> dict[str, dict[str, Any]]:
    """name -> details, `score` among them where the control applies; `answer_wrapper` always stands beside them. rows: by name of the pass."""
    held: dict[str, dict[str, Any]] = {}
    for control in controls:
        if not control.through_model:
            name = f"{control.name}_{control.argument}" if control.argument else control.name
            held[name] = answer_control(bench, records, control, protocol) or {"n": 0, "note": "applies to no item: none has options"}
            continue
        turns = [name for name in rows if name.split(":")[0] == control.name]
        scored = [score_rows(bench, records, rows[name], protocol) for name in turns]
        scores = [s["score"] for s in scored]
        held[control.name] = {"n": scored[0]["n"], "score": accuracy(scores), "ci95": scored[0]["ci95"], "repeats": scores}
        if control.name == "shuffled_options":
            trios = zip(records, rows["sighted"], rows[turns[0]], strict=True)
            pairs = [(r, a["extracted"], shuffle_options(r, seed), b["extracted"]) for r, a, b in trios]
            held[control.name]["consistency"] = option_consistency(pairs)["consistency"]
    held["answer_wrapper"] = wrapper_sensitivity(bench, records, protocol)
    return held


def relative(path: Path, root: Path) -> str:
    return Path(path).resolve().relative_to(Path(root).resolve()).as_posix()


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 6) if values else 0.0
