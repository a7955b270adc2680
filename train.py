"""A recipe in, a run directory out:  python train.py configs/quickstart.yaml [key=value …] [--dry-run] [--runs DIR] [--debug]"""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="train.py", description="Run a recipe, or resume it where it stopped.")
    parser.add_argument("recipe", help="a YAML file, e.g. configs/quickstart.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. seed=1 stages.sft.lr=1e-4 data.root=/data")
    parser.add_argument("--runs", default="runs", help="where run directories go (default: runs)")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe, sizes and a memory estimate; do no work")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of user errors too")
    options = parser.parse_intermixed_args(arguments)  # overrides may stand before and behind options
    try:
        return _run(options)
    except (ValueError, OSError) as error:  # a user's mistake, or a file that cannot be read or written; everything else keeps its traceback
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    from configs.load import load_recipe
    from eval.run import check_evaluations, run_evaluations

    recipe = load_recipe(options.recipe, options.overrides)
    check_evaluations(recipe)
    if options.dry_run:
        from training.dry_run import describe

        print(describe(recipe))
        return 0
    from eval.report import write_report
    from eval.results import write_results
    from training.run import Judge, run

    run_dir = run(recipe, Path(options.runs) / recipe.name, Judge(run_evaluations, write_results, write_report))
    print(f"done: {run_dir / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
