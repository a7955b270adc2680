"""Options of a recipe line bound to the function it names, so that a wrong one ends the run before any work."""

import functools
import inspect
from collections.abc import Callable
from typing import Any


def bind(name: str, function: Callable[..., Any], options: dict[str, Any], given: int = 1) -> Callable[..., Any]:
    """`function` with its options; its first `given` parameters are left to the caller. Unknown or missing options are a `ValueError`."""
    parameters = list(inspect.signature(function).parameters.values())[given:]
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        known += list(options)
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{name!r} has no option {unknown[0]!r} (options: {', '.join(known) or 'none'})")
    if missing := [p.name for p in parameters if p.name in known and p.default is p.empty and p.name not in options]:
        raise ValueError(f"{name!r} needs the option {missing[0]!r}")
    return functools.partial(function, **options)


def bind_line(line: dict[str, Any], lookup: Callable[[str], Callable[..., Any]], given: int = 1) -> Callable[..., Any]:
    """The same for a recipe line `{name, **options}`; `lookup` finds the function."""
    if "name" not in line:
        raise ValueError(f"{line} needs a name")
    return bind(line["name"], lookup(line["name"]), {k: v for k, v in line.items() if k != "name"}, given)
