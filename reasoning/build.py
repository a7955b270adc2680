"""From a line of a recipe or a command to a strategy and its scorer: `{name: best_of_n, n: 8, scorer: prm:DIR, temperature: 1.0}`."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from configs.registry import SCORERS, STRATEGIES
from reasoning.scorers.base import Scorer
from reasoning.strategies.base import Strategy


def build_strategy(line: dict[str, Any], run_dir: Path | None = None, seed: int = 0) -> tuple[Strategy, Scorer | None]:
    """Options that the strategy does not know are the scorer's. A scorer that is a model and has no path is looked for in `run_dir`. Wrong names
    and values are `ValueError`s that name them."""
    options = dict(line)
    name = options.pop("name", "greedy")
    made = STRATEGIES.get(name)
    wanted = options.pop("scorer", None)
    own = {k: options.pop(k) for k in list(options) if k in made.config_class.model_fields}
    if options and wanted is None:
        raise ValueError(f"strategy {name!r} has no option {next(iter(options))!r} (options: {', '.join(made.config_class.model_fields)}, scorer)")
    scorer = None if wanted is None else build_scorer(wanted, options, run_dir, seed)
    strategy = made(checked(made.config_class, own, f"strategy {name!r}"))
    strategy.check_scorer(scorer)
    return strategy, scorer


def build_scorer(wanted: str | dict[str, Any], options: dict[str, Any], run_dir: Path | None, seed: int) -> Scorer:
    """`prm`, `prm:DIR`, or `{name: prm, path: DIR, aggregate: min}`."""
    told = dict(wanted) if isinstance(wanted, dict) else dict(zip(("name", "path"), str(wanted).split(":", 1), strict=False))
    name = told.pop("name", None)
    if name is None:
        raise ValueError(f"scorer {wanted!r} has no name")
    made = SCORERS.get(name)
    told |= options
    if made.takes_path and told.get("path") is None and run_dir is not None:
        told["path"] = str(run_dir)
    if not made.takes_path and told.get("path") is not None:
        raise ValueError(f"scorer {name!r} is no model and takes no path ({told['path']!r})")
    return made(checked(made.config_class, told, f"scorer {name!r}"), seed)


def checked(config_class: Any, options: dict[str, Any], what: str) -> Any:
    try:
        return config_class(**options)
    except ValidationError as error:
        first = error.errors()[0]
        key = first["loc"][0] if first["loc"] else "options"
        if first["type"] == "extra_forbidden":
            raise ValueError(f"{what} has no option {key!r} (options: {', '.join(config_class.model_fields)})") from None
        raise ValueError(f"{what}: {key} {first['input']!r}: {first['msg'].removeprefix('Value error, ')}") from None
