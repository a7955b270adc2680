"""The command line of evaluation: `python -m eval run | budget | prm | score | replay | fetch | list | report | compare | study | leaderboard`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from configs.command_line import run_app
from eval.budget_cli import budget_command
from eval.score_cli import score_command

app = typer.Typer(help="How a model is judged.", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command("score")(score_command)
app.command("budget")(budget_command)
JsonFlag = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]


@app.callback()
def _every_command(debug: Annotated[bool, typer.Option("--debug", help="show tracebacks of user errors too")] = False) -> None:
    """How a model is judged."""


@app.command("run")
def run_command(
    model: Annotated[str, typer.Option(help="a run directory, a release, a checkpoint folder, or an OpenAI-compatible server: http://host:port/v1")],
    benchmark: Annotated[str, typer.Option(help="by name, e.g. world/audio (`python -m eval list`)")],
    model_name: Annotated[str | None, typer.Option(help="the name of the server's model")] = None,
    level: Annotated[int | None, typer.Option(help="level of a world")] = None,
    family: Annotated[list[str] | None, typer.Option(help="only these kinds of question (repeatable; a world's `perceive` needs naming)")] = None,
    n: Annotated[int | None, typer.Option(min=1, help="how many items (default: 300 of a world, all of a file)")] = None,
    seed: Annotated[int, typer.Option(help="which items, and which random choices")] = 1000,
    data: Annotated[Path | None, typer.Option(help="the benchmark's file or folder")] = None,
    protocol: Annotated[str | None, typer.Option(help="default: the benchmark's first")] = None,
    strategy: Annotated[str, typer.Option(help="greedy, sample, … (options as key=value behind the command)")] = "greedy",
    options: Annotated[list[str] | None, typer.Argument(metavar="[key=value]…", help="options of the strategy, e.g. temperature=1.0 n=16")] = None,
    control: Annotated[list[str] | None, typer.Option(help="e.g. shuffled_media:10; repeatable")] = None,
    ablate_media: Annotated[bool, typer.Option("--ablate-media", help="MMStar's gain and leakage: without media too")] = False,
    text_model: Annotated[Path | None, typer.Option(help="with --ablate-media: a checkpoint that never saw media, the floor of leakage")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 200,
    instruction: Annotated[str, typer.Option(help="a line at the end of every prompt")] = "",
    stage: Annotated[str | None, typer.Option(help="which stage of a run (default: its release)")] = None,
    out: Annotated[Path | None, typer.Option(help="default: the model's run directory, else runs/eval-<model>")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Evaluate a model on a benchmark, with controls; results, per-item rows and report are written. Killed, it goes on where it stopped."""
    from eval.run_cli import run_benchmark

    names = control if control else ["blank_media", "shuffled_media", "shuffled_options", "always_first"]
    if (ablate_media or text_model) and "blank_media" not in names:
        names = ["blank_media", *names]
    row, where = run_benchmark(
        model, benchmark, level=level, families=family, n=n, seed=seed, data=data, protocol=protocol, strategy=strategy,
        options=options or [], controls=names, batch_size=batch_size, max_new_tokens=max_new_tokens, instruction=instruction, stage=stage, out=out,
        text_model=text_model, model_name=model_name,
    )  # fmt: skip
    if as_json:
        print(json.dumps(row, indent=1, ensure_ascii=False))
        return
    from eval.run import describe

    print(describe(row))
    print(f"rows: {where / row['per_item']}   report: {where / 'report.html'}")


@app.command("list")
def list_command(as_json: JsonFlag = False) -> None:
    """Everything that has a name: benchmarks and their protocols, controls, encoders, worlds, rewards, strategies, scorers …"""
    from eval.run_cli import named_things, show_names

    if as_json:
        print(json.dumps(named_things(), indent=1))
    else:
        show_names(named_things())


@app.command("fetch")
def fetch_command(
    repo: Annotated[str, typer.Argument(help="a data set on the hub, e.g. AI4Math/MathVista, or a local folder in that form")],
    out: Annotated[Path, typer.Option(help="folder for its rows and media")],
    split: Annotated[str, typer.Option(help="e.g. test, testmini")] = "test",
    config: Annotated[str | None, typer.Option(help="the data set's configuration, where it has several")] = None,
    media: Annotated[list[str] | None, typer.Option(help="column=column of its path, e.g. decoded_image=image; repeatable")] = None,
) -> None:
    """Write a hub's data set as JSON lines and media files that the benchmarks read. Nothing is decoded."""
    from eval.hub import fetch
    from eval.run_cli import parse_options

    print(fetch(repo, out, split, config, {k: str(v) for k, v in parse_options(media or []).items()}))


@app.command("replay")
def replay_command(
    data_root: Annotated[Path, typer.Option(help="folder of real data sets: scored/, mathvista/ and mmau/ below it")] = Path("datasets"),
    as_json: JsonFlag = False,
) -> None:
    """The published MathVista runs again: every number beside the published one, the extractor's agreement, the floors of MathVista and MMAU."""
    from eval.replay import replay, show

    found = replay(data_root)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        show(found)


@app.command("report")
def report_command(run: Annotated[Path, typer.Argument(help="a run directory")]) -> None:
    """Write report.html of a run again."""
    from eval.report import write_report

    print(write_report(run))


@app.command("prm")
def prm_command(
    run: Annotated[Path | None, typer.Argument(help="a run directory, or the folder of its prm stage: what its held-out prompts gave")] = None,
    model: Annotated[Path | None, typer.Option(help="or: whose fresh solutions are to be judged (a run, a release, a checkpoint)")] = None,
    scorer: Annotated[str | None, typer.Option(help="with --model: prm:DIR, or self_judge, the policy itself (default: the run's prm)")] = None,
    benchmark: Annotated[str, typer.Option(help="with --model: a world, which labels every step exactly")] = "world/vision",
    level: Annotated[int | None, typer.Option(help="level of the world")] = None,
    n: Annotated[int, typer.Option(min=1, help="how many questions")] = 300,
    samples: Annotated[int, typer.Option(min=1, help="solutions of each")] = 8,
    seed: Annotated[int, typer.Option(help="which questions, and which random choices")] = 1000,
    stage: Annotated[str | None, typer.Option(help="which stage of the model's run (default: its release)")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the scores (default: below runs/)")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    as_json: JsonFlag = False,
) -> None:
    """How good a process reward model's step scores are, on a run's held-out prompts or on fresh ones: AUROC, F1, first error, calibration, precision
    of what is accepted."""
    from eval.prm_report import show_prm

    if (run is None) == (model is None):
        raise ValueError("give either a run (its held-out prompts) or --model (fresh prompts)")
    if model is not None:
        from eval.prm_fresh import judge_scorer

        run = judge_scorer(
            model, scorer, benchmark, level=level, n=n, seed=seed, samples=samples, stage=stage, out=out, batch_size=batch_size
        )  # fmt: skip
    show_prm(run, as_json)


@app.command("compare")
def compare_command(
    a: Annotated[Path, typer.Argument(help="a run directory")],
    b: Annotated[Path, typer.Argument(help="another one, or the same with other stages or strategies")],
    stage_a: Annotated[str | None, typer.Option(help="default: the last one evaluated")] = None,
    stage_b: Annotated[str | None, typer.Option(help="default: the last one evaluated")] = None,
    strategy_a: Annotated[str | None, typer.Option(help="default: each one against itself")] = None,
    strategy_b: Annotated[str | None, typer.Option(help="default: each one against itself")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Paired bootstrap and McNemar over the items that both answered: is the difference real?"""
    from eval.compare import compare_runs, show

    found = compare_runs(a, b, (stage_a, stage_b), (strategy_a, strategy_b))
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        show(found)


@app.command("study")
def study_command(
    recipe: Annotated[Path, typer.Argument(help="a recipe with a study: section")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[key=value]…", help="e.g. study.seeds=[0] data.root=/data")] = None,
    runs: Annotated[Path, typer.Option(help="where its runs go, below a folder of the recipe's name")] = Path("runs"),
    jobs: Annotated[int, typer.Option(min=1, help="runs at a time")] = 1,
) -> None:
    """Train the arms of a study at all of its seeds, and write the table. Killed, it goes on where it stopped."""
    from eval.study import run_study

    print((run_study(recipe, runs, overrides or [], jobs) / "study.md").read_text())


@app.command("leaderboard")
def leaderboard_command(
    runs: Annotated[list[Path], typer.Argument(help="run directories, e.g. runs/*")],
    out: Annotated[Path, typer.Option(help="the page to write")] = Path("runs/leaderboard.html"),
) -> None:
    """One table over many runs, in the terminal and as a page."""
    from eval.leaderboard import show, write_leaderboard

    board = write_leaderboard(runs, out)
    show(board)
    print(out)


def main(arguments: list[str] | None = None) -> int:
    return run_app(app, arguments)


if __name__ == "__main__":
    sys.exit(main())
