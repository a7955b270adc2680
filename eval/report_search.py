"""What searching was worth: every strategy over the same items against the majority of as many samples, what it cost in tokens, and the search tree
of one item with the scores of its steps."""

import base64
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from data import protocol
from data.worlds.base import judge_step
from eval.compare import compare_items
from eval.item_log import read_items
from eval.results import measure, measure_order
from eval.run import kept_records
from reasoning.names import search_name

RIVAL = "majority"
MODEL_SCORERS = ("prm", "orm", "self_judge")  # names begin with one of these


@dataclasses.dataclass
class Node:
    """A step of the tree. `score`: of the solution up to here; `state`: what the verifier says; `kept`: the search answered through it."""

    text: str
    score: float | None = None
    state: str = "unparsed"
    kept: bool = False
    children: list["Node"] = dataclasses.field(default_factory=list)


def section(facts: Any) -> Markup | None:
    """The section of the report, or None where nothing was searched."""
    groups = [shown for rows in searched(facts.rows) if (shown := group(facts.run_dir, rows))]
    pictures = [picture(path) for path in sorted(Path(facts.run_dir).glob("budget-*.png"))]
    if not groups and not pictures:
        return None
    from eval.report_page import environment

    return Markup(environment().get_template("report_search.html.j2").render(groups=groups, pictures=pictures))


def picture(path: Path) -> dict[str, str]:
    """A sweep's drawing, to stand in the page itself."""
    return {"name": path.stem.removeprefix("budget-"), "url": "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()}


def searched(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Rows of one measure after one stage, where at least one strategy draws several samples."""
    by_key: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        by_key.setdefault((row["stage"], measure(row)), []).append(row)
    chosen = {key: mine for key, mine in by_key.items() if any(row["samples"] > 1 for row in mine)}
    return [chosen[key] for key in sorted(chosen, key=lambda k: (measure_order(k[1]), k[0]))]


def group(run_dir: Path, rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """One table: each strategy's score, its difference to the majority of as many samples, its tokens; a sentence on whether the model's scores
    help; the tree of an item."""
    kept = [row for row in rows if (run_dir / row["per_item"]).is_file()]
    if not kept:
        return None
    items = {id(row): read_items(run_dir / row["per_item"]) for row in kept}
    lines: list[dict[str, Any]] = []
    for row in kept:
        rival = next((r for r in kept if r["strategy"] == RIVAL and r["samples"] == row["samples"] and r["temperature"] == row["temperature"]), None)
        gain = compare_items(items[id(rival)], items[id(row)]) if rival is not None and rival is not row else None
        lines.append({"row": row, "name": search_name(row), "gain": gain})
    return {
        "benchmark": rows[0]["benchmark"], "level": rows[0]["level"], "modality": rows[0]["modality"], "stage": rows[0]["stage"], "lines": lines,
        "words": [verdict(line) for line in lines if line["gain"] and str(line["row"]["scorer"]).startswith(MODEL_SCORERS)],
        "tree": tree_of(run_dir, kept, items),
    }  # fmt: skip


def verdict(line: dict[str, Any]) -> str:
    """In plain words whether a scorer beats the majority."""
    gain = line["gain"]
    low, high = (100 * x for x in gain["ci95"])
    said = "above" if low > 0 else "below" if high < 0 else "not told apart from"
    return f"{line['name']} is {said} the majority: {100 * gain['difference']:+.1f} points [{low:+.1f}, {high:+.1f}], n {gain['n']}."


def tree_of(run_dir: Path, rows: Sequence[dict[str, Any]], items: dict[int, list[dict[str, Any]]]) -> dict[str, Any] | None:
    """The tree of an item that a scored search answered; one that the majority got wrong and the search right comes first."""
    scored = [
        row for row in rows if row["samples"] > 1 and str(row["scorer"]).startswith(MODEL_SCORERS) and row["strategy"] != "majority_same_tokens"
    ]
    if not scored or "items" not in scored[0] or not (run_dir / scored[0]["items"]).is_file():
        return None
    row = max(scored, key=lambda r: any(c.get("parent") is not None for i in items[id(r)][:5] for c in i.get("trace", {}).get("calls", [])))
    voted = {i["id"]: i["correct"] for r in rows if r["strategy"] == RIVAL for i in items[id(r)]}
    candidates = [i for i in items[id(row)] if any("score" in c for c in i.get("trace", {}).get("calls", []))]
    if not candidates:
        return None
    item = max(candidates, key=lambda i: (i["correct"] and not voted.get(i["id"], True), i["correct"]))
    record = kept_records(run_dir / row["items"]).get(item["id"])
    calls = item["trace"]["calls"]
    facts = {} if record is None else record.meta.get("facts", {})
    if any(call.get("parent") is not None for call in calls):
        roots = grown(calls, facts)
    else:
        texts = sample_texts((run_dir / row["per_item"]).parent / "samples", item)
        roots = merged(calls, texts, facts)
    question = "" if record is None else record.question
    return {"name": search_name(row), "id": item["id"], "question": question, "answer": item["extracted"], "correct": item["correct"], "roots": roots}


def sample_texts(folder: Path, item: dict[str, Any]) -> dict[int, str]:
    """Number -> text of an item's samples, from the file that its trace names."""
    path = folder / item["trace"].get("file", "")
    texts: dict[int, str] = {call["k"]: call["text"] for call in item["trace"]["calls"] if "text" in call}
    if path.is_file():
        with open(path, encoding="utf-8") as lines:
            for row in (json.loads(line) for line in lines if line.endswith("\n")):
                if row["record"] == item["id"]:
                    texts[row["k"]] = row["text"]
    return texts


def merged(calls: Sequence[dict[str, Any]], texts: dict[int, str], facts: dict[str, str]) -> list[Node]:
    """Whole samples as a tree: what they have in common stands once."""
    root = Node("")
    for call in calls:
        parsed = protocol.parse(texts.get(call["k"], ""))
        pieces = [*parsed.steps, *([f"answer {parsed.answer}"] if parsed.answer is not None else [])]
        scores = call.get("scores") or [None] * (len(pieces) - 1) + [call.get("score")]
        node = root
        for i, piece in enumerate(pieces):
            found = next((child for child in node.children if child.text == piece), None)
            if found is None:
                found = Node(piece, scores[i] if i < len(scores) else None, judge_step(piece, facts) if i < len(parsed.steps) else "unparsed")
                node.children.append(found)
            found.kept |= bool(call["kept"])
            node = found
    return root.children


def grown(calls: Sequence[dict[str, Any]], facts: dict[str, str]) -> list[Node]:
    """The tree that a search over steps made."""
    nodes: list[Node] = []
    roots: list[Node] = []
    for call in calls:
        text = protocol.END.join(call["text"].split(protocol.END)[:1])
        for tag in (protocol.THINK, protocol.END_THINK, protocol.END_ANSWER):
            text = text.replace(tag, "")
        text = text.replace(protocol.ANSWER, "answer ").strip()
        node = Node(text, call.get("score"), judge_step(text, facts), bool(call["kept"]))
        nodes.append(node)
        (roots if call["parent"] is None else nodes[call["parent"]].children).append(node)
    return roots
