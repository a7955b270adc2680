"""Accuracy against cost: what is swept, what a point holds, equal costs, the picture."""

import json
from types import SimpleNamespace

import pytest

from eval.budget import at_equal_cost, curves, draw, lines_of, points_of, write_budget
from eval.report_search import section
from tests.unit.eval.test_answering import row_of
from tests.unit.reasoning.toy import ToyPolicy


def test_the_lines_of_a_sweep():
    lines = lines_of(("greedy", "majority", "best_of_n", "beam"), [2, 4, 2], "prm:DIR", 0.7)
    assert lines[0] == {"name": "greedy"} and lines[1] == {"name": "majority", "n": 4, "temperature": 0.7}
    assert [(line["n"], line["scorer"]) for line in lines if line["name"] == "best_of_n"] == [
        (n, s) for n in (4, 2) for s in ("prm:DIR", "random", "shortest", "oracle")
    ]
    assert [(line["n"], line["width"]) for line in lines if line["name"] == "beam"] == [(4, 4), (2, 2)]
    assert lines_of(("sample",), [1], None, 0.5) == [{"name": "sample", "temperature": 0.5}]
    with pytest.raises(ValueError, match="n of at least 1, not 0"):
        lines_of(("majority",), [0, 2], None, 1.0)
    with pytest.raises(ValueError, match="'best_of_n' needs a scorer"):
        lines_of(("best_of_n",), [2], None, 1.0)


def test_a_sweep_on_the_toy_problem(tmp_path):
    lines = lines_of(("greedy", "majority", "best_of_n"), [1, 4], "oracle", 1.0, controls=False)
    rows = [row_of(ToyPolicy(), line, tmp_path, root=tmp_path) for line in lines]
    tree = write_budget(tmp_path, "toy", rows, "budget-toy")
    assert json.loads((tmp_path / "budget-toy.json").read_text()) == tree
    assert (tmp_path / "budget-toy.png").read_bytes()[:4] == b"\x89PNG"
    assert "data:image/png" in section(SimpleNamespace(rows=rows, run_dir=tmp_path))
    best = next(p for p in tree["points"] if p["strategy"] == "best_of_n" and p["n"] == 4)
    voted = next(p for p in tree["points"] if p["strategy"] == "majority" and p["n"] == 4)
    assert best["against_majority"]["difference"] == pytest.approx(best["score"] - voted["score"]) and "against_majority" not in voted
    assert best["total"] == voted["total"] and best["items"] == 12 and best["ci95"][0] <= best["score"] <= best["ci95"][1]
    one = [p for p in tree["points"] if p["n"] == 1 and p["strategy"] != "greedy"]
    assert len({p["score"] for p in one}) == 1  # of one sample every rule takes that one
    assert points_of(rows[:1], tmp_path)[0]["n"] == 1
    assert list(curves(tree["points"])) == ["greedy", "majority", "best_of_n · oracle"]


def test_majority_at_equal_cost_is_read_between_its_neighbours():
    def point(strategy, n, total, score, scorer=None):
        return {"strategy": strategy, "scorer": scorer, "n": n, "total": total, "score": score}

    points = [
        point("majority", 1, 100, 0.4),
        point("majority", 4, 400, 0.6),
        point("best_of_n", 2, 200, 0.7, "prm"),
        point("best_of_n", 8, 900, 0.8, "prm"),
    ]
    half, beyond = at_equal_cost(points)
    assert half["majority"] == pytest.approx(0.5) and half["matched"]  # 200 lies half way between 100 and 400 in log tokens
    assert beyond["majority"] == 0.6 and not beyond["matched"]
    assert at_equal_cost(points[2:]) == []


def test_the_picture_needs_nothing_but_points(tmp_path):
    point = {"strategy": "greedy", "scorer": None, "n": 1, "score": 0.5, "ci95": [0.4, 0.6], "sequential": 0.0, "total": 20.0}
    assert draw([point], "one point", tmp_path / "deep" / "x.png").stat().st_size > 1000
