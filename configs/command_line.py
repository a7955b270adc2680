"""What the command lines of data, eval and bench share: a user's mistake is one line and exit code 2, everything else keeps its traceback."""

import sys
from typing import Any


def run_app(app: Any, arguments: list[str] | None = None) -> int:
    """Run a typer application; returns its exit code. With `--debug` among the arguments a user's mistake is raised too."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        app(given, standalone_mode=True)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except (ValueError, OSError) as error:
        if "--debug" in given:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
