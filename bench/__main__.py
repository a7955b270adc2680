"""The command line of the benches: `python -m bench NAME [--json] [--quick]`, `python -m bench list`, `python -m bench all`."""

import json
import sys
from typing import Annotated

import typer

from configs.command_line import run_app

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def bench(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="`list` shows them, `all` runs them")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, one result a line")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="print rows of the table in docs/benchmarks.md")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="tiny sizes: does it run?")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="timed runs of each side")] = 7,
    warmup: Annotated[int, typer.Option(min=1, help="runs of each side before the clock counts")] = 2,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads (default: as torch chooses)")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: cuda where there is one)")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks of user errors too")] = False,
) -> None:
    """Speed and memory as ratios against a named peer, both sides measured by turns in one run."""
    from configs.registry import BENCHES

    wanted = BENCHES.names() if names in (["list"], ["all"]) else names
    functions = {name: BENCHES.get(name) for name in wanted}
    if names == ["list"]:
        for name, function in functions.items():
            print(f"{name:12} {(function.__doc__ or '').strip().splitlines()[0]}")
        return
    import torch

    from bench.harness import TABLE_HEAD, Setting, describe, measure, table_row

    if threads:
        torch.set_num_threads(threads)
    setting = Setting(quick, device or ("cuda" if torch.cuda.is_available() else "cpu"), seed)
    show = json.dumps if as_json else table_row if as_markdown else describe
    if as_markdown:
        print(TABLE_HEAD)
    for name, function in functions.items():
        result = measure(name, function(setting), setting, repeats=2 if quick else repeats, warmup=1 if quick else warmup)
        print(show(result), flush=True)


def main(arguments: list[str] | None = None) -> int:
    return run_app(app, arguments)


if __name__ == "__main__":
    sys.exit(main())
