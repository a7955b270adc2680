"""One table over many runs: the last row of each benchmark and level in each run, in the terminal and as a page of its own."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.report import track
from eval.results import measure, measure_order, read_results, write_atomic


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
    from eval.report_page import environment

    board = gather(runs)
    links = {line["run"]: _link(line["path"], out) for line in board.lines}
    write_atomic(Path(out), environment().get_template("leaderboard.html.j2").render(board=board, links=links, best=best_cells(board)))
    return board


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
