"""Every recipe that ships parses, strictly, and survives its own resolved form."""

from pathlib import Path

import pytest
import yaml

from configs.load import dump, load_recipe, to_yaml

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES)
def test_recipe_parses_and_its_resolved_form_is_the_same_recipe(path, tmp_path):
    recipe = load_recipe(ROOT / path)
    resolved = tmp_path / "recipe.yaml"
    resolved.write_text(to_yaml(recipe))
    assert dump(load_recipe(resolved)) == dump(recipe)
    assert yaml.safe_load(resolved.read_text())["name"] == recipe.name


@pytest.mark.parametrize("path", RECIPES)
def test_an_unknown_key_in_any_recipe_is_refused_by_name(path):
    with pytest.raises(ValueError, match=r"sede.*seed"):
        load_recipe(ROOT / path, ["sede=1"])
