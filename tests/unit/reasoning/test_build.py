"""From a line to a strategy with its scorer; the examples of docs/search.md."""

import re
from pathlib import Path

import pytest
import yaml

from configs.registry import SCORERS, STRATEGIES
from configs.schema import EvaluationConfig
from reasoning.build import build_strategy
from tests.unit.reasoning.toy import ToyPolicy, solution, toy

PAGE = Path(__file__).resolve().parents[3] / "docs" / "search.md"


def test_a_line_in_words(tmp_path):
    strategy, scorer = build_strategy({"name": "best_of_n", "n": 4, "temperature": 0.7, "scorer": "prm:some/dir", "aggregate": "min"})
    assert (strategy.name, strategy.samples, strategy.config.temperature) == ("best_of_n", 4, 0.7)
    assert (scorer.name, scorer.config.path, scorer.config.aggregate) == ("prm_min", "some/dir", "min")
    told = {"name": "prm", "path": "C:/a:b", "aggregate": "geo"}
    assert build_strategy({"name": "best_of_n", "scorer": told})[1].config.path == "C:/a:b"
    assert build_strategy({"name": "best_of_n", "scorer": "orm"}, tmp_path)[1].config.path == str(tmp_path)  # the run's own
    assert build_strategy({"name": "best_of_n", "scorer": "random"}, tmp_path, seed=5)[1].seed == 5
    assert build_strategy({})[0].name == "greedy"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"name": "best_of_m"}, "unknown strategy 'best_of_m'; did you mean 'best_of_n'"),
        ({"name": "beam", "n": 6, "scorer": "oracle"}, "not a multiple of width"),
        ({"name": "beam", "width": 0, "scorer": "oracle"}, "strategy 'beam': width 0"),
        ({"name": "best_of_n", "scorer": {"path": "x"}}, "has no name"),
        ({"name": "best_of_n", "scorer": "prm:x", "agregate": "min"}, "scorer 'prm' has no option 'agregate'"),
    ],
)
def test_wrong_lines(line, message):
    with pytest.raises(ValueError, match=message):
        build_strategy(line)


def test_every_strategy_and_scorer_of_the_page_exists():
    text = PAGE.read_text()
    for kind, table in (("Strategies", STRATEGIES), ("Scorers", SCORERS)):
        part = text.partition(f"## {kind}\n")[2].partition("\n## ")[0]
        rows = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
        assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(table.names())


def test_the_recipe_of_the_page_is_one(tmp_path):
    block = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    for line in yaml.safe_load(block)["evaluate"]:
        for strategy in EvaluationConfig(**line).strategies:
            assert build_strategy(strategy, tmp_path)[0].name == strategy["name"]


def test_the_python_of_the_page_runs():
    before = dict(STRATEGIES._objects), dict(SCORERS._objects)
    try:
        names: dict = {"__name__": "docs_example"}
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            exec(compile(block, "search.md", "exec"), names)
        strategy, _ = build_strategy({"name": "first", "n": 3})
        assert strategy.run(toy(), ToyPolicy({"toy-0": ["", solution(1, 2, 4), solution(1, 2, 3)]})).answer == "7"
        best, scorer = build_strategy({"name": "best_of_n", "n": 2, "scorer": "longest"})
        assert best.run(toy(), ToyPolicy({"toy-0": [solution(1, 2, 3), solution(1, 2, 30)]}), scorer).answer == "33"
    finally:
        STRATEGIES._objects, SCORERS._objects = before
