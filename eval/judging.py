"""From the passes of an evaluation to what is said of it: which passes are made, their scores, the controls, MMStar's gain and leakage."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data.record import Record
from eval.answering import Answerer
from eval.benchmarks.base import Benchmark, Graded
from eval.controls import (
    FREE_CONTROLS,
    Control,
    answer_control,
    blank,
    chance,
    donors,
    option_consistency,
    shuffle_options,
    wrapper_sensitivity,
)
from eval.item_log import ItemLog
from eval.metrics import accuracy, interval, paired_bootstrap
from eval.passes import BAD_MEDIA, MediaStore, Pass, graded_of
from eval.provenance import model_fingerprint


def plan_passes(
    records: Sequence[Record], controls: Sequence[Control], store: MediaStore, stem: Path, key: str, seed: int, text_only: Answerer | None = None
) -> list[Pass]:
    """The sighted pass first, then one per control that goes through the model (one per shuffle), then the language model's, if one is given, over
    the questions without their media. `stem`: where their rows go, without the ending."""
    same: Callable[[Record], Record] = lambda r: r  # noqa: E731

    def log(name: str, own_key: str = key) -> ItemLog:
        return ItemLog(stem.with_name(f"{stem.name}{name}.jsonl"), own_key)

    passes = [Pass("sighted", log(""), same, store.get)]
    by_id = {r.id: r for r in records}
    for control in controls:
        if control.name == "blank_media":
            passes.append(Pass("blank_media", log(".blank_media"), same, lambda r: [blank(m) for m in store.get(r)]))
        elif control.name == "shuffled_media":
            for k in range(int(control.argument or 1)):
                lent = donors(records, seed + 7919 * k)
                take = lambda r, lent=lent: store.get(by_id[lent[r.id]]) if r.id in lent else None  # noqa: E731
                passes.append(Pass(f"shuffled_media:{k}", log(f".shuffled_media-{k}"), same, take))
        elif control.name == "shuffled_options" and any(len(r.options or []) > 1 for r in records):
            passes.append(Pass("shuffled_options", log(".shuffled_options"), lambda r: shuffle_options(r, seed), store.get))
    if text_only is not None:
        told = json.dumps([key, text_only.settings, model_fingerprint(getattr(text_only, "policy", text_only))])
        own = log(".text_only", hashlib.sha256(told.encode()).hexdigest())
        passes.append(Pass("text_only", own, lambda r: dataclasses.replace(r, media=[]), lambda r: [], text_only))
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
    """name -> details, `score` among them where the control applies. rows: by name of the pass. Whatever was asked for, those that need no model,
    `answer_wrapper` and, with a blank pass, `ablation` stand beside them."""
    held: dict[str, dict[str, Any]] = {}
    for control in controls:
        name = f"{control.name}_{control.argument}" if control.argument and not control.through_model else control.name
        if control.through_model:
            found = media_control(bench, records, control, rows, protocol, seed)
        else:
            found = answer_control(bench, records, control, protocol)
        held[name] = found or {"n": 0, "note": "applies to no item: none has options"}
    for name in FREE_CONTROLS:
        if name not in held and (found := answer_control(bench, records, Control(name), protocol)):
            held[name] = found
    held["answer_wrapper"] = wrapper_sensitivity(bench, records, protocol)
    if "blank_media" in rows:
        held["ablation"] = ablation(rows["sighted"], rows["blank_media"], rows.get("text_only"), chance(bench, records, protocol))
    return held


def media_control(
    bench: Benchmark, records: Sequence[Record], control: Control, rows: dict[str, list[dict[str, Any]]], protocol: str, seed: int
) -> dict[str, Any] | None:
    """Score over the passes of a control, their mean where there are several; None where no pass was made because it applies to no item."""
    turns = [name for name in rows if name.split(":")[0] == control.name]
    if not turns:
        return None
    scored = [score_rows(bench, records, rows[name], protocol) for name in turns]
    scores = [s["score"] for s in scored]
    found = {"n": scored[0]["n"], "score": accuracy(scores), "ci95": scored[0]["ci95"], "repeats": scores}
    if control.name == "shuffled_options":
        trios = zip(records, rows["sighted"], rows[turns[0]], strict=True)
        pairs = [(r, a["extracted"], shuffle_options(r, seed), b["extracted"]) for r, a, b in trios]
        found["consistency"] = option_consistency(pairs)["consistency"]
    return found


def ablation(
    sighted: Sequence[dict[str, Any]], blanked: Sequence[dict[str, Any]], text_only: Sequence[dict[str, Any]] | None, guess: Sequence[float]
) -> dict[str, Any]:
    """MMStar's two measures (arXiv 2403.20330) over items in one order, with paired 95 % intervals. `gain`: with media minus without. `leakage`:
    what is right without media beyond a language model that never saw any, or, without one, beyond chance (`guess`, per item); at least 0, and
    `leaks` says whether its interval lies above 0. MMStar leaves the media out; here they are blank, so that the prompt stays the same."""
    kept = [i for i, (a, b) in enumerate(zip(sighted, blanked, strict=True)) if a["counted"] and b["counted"]]
    groups = [sighted[i]["group"] for i in kept]
    without = [float(blanked[i]["correct"]) for i in kept]
    gain = paired_bootstrap(without, [float(sighted[i]["correct"]) for i in kept], groups)
    floor = [float(text_only[i]["correct"]) if text_only is not None else guess[i] for i in kept]
    leak = paired_bootstrap(floor, without, groups)
    return {
        "n": len(kept), "gain": gain[0], "gain_ci95": list(gain[1:]), "leakage": max(0.0, leak[0]), "leakage_ci95": list(leak[1:]),
        "leaks": leak[1] > 0, "against": "chance" if text_only is None else "text_only", "floor": accuracy(floor),
    }  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 6) if values else 0.0
