"""`python -m eval score BENCHMARK PREDICTIONS`: score somebody's outputs offline, as a table or as one JSON object."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

SHOWN = 100  # values of an axis in a table for people; --json has them all


def score_command(
    benchmark: Annotated[str, typer.Argument(help="mmau, mathvista, clevrer, … (`python -m eval list`)")],
    predictions: Annotated[Path, typer.Argument(help="the benchmark's own submission layout, or JSON / JSONL rows of {id, prediction}")],
    gold: Annotated[Path | None, typer.Option(help="the official file (default: its place under --data-root)")] = None,
    protocol: Annotated[str | None, typer.Option(help="official, strict, … (default: strict where there is one)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    out: Annotated[Path | None, typer.Option(help="write one JSON line per item: id, extracted, prediction, correct, reason")] = None,
    judge: Annotated[str | None, typer.Option(help="extract by a model: http://host:port/v1, or the folder of a checkpoint (mathvista)")] = None,
    judge_model: Annotated[str | None, typer.Option(help="the name of the server's model")] = None,
    data_root: Annotated[Path, typer.Option(help="folder of real data sets")] = Path("datasets"),
) -> None:
    """Score predictions that were made anywhere, offline."""
    from configs.registry import BENCHMARKS
    from eval.benchmarks.offline import OfflineBenchmark
    from eval.judge import open_judge
    from eval.score import score_files

    name, _, variant = benchmark.partition("/")
    kind = BENCHMARKS.get(name)
    if not issubclass(kind, OfflineBenchmark):
        raise ValueError(f"benchmark {name!r} has no official file to score against; it is run by `python -m eval run`")
    bench = kind(variant=variant)
    report = score_files(bench, predictions, gold or bench.gold_path(data_root), protocol, open_judge(judge, judge_model) if judge else None)
    if out is not None:
        out.write_text("".join(_json(row) + "\n" for row in report.rows), encoding="utf-8")
    for line in notes(report):
        print(line, file=sys.stderr)
    if as_json:
        print(_json(report.summary()))
    else:
        show(report)


def notes(report: Any) -> list[str]:
    """What was used, what is missing and what is wrong with the inputs, with the ids."""
    from eval.score import listed, told

    lines = [f"scored: {', '.join(f'{field} of {n} rows' for field, n in sorted(report.used.items()))}"] if report.used else []
    lines.append("reasons: " + ", ".join(f"{reason} {n}" for reason, n in report.reasons.items()))
    if report.missing:
        absent = [row["id"] for row in report.rows if row["reason"] == "missing"]
        whole = len(report.rows)
        lines.append(f"missing: {report.missing} of {whole} items have no usable prediction: {listed(absent)}")
        if report.n < whole:
            over = f"over all {whole} items the score is {report.correct / whole:.4f}"
            lines.append(f"missing: left out of n = {report.n} by {report.protocol!r}; {over}")
    return lines + told(report.problems) + [f"note: {remark}" for remark in report.remarks]


def _json(value: Any) -> str:
    """One line of JSON, its letters as they are. Bytes that were no UTF-8 have none: a value that holds some is written in ASCII."""
    line = json.dumps(value, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return line


def show(report: Any) -> None:
    """Tables for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from eval.benchmarks.offline import printable

    console = Console()
    low, high = report.ci95
    console.print(f"{report.benchmark} under '{report.protocol}': {report.score:.2%} [{low:.2%}, {high:.2%}], {report.correct} of {report.n} right")
    for axis, cells in report.breakdown.items():
        table = Table("value", "n", "correct", "score", title=axis, title_justify="left")
        for value, cell in list(cells.items())[:SHOWN]:
            table.add_row(Text(printable(value)), str(cell["n"]), str(cell["correct"]), f"{cell['score']:.2%}")
        if len(cells) > SHOWN:
            table.add_row(f"and {len(cells) - SHOWN} more")
        console.print(table)
    console.print(f"gold sha256 {report.gold_sha256}", soft_wrap=True)
