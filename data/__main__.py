"""The command line of data: `python -m data render WORLD --level N --count N --out DIR`, `python -m data check FILE`,
`python -m data convert-steps FILE --from F --to F --out FILE`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from configs.command_line import run_app

app = typer.Typer(help="What a question is.", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def _every_command(debug: Annotated[bool, typer.Option("--debug", help="show tracebacks of user errors too")] = False) -> None:
    """What a question is."""


@app.command("render")
def render_command(
    world: Annotated[str, typer.Argument(help="vision, audio or video")],
    out: Annotated[Path, typer.Option(help="a new folder")],
    level: Annotated[int, typer.Option(help="difficulty, from 1")] = 1,
    count: Annotated[int, typer.Option(help="how many items")] = 100,
    seed: Annotated[int, typer.Option(help="which items; a longer set begins with the shorter one")] = 0,
    split: Annotated[str, typer.Option(help="train, dev or test: scenes of different splits never look or sound alike")] = "test",
    format: Annotated[str, typer.Option(help="records (any world), mmau (audio), mathvista (vision) or clevrer (video)")] = "records",
    family: Annotated[list[str] | None, typer.Option(help="only this kind of question; repeatable")] = None,
) -> None:
    """Write items of a world as real wav, png or mp4 files with their questions. The same command again reads what is there."""
    from data.render import render_format

    for path in render_format(format, world, level, count, seed, split, out, family):
        print(path)


@app.command("convert-steps")
def convert_steps_command(
    path: Annotated[Path, typer.Argument(help="a file of labelled solutions")],
    out: Annotated[Path, typer.Option(help="the JSONL file to write")],
    source: Annotated[str, typer.Option("--from", help="focal, trl, math_shepherd, visualprm, processbench or visualprocessbench")],
    target: Annotated[str, typer.Option("--to", help="the same names")] = "focal",
) -> None:
    """Labelled solutions of one format as those of another."""
    from data.step_formats import convert

    print(f"{convert(source, target, path, out)} solutions written to {out}")


@app.command("check")
def check_command(path: Annotated[Path, typer.Argument(help="a JSONL file of records")]) -> None:
    """Read records, and decode each of their media. Bad media are listed; exit code 1 where there are any."""
    import dataclasses

    from data.media import decode_ref
    from data.readers.jsonl import JsonlReader
    from models.media import MediaSpec

    settings, count, bad = dataclasses.asdict(MediaSpec()), 0, 0
    for record in JsonlReader(path):
        count += 1
        for ref in record.media:
            try:
                decode_ref(ref, settings)
            except (ValueError, OSError) as error:
                bad += 1
                print(f"{record.id}: {error}")
    print(f"{count} records, {bad} bad media")
    if bad:
        raise typer.Exit(1)


def main(arguments: list[str] | None = None) -> int:
    return run_app(app, arguments)


if __name__ == "__main__":
    sys.exit(main())
