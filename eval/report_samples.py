"""The items that a report shows: media, question, steps with their verdicts, the answer of every stage."""

import collections
from pathlib import Path
from typing import Any

from data import protocol
from data.record import Record, answer_text
from eval.controls import chosen_text
from eval.item_log import read_items
from eval.report_media import show
from eval.results import measure, measure_order
from eval.run import kept_records

PER_GROUP = {"audio": 9}  # items of a benchmark and level; sounds are the heaviest
PER_GROUP_DEFAULT = 12
OUTCOMES = ("wrong", "right", "unparsed")


def collect(run_dir: Path, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Cards by measure: items of the last greedy row, wrong, right and unparsed ones in turn, with what the other stages answered."""
    greedy = [row for row in rows if row["strategy"] == "greedy"]
    groups = []
    for key in sorted({measure(r) for r in greedy}, key=measure_order):
        measured = [r for r in greedy if measure(r) == key]
        measured = [r for r in measured if "items" in r and (run_dir / r["per_item"]).is_file() and (run_dir / r["items"]).is_file()]
        measured = [r for r in measured if r["items"] == measured[-1]["items"]]
        if measured:
            groups.append(_group(run_dir, measured))
    return {"groups": groups, "outcomes": OUTCOMES} if groups else None


def _group(run_dir: Path, measured: list[dict[str, Any]]) -> dict[str, Any]:
    last = measured[-1]
    by_stage = {row["stage"]: {item["id"]: item for item in read_items(run_dir / row["per_item"])} for row in measured}
    final = list(by_stage[last["stage"]].values())
    before = next((by_stage[r["stage"]] for r in reversed(measured) if r["stage"] != last["stage"]), {})
    wanted = choose(final, before, PER_GROUP.get(last["modality"], PER_GROUP_DEFAULT))
    records = kept_records(run_dir / last["items"])
    cards = [card(records[i], {s: items[i] for s, items in by_stage.items() if i in items}, last) for i in wanted if i in records]
    counts = collections.Counter(outcome(item) for item in final)
    return {
        "benchmark": measure(last)[0], "level": last["level"], "modality": last["modality"], "stage": last["stage"], "n": last["n"], "cards": cards,
        "counts": {name: counts[name] for name in OUTCOMES},
    }  # fmt: skip


def outcome(item: dict[str, Any]) -> str:
    return "right" if item["correct"] else "unparsed" if item["extracted"] is None else "wrong"


def choose(items: list[dict[str, Any]], before: dict[str, dict[str, Any]], limit: int) -> list[str]:
    """Ids: outcomes in turn, and within one those that changed since the stage before come first; otherwise in the order of the file."""
    piles: dict[str, list[str]] = {name: [] for name in OUTCOMES}
    for item in sorted(items, key=lambda i: not changed(i, before.get(i["id"]))):
        piles[outcome(item)].append(item["id"])
    chosen: list[str] = []
    while len(chosen) < limit and any(piles.values()):
        for pile in piles.values():
            if pile and len(chosen) < limit:
                chosen.append(pile.pop(0))
    return chosen


def changed(item: dict[str, Any], before: dict[str, Any] | None) -> bool:
    return before is not None and before["correct"] != item["correct"]


def card(record: Record, by_stage: dict[str, dict[str, Any]], row: dict[str, Any]) -> dict[str, Any]:
    """One item as the template shows it."""
    item = by_stage[row["stage"]]
    stages = list(by_stage)
    previous = by_stage[stages[-2]] if len(stages) > 1 else None
    parsed = protocol.parse(item["completion"])
    verdicts = [*item.get("steps", []), *["unparsed"] * len(parsed.steps)]
    return {
        "id": record.id, "question": record.question, "options": record.options or [], "gold": record.answer,
        "gold_text": " · ".join(answer_text(record)), "answer": item["extracted"], "outcome": outcome(item), "reason": item["reason"],
        "changed": changed(item, previous), "media": _media(record, row), "steps": list(zip(parsed.steps, verdicts, strict=False)),
        "answer_text": chosen_text(record, item["extracted"]) if record.options else None,
        "gold_steps": [s.text for s in record.steps or []], "completion": item["completion"], "finished": item.get("finished", True),
        "history": [{"stage": s, "answer": i["extracted"], "outcome": outcome(i)} for s, i in by_stage.items()],
        "tags": [str(record.meta[k]) for k in ("family", "task", "category") if k in record.meta][:2],
    }  # fmt: skip


def _media(record: Record, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Every medium as the model was given it; one that does not decode says why."""
    from data.media import decode_ref

    shown = []
    for ref in record.media:
        try:
            shown.append(show(decode_ref(ref, row.get("media_budget", {}))))
        except (ValueError, OSError) as error:
            shown.append({"kind": "missing", "reason": str(error)})
    return shown
