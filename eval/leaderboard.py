"""One table over many runs: the last row of each benchmark and level in each run, in the terminal and as a page of its own."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.metrics import natural
from eval.report import track
from eval.report_samples import OUTCOMES, Source, group
from eval.results import measure, measure_order, read_results, write_atomic

MOST_RUNS, MOST_VALUES = 6, 40  # on the page's panels; the table has them all


@dataclasses.dataclass(frozen=True, slots=True)
class Board:
    """`columns`: what was measured, sorted. `lines`: runs, best mean over their columns first. `left_out`: folders without valid results, and
    why."""

    columns: list[tuple[str, int | None, str]]
    lines: list[dict[str, Any]]
    left_out: list[tuple[str, str]]


def gather(runs: Sequence[Path]) -> Board:
    """Read the runs; folders without results are listed, not an error, unless none has any."""
    lines, left_out, columns = [], [], set()
    for run in runs:
        if not Path(run).is_dir():
            continue
        try:
            results = read_results(run)
        except ValueError as error:
            left_out.append((Path(run).name, str(error)))
            continue
        cells = {measure(row): track(row) for row in results["evaluations"]}
        if cells:
            columns |= set(cells)
            lines.append({"run": Path(run).name, "path": Path(run), "commit": results["commit"], "cells": cells})
    if not lines:
        raise ValueError(f"none of {len(runs)} folders holds results" + (f" ({left_out[0][1]})" if left_out else ""))
    order = sorted(columns, key=measure_order)
    lines.sort(key=lambda line: (-len(line["cells"]), -sum(c["score"] for c in line["cells"].values()) / len(line["cells"]), line["run"]))
    return Board(order, lines, left_out)


def write_leaderboard(runs: Sequence[Path], out: Path) -> Board:
    """Write the page and return what is in it."""
    from markupsafe import Markup

    from eval.report_page import environment

    board = gather(runs)
    page = environment()
    found = browser(board)
    cards = Markup(page.get_template("report_sections.html.j2").module.samples(found)) if found else None
    links = {line["run"]: _link(line["path"], out) for line in board.lines}
    shown = {"board": board, "links": links, "best": best_cells(board), "panels": panels(board), "cards": cards}
    write_atomic(Path(out), page.get_template("leaderboard.html.j2").render(**shown))
    return board


def panels(board: Board) -> list[dict[str, Any]]:
    """Bars along every axis of every column: one line per value, one dot per run that has it (the first `MOST_RUNS`), in the runs' colours."""
    found = []
    for column in board.columns:
        lines = [(k, line["cells"][column]["row"]) for k, line in enumerate(board.lines[:MOST_RUNS]) if column in line["cells"]]
        for axis in dict.fromkeys(axis for _, row in lines for axis in row.get("breakdown", {})):
            tables = [(k, row.get("breakdown", {}).get(axis, {})) for k, row in lines]
            values = sorted({value for _, cells in tables for value in cells}, key=natural)
            if len(values) < 2 or len(values) > MOST_VALUES:
                continue
            dots = {v: [{"run": k, "at": 100 * cells[v]["score"], "n": cells[v]["n"]} for k, cells in tables if v in cells] for v in values}
            found.append({"benchmark": column[0], "level": column[1], "modality": lines[0][1]["modality"], "axis": axis, "values": dots})
    return found


def browser(board: Board) -> dict[str, Any] | None:
    """Items of every column with the answers of the runs beside each other; the best run's outcome decides the colour, the worst comes first."""
    groups = []
    for column in board.columns:
        lines = [line for line in reversed(board.lines[:MOST_RUNS]) if column in line["cells"]]
        sources = [s for s in (Source(line["run"], line["path"], line["cells"][column]["row"]) for line in lines) if s.kept]
        if sources:
            groups.append(group(sources))
    return {"groups": groups, "outcomes": OUTCOMES, "changed": "changed between runs"} if groups else None


def best_cells(board: Board) -> dict[tuple, float]:
    """The best score of each column that at least two runs have."""
    best = {}
    for column in board.columns:
        scores = [line["cells"][column]["score"] for line in board.lines if column in line["cells"]]
        if len(scores) > 1:
            best[column] = max(scores)
    return best


def show(board: Board) -> None:
    """The table in a terminal: score, half its interval, and the highest control in brackets."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="last row of each run, percent; ± half the 95 % interval; (highest control)", title_style="dim")
    table.add_column("run")
    for benchmark, level, protocol in board.columns:
        table.add_column(f"{benchmark}{'' if level is None else f' L{level}'}\n{protocol}", justify="right")
    best = best_cells(board)
    for line in board.lines:
        cells = [_terminal_cell(line["cells"].get(column), best.get(column)) for column in board.columns]
        table.add_row(line["run"], *cells)
    console = Console()
    console.print(table)
    for name, why in board.left_out:
        console.print(f"left out: {name}: {why}", style="dim", markup=False)


def _terminal_cell(cell: dict[str, Any] | None, best: float | None) -> str:
    if cell is None:
        return "–"
    text = f"{cell['score']:.1f} ±{(cell['high'] - cell['low']) / 2:.1f} ({cell['floor']:.0f})"
    return f"[bold]{text}[/]" if cell["score"] == best else text


def _link(run: Path, out: Path) -> str | None:
    """The run's report as a relative link, where there is one below the folder of the page."""
    report = (run / "report.html").resolve()
    folder = Path(out).resolve().parent
    return report.relative_to(folder).as_posix() if report.is_file() and report.is_relative_to(folder) else None
