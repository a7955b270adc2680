"""From a recipe file and `key=value` overrides to a checked `Recipe`. A `base:` key inherits another file's keys; lists are replaced, never
merged."""

import difflib
from pathlib import Path
from typing import Any, get_args

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from yaml import YAMLError

from configs.registry import STAGES
from configs.schema import Recipe


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """The recipe of a YAML file with overrides applied (`seed=1`, `stages.1.lr=1e-5`, or by stage name `stages.sft.lr=1e-5`).

    Every mistake is a `ValueError` that names the file, the key, and the nearest valid key.
    """
    tree = _read(Path(path), ())
    for override in overrides or []:
        _apply(tree, override)
    try:
        plain = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"{path}: {error}") from None
    try:
        return Recipe(**plain)
    except ValidationError as error:
        raise ValueError(f"{path}: {_explain(error, plain)}") from None


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe, as it is written into the run directory."""
    return OmegaConf.to_yaml(OmegaConf.create(dump(recipe)))


def dump(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data; stages keep the fields of their own kinds."""
    return recipe.model_dump(mode="json") | {"stages": [stage.model_dump(mode="json") for stage in recipe.stages]}


def _read(path: Path, seen: tuple[Path, ...]) -> DictConfig:
    if not path.is_file():
        raise ValueError(f"no recipe at {path}")
    if path in seen:
        raise ValueError(f"{path}: base inherits from itself")
    try:
        tree = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException) as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(tree, DictConfig):
        raise ValueError(f"{path}: a recipe is a mapping of keys to values")
    base = tree.pop("base", None)
    return tree if base is None else OmegaConf.merge(_read(path.parent / base, (*seen, path)), tree)


def _apply(tree: DictConfig, override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ValueError(f"override {override!r} is not of the form key=value")
    parts = key.split(".")
    if parts[0] == "stages" and len(parts) > 1 and not parts[1].isdigit():
        names = [stage.get("name") for stage in tree.get("stages") or []]
        if parts[1] not in names:
            raise ValueError(f"override {override!r}: no stage is called {parts[1]!r} (stages: {', '.join(map(str, names))})")
        parts[1] = str(names.index(parts[1]))
    try:
        parsed = OmegaConf.create(f"value: {value}") if value else OmegaConf.create({"value": None})
        node = parsed._get_node("value") if isinstance(parsed["value"], (DictConfig, ListConfig)) else parsed["value"]
        OmegaConf.update(tree, ".".join(parts), node, merge=False, force_add=True)
    except (YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
        raise ValueError(f"override {override!r}: {error}") from None


def _explain(error: ValidationError, plain: dict) -> str:
    """One line per mistake; an unknown key comes with the nearest valid one."""
    lines = []
    for item in error.errors():
        where = ".".join(str(p) for p in item["loc"])
        if item["type"] == "extra_forbidden":
            known = _fields_at(item["loc"][:-1], plain)
            near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
            lines.append(f"unknown key {where!r}" + (f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})"))
        else:
            lines.append(f"{where + ': ' if where else ''}{item['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)


def _fields_at(loc: tuple, plain: dict) -> list[str]:
    """The valid keys where a key was unknown: walk the schema along the location as far as it is typed."""
    model: Any = Recipe
    if len(loc) > 1 and loc[0] == "stages":  # a stage has the keys of its kind
        model, loc = STAGES.get(plain["stages"][loc[1]]["kind"]).config_class, loc[2:]
    for part in loc:
        field = model.model_fields.get(part)
        model = _nested(field.annotation) or model if field else model
    return sorted(model.model_fields)


def _nested(annotation: Any) -> type[BaseModel] | None:
    """The first configuration class inside an annotation such as `dict[str, SourceConfig]` or `LoraSettings | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _nested(inner))), None)
