"""`python -m eval budget`: a sweep of strategies and n over one benchmark, as a table, JSON, a picture and a part of the report."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer


def budget_command(
    model: Annotated[Path, typer.Option(help="a run directory, a release, or a checkpoint folder")],
    benchmark: Annotated[str, typer.Option(help="by name, e.g. world/audio")],
    scorer: Annotated[str | None, typer.Option(help="e.g. prm:DIR; of a run: prm")] = None,
    strategy: Annotated[list[str] | None, typer.Option(help="repeatable; default: greedy, majority, weighted_majority, best_of_n")] = None,
    n: Annotated[str, typer.Option(help="numbers of samples")] = "1,2,4,8,16",
    temperature: Annotated[float, typer.Option()] = 1.0,
    level: Annotated[int | None, typer.Option(help="level of a world")] = None,
    items: Annotated[int, typer.Option(min=1, help="how many items")] = 300,
    seed: Annotated[int, typer.Option(help="which items, and which random choices")] = 1000,
    data: Annotated[Path | None, typer.Option(help="the benchmark's file or folder")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 200,
    stage: Annotated[str | None, typer.Option(help="which stage of a run (default: its release)")] = None,
    out: Annotated[Path | None, typer.Option(help="default: the model's run directory, else runs/eval-<model>")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Accuracy against tokens: strategies swept over n with intervals, in a table, JSON, a picture and the report."""
    from eval.budget import SWEEP, lines_of

    try:
        counts = [int(part) for part in n.split(",")]
    except ValueError:
        raise ValueError(f"--n {n!r} is no list of numbers such as 1,2,4,8") from None
    lines = lines_of(strategy or SWEEP, counts, scorer, temperature)
    tree = sweep(
        model, benchmark, lines, level=level, items=items, seed=seed, data=data, batch_size=batch_size, max_new_tokens=max_new_tokens, stage=stage,
        out=out,
    )  # fmt: skip
    if as_json:
        print(json.dumps(tree, indent=1, ensure_ascii=False))
    else:
        show(tree)


def sweep(
    model_path: Path, benchmark: str, lines: list[dict[str, Any]], *, level: int | None, items: int, seed: int, data: Path | None, batch_size: int,
    max_new_tokens: int, stage: str | None, out: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """Evaluate every line on the same items; results are booked, and the report written, as for single evaluations."""
    from eval.budget import write_budget
    from eval.loading import find_model, instruction_of, load_reasoner
    from eval.passes import MediaStore
    from eval.report import write_report
    from eval.run import describe, evaluate, open_benchmark
    from eval.run_cli import book, stage_dir

    bench = open_benchmark(benchmark, data)
    level = bench.source.levels[0] if level is None and bench.wants == "world" else level
    found = find_model(model_path, stage)
    root = out or found.run or Path("runs") / f"eval-{found.folder.resolve().name}"
    model, processor = load_reasoner(found.folder)
    store, rows = MediaStore(dict(processor.media)), []
    for line in lines:
        row = evaluate(
            model, processor, bench, stage=found.stage, level=level, n=items, seed=seed, strategy=line, max_new_tokens=max_new_tokens,
            batch_size=batch_size, root=root, out_dir=stage_dir(root, found.stage) / "eval", instruction=instruction_of(found.run), store=store,
        )  # fmt: skip
        book(root, row, str(model_path))
        rows.append(row)
        print(describe(row), flush=True)
    told = benchmark if level is None else f"{benchmark} level {level}"
    stem = "budget-" + re.sub(r"[^\w.-]+", "-", told)
    tree = write_budget(root, f"{told}, after {found.stage}, {items} items", rows, stem)
    write_report(root)
    return tree


def show(tree: dict[str, Any]) -> None:
    """The points as a table for a terminal; scores in percent, differences in points."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=tree["title"], title_style="bold")
    for column in ("strategy", "n", "right [95 %]", "longest chain", "all tokens", "against majority [95 %]"):
        table.add_column(column, justify="left" if column == "strategy" else "right")
    for p in tree["points"]:
        gain = p.get("against_majority")
        said = "" if gain is None else f"{100 * gain['difference']:+.1f} \\[{100 * gain['ci95'][0]:+.1f}, {100 * gain['ci95'][1]:+.1f}]"
        table.add_row(
            p["strategy"] + (f" by {p['scorer']}" if p["scorer"] else ""), str(p["n"]),
            f"{100 * p['score']:.1f} \\[{100 * p['ci95'][0]:.1f}, {100 * p['ci95'][1]:.1f}]", f"{p['sequential']:.1f}", f"{p['total']:.1f}", said,
        )  # fmt: skip
    Console().print(table)
    if tree["picture"]:
        print(f"drawn: {tree['picture']}")
