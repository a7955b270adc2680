"""What `python -m eval run` and `list` do, behind their options."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DEFAULT_N = 300  # items of a world, which has no end


def run_benchmark(
    named: str, benchmark: str, *, level: int | None, families: list[str] | None, n: int | None, seed: int, data: Path | None,
    protocol: str | None, strategy: str, options: Sequence[str], controls: Sequence[str], batch_size: int, max_new_tokens: int, instruction: str,
    stage: str | None, out: Path | None, text_model: Path | None = None, model_name: str | None = None,
) -> tuple[dict[str, Any], Path]:  # fmt: skip
    """(row, folder its paths are relative to). The row goes into that folder's results.json, in place of an earlier one of the same measurement.
    `named`: a run, a release, a checkpoint folder, or a server's address, then with the `model_name` it is asked for."""
    from eval.loading import Found, find_model, instruction_of, is_server, load_reasoner, open_server, server_stage
    from eval.report import write_report
    from eval.run import check_request, evaluate, open_benchmark

    bench = open_benchmark(benchmark, data, families)
    line = {"name": strategy, **parse_options(options)}
    check_request(bench, level, protocol, controls, [line])
    policy = open_server(named, model_name, "--model-name", seed) if is_server(named) else None
    found = find_model(named, stage) if policy is None else Found(Path(server_stage(policy.name)), stage or server_stage(policy.name), None)
    root = out or found.run or Path("runs") / f"eval-{found.folder.resolve().name}"
    if n is None and bench.wants == "world":
        n = DEFAULT_N
    if level is None and bench.wants == "world":
        level = bench.source.levels[0]
    model, processor = load_reasoner(found.folder) if policy is None else (policy, None)
    text_only = None if text_model is None else reader(text_model, max_new_tokens, seed)
    row = evaluate(
        model, processor, bench, stage=found.stage, level=level, n=n, seed=seed, protocol=protocol, strategy=line,
        max_new_tokens=max_new_tokens, batch_size=batch_size, controls=controls, root=root, out_dir=stage_dir(root, found.stage) / "eval",
        instruction=instruction or instruction_of(found.run), text_only=text_only,
    )  # fmt: skip
    book(root, row, named)
    write_report(root)
    return row, root


def reader(folder: Path, max_new_tokens: int, seed: int) -> Any:
    """The answerer of a checkpoint that is only asked to read."""
    from eval.answering import build_answerer
    from eval.loading import find_model, load_reasoner
    from eval.provenance import model_fingerprint

    model, processor = load_reasoner(find_model(folder).folder)
    return build_answerer({"name": "greedy"}, model, processor, max_new_tokens=max_new_tokens, seed=seed, fingerprint=model_fingerprint(model))


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """`temperature=1.0 n=16 scorer=prm:runs/x` -> typed values; text where it is no JSON."""
    parsed = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key:
            raise ValueError(f"option {option!r} is not of the form key=value")
        try:
            parsed[key] = json.loads(value)
        except ValueError:
            parsed[key] = value
    return parsed


def stage_dir(root: Path, stage: str) -> Path:
    """The stage's own folder in a run (`1-sft`), otherwise one of its name."""
    return next((p for p in sorted(root.glob(f"stages/*-{stage}")) if p.is_dir()), root / "stages" / stage)


def book(root: Path, row: dict[str, Any], recipe: str) -> None:
    """Put a row into the folder's results."""
    from eval.provenance import commit, device
    from eval.results import SCHEMA, merge_rows, read_results, write_tree

    if (root / "results.json").is_file():
        tree = read_results(root)
    else:
        tree = {"schema": SCHEMA, "recipe": recipe, "commit": commit(), "device": device(), "wall_s": {}, "evaluations": []}
    write_tree(root, {**tree, "evaluations": merge_rows(tree["evaluations"], [row])})


def named_things() -> dict[str, dict[str, str]]:
    """Kind -> name -> a word about it, from the registries."""
    from configs import registry
    from eval.controls import ANSWER_CONTROLS, MEDIA_CONTROLS
    from models.registry import ENCODERS, PROJECTORS, Registry

    tables = [value for value in vars(registry).values() if isinstance(value, Registry)]
    things = {table.kind: dict.fromkeys(table.names(), "") for table in (*tables, ENCODERS, PROJECTORS)}
    for name in registry.BENCHMARKS.names():
        kind = registry.BENCHMARKS.get(name)
        variants = registry.WORLDS.names() if kind.wants == "world" else registry.READERS.names() if kind.wants == "reader" else kind.variants
        note = f" ({', '.join(f'{name}/{v}' for v in variants)})" if variants else ""
        things["benchmark"][name] = "protocols: " + ", ".join(kind.protocols) + note
    things["control"] = dict.fromkeys(MEDIA_CONTROLS, "through the model") | dict.fromkeys(ANSWER_CONTROLS, "no model")
    return things


def show_names(things: dict[str, dict[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for kind, names in sorted(things.items()):
        for i, (name, note) in enumerate(sorted(names.items())):
            table.add_row(f"[bold]{kind}[/]" if i == 0 else "", name, f"[dim]{note}[/]")
    Console().print(table)
