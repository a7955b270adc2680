"""The items that a report shows: media, question, steps with their verdicts, the answer of every stage."""

import collections
import dataclasses
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


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """One column of answers to the same items: what it is called, where its run is, its row of results."""

    name: str
    folder: Path
    row: dict[str, Any]

    @property
    def kept(self) -> bool:
        """Whether the rows and the items are there."""
        return "items" in self.row and (self.folder / self.row["per_item"]).is_file() and (self.folder / self.row["items"]).is_file()


def collect(run_dir: Path, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Cards by measure: items of the last greedy row, wrong, right and unparsed ones in turn, with what the other stages answered."""
    greedy = [row for row in rows if row["strategy"] == "greedy"]
    groups = []
    for key in sorted({measure(r) for r in greedy}, key=measure_order):
        sources = [s for s in (Source(r["stage"], run_dir, r) for r in greedy if measure(r) == key) if s.kept]
        sources = [s for s in sources if s.row["items"] == sources[-1].row["items"]]
        if sources:
            groups.append(group(sources))
    return {"groups": groups, "outcomes": OUTCOMES, "changed": "changed since the stage before"} if groups else None


def group(sources: list[Source]) -> dict[str, Any]:
    """The cards of one measure: items of the last source, with the answers of all of them."""
    last = sources[-1]
    answers = {s.name: {item["id"]: item for item in read_items(s.folder / s.row["per_item"])} for s in sources}
    final = list(answers[last.name].values())
    before = next((answers[s.name] for s in reversed(sources) if s.name != last.name), {})
    wanted = choose(final, before, PER_GROUP.get(last.row["modality"], PER_GROUP_DEFAULT))
    records = kept_records(last.folder / last.row["items"])
    cards = [card(records[i], {s: items[i] for s, items in answers.items() if i in items}, last) for i in wanted if i in records]
    counts = collections.Counter(outcome(item) for item in final)
    return {
        "benchmark": measure(last.row)[0], "level": last.row["level"], "modality": last.row["modality"], "stage": last.name, "n": last.row["n"],
        "cards": cards, "counts": {name: counts[name] for name in OUTCOMES},
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


def card(record: Record, by_stage: dict[str, dict[str, Any]], last: Source) -> dict[str, Any]:
    """One item as the template shows it: the last source's answer, and what each of them said."""
    item = by_stage[last.name]
    stages = list(by_stage)
    previous = by_stage[stages[-2]] if len(stages) > 1 else None
    parsed = protocol.parse(item["completion"])
    verdicts = [*item.get("steps", []), *["unparsed"] * len(parsed.steps)]
    return {
        "id": record.id, "question": record.question, "options": record.options or [], "gold": record.answer,
        "gold_text": " · ".join(answer_text(record)), "answer": item["extracted"], "outcome": outcome(item), "reason": item["reason"],
        "changed": changed(item, previous), "media": _media(record, last.row), "steps": list(zip(parsed.steps, verdicts, strict=False)),
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
