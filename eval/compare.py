"""Is the difference real? Two runs, or two stages or strategies of one, over the same items: paired bootstrap, McNemar, effect size, and the
smallest difference that so many items could show."""

from pathlib import Path
from typing import Any

from eval.item_log import read_items
from eval.metrics import accuracy, cohens_h, detectable_difference, discordant, mcnemar, paired_bootstrap
from eval.results import measure, read_results
from reasoning.names import search_name


def compare_runs(
    a: Path, b: Path, stages: tuple[str | None, str | None] = (None, None), strategies: tuple[str | None, str | None] = (None, None)
) -> list[dict[str, Any]]:
    """One comparison per measurement that both runs hold. Without a stage, each side gives its last row; without a strategy, rows of the same one
    are compared. A strategy is named as in results (`best_of_n`) or, where it stands there with several scorers, in full (`best of n of 8 by prm`,
    `best of n of 8 by prm (aggregate min)`).
    Nothing to compare is a `ValueError` that says what each side holds."""
    left, right = (
        pick_rows(read_results(run)["evaluations"], stage, strategy) for run, stage, strategy in zip((a, b), stages, strategies, strict=True)
    )
    if strategies != (None, None):
        left, right = ({key[:-1]: row for key, row in side.items()} for side in (left, right))
    shared = [key for key in left if key in right]
    if not shared:
        held = [", ".join(sorted(describe_row(row) for row in side.values())) or "nothing" for side in (left, right)]
        raise ValueError(f"nothing to compare: {a} holds {held[0]}; {b} holds {held[1]}")
    return [compare_rows(left[key], Path(a), right[key], Path(b)) for key in shared]


def pick_rows(rows: list[dict[str, Any]], stage: str | None, strategy: str | None) -> dict[tuple, dict[str, Any]]:
    """The last row of each measurement, among those of the stage and strategy asked for. A strategy that fits several searches is a `ValueError`."""
    picked = {}
    for row in rows:
        if stage in (None, row["stage"]) and strategy in (None, row["strategy"], search_name(row), full_name(row)):
            picked[(*measure(row), in_words(row.get("options")), row["seed"], full_name(row))] = row
    if strategy is not None and len({key[:-1] for key in picked}) < len(picked):
        raise ValueError(f"strategy {strategy!r} fits several rows: name one of {', '.join(sorted({repr(key[-1]) for key in picked}))}")
    return picked


def describe_row(row: dict[str, Any]) -> str:
    return f"{describe_place(row)} {full_name(row)} after {row['stage']} (seed {row['seed']})"


def describe_place(row: dict[str, Any]) -> str:
    """What was measured, in words, whoever was measured and however."""
    level = "" if row["level"] is None else f" L{row['level']}"
    return f"{measure(row)[0]}{in_words(row.get('options'))}{level} {row['protocol']}"


def full_name(row: dict[str, Any]) -> str:
    """How an answer was searched for, with what the strategy was told beside its usual settings."""
    return search_name(row) + in_words(row.get("decoding", {}).get("options"))


def in_words(options: dict[str, Any] | None) -> str:
    """Options behind a name: ` (aggregate min)`."""
    return f" ({', '.join(f'{key} {value}' for key, value in sorted(options.items()))})" if options else ""


def compare_rows(a: dict[str, Any], run_a: Path, b: dict[str, Any], run_b: Path) -> dict[str, Any]:
    """Everything about one pair of rows: both scores over the shared items, their difference with its interval, the test and the effect sizes."""
    if a.get("gold_sha256") != b.get("gold_sha256"):
        raise ValueError(f"{describe_row(a)}: the two runs were graded against different gold answers: their scores do not compare")
    return {"benchmark": measure(a)[0], "level": a["level"], "protocol": a["protocol"], "a": describe_row(a), "b": describe_row(b)} | compare_items(
        read_items(run_a / a["per_item"]), read_items(run_b / b["per_item"])
    )


def compare_items(rows_a: list[dict[str, Any]], rows_b: list[dict[str, Any]]) -> dict[str, Any]:
    """Paired statistics of per-item rows over the ids that both hold; the others are counted, not averaged away."""
    by_id = {row["id"]: row for row in rows_b}
    pairs = [(row, by_id[row["id"]]) for row in rows_a if row["id"] in by_id and row.get("counted", True) and by_id[row["id"]].get("counted", True)]
    if not pairs:
        raise ValueError("the two sides share no item")
    a, b = [bool(x["correct"]) for x, _ in pairs], [bool(y["correct"]) for _, y in pairs]
    difference, low, high = paired_bootstrap(a, b, [x.get("group", x["id"]) for x, _ in pairs])
    only_a, only_b = discordant(a, b)
    return {
        "n": len(pairs), "unpaired": len(rows_a) + len(rows_b) - 2 * len(pairs), "score_a": accuracy(a), "score_b": accuracy(b),
        "difference": difference, "ci95": [low, high], "p": mcnemar(a, b), "only_a": only_a, "only_b": only_b,
        "odds_ratio": only_b / only_a if only_a else None, "cohens_h": cohens_h(accuracy(a), accuracy(b)),
        "detectable": detectable_difference(max(only_a + only_b, 1) / len(pairs), len(pairs)), "real": (low > 0 or high < 0) and mcnemar(a, b) < 0.05,
    }  # fmt: skip


def show(comparisons: list[dict[str, Any]]) -> None:
    """A table for a terminal; scores in percent, differences in points."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="b − a over the same items", title_style="bold")
    for column in ("benchmark", "n", "a", "b", "difference [95 %]", "only a / only b", "McNemar p", "h", "n could show"):
        table.add_column(column, justify="left" if column == "benchmark" else "right")
    for c in comparisons:
        level = "" if c["level"] is None else f" L{c['level']}"
        gain = f"{100 * c['difference']:+.1f} [{100 * c['ci95'][0]:+.1f}, {100 * c['ci95'][1]:+.1f}]"
        table.add_row(
            f"{c['benchmark']}{level}", str(c["n"]) + (f" (+{c['unpaired']} unpaired)" if c["unpaired"] else ""), f"{100 * c['score_a']:.1f}",
            f"{100 * c['score_b']:.1f}", f"[{'bold' if c['real'] else 'dim'}]{gain.replace('[', chr(92) + '[')}[/]", f"{c['only_a']} / {c['only_b']}",
            f"{c['p']:.2g}", f"{c['cohens_h']:+.2f}", f"{100 * c['detectable']:.1f}",
        )  # fmt: skip
    Console().print(table)
