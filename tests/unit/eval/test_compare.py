"""Paired comparison: only items that both answered, and nothing compared that does not compare."""

import pytest

from eval.compare import compare_items, compare_runs, show
from eval.results import read_results, write_results
from eval.run import evaluate


def items(hits, start=0):
    return [{"id": f"i{k + start}", "correct": bool(h), "group": f"g{k + start}", "counted": True} for k, h in enumerate(hits)]


def test_statistics_by_hand():
    # b gains 8 and loses 1 of 40: difference 7 / 40; exact McNemar 2 (1 + 9) / 2^9 = 20 / 512
    a = items([1] * 21 + [0] * 19)
    b = items([1] * 20 + [0] * 1 + [1] * 8 + [0] * 11)
    found = compare_items(a, b)
    assert (found["n"], found["unpaired"], found["only_a"], found["only_b"]) == (40, 0, 1, 8)
    assert found["difference"] == pytest.approx(7 / 40) and found["p"] == pytest.approx(20 / 512) and found["odds_ratio"] == 8
    assert found["ci95"][0] > 0 and found["real"]
    assert found["detectable"] == pytest.approx(2.80158 * (9 / 40 / 40) ** 0.5, abs=1e-4)


def test_unpaired_items_are_counted_and_left_out():
    found = compare_items(items([1, 0, 1]), items([0, 0, 1, 1], start=1))
    assert (found["n"], found["unpaired"], found["score_a"], found["score_b"]) == (2, 3, 0.5, 0.0)
    with pytest.raises(ValueError, match="share no item"):
        compare_items(items([1]), items([1], start=5))


def test_few_discordant_items_prove_nothing():
    assert not compare_items(items([0] * 4 + [1] * 56), items([1] * 60))["real"]  # 0 against 4: p = 1/8


@pytest.fixture
def run(pictures, looker, tmp_path):
    benchmark = pictures(12)

    def build(name, stages, seed=0):
        root = tmp_path / name
        rows = [
            evaluate(None, None, benchmark, stage=stage, n=None, seed=seed, out_dir=root / stage, root=root, answerer=looker(wrong=wrong), media={})
            for stage, wrong in stages.items()
        ]
        write_results(root, {"name": name}, rows, {})
        return root

    return build


def test_runs_and_stages(run, capsys):
    half = [f"item-{i:03d}" for i in range(6)]
    a, b = run("a", {"base": [f"item-{i:03d}" for i in range(12)], "sft": half}), run("b", {"sft": []})
    (last,) = compare_runs(a, b)
    assert (last["score_a"], last["score_b"], last["only_b"]) == (0.5, 1.0, 6)
    (inside,) = compare_runs(a, a, stages=("base", "sft"))
    assert (inside["score_a"], inside["score_b"]) == (0.0, 0.5)
    show([last, inside])
    assert "records" in capsys.readouterr().out


def test_a_strategy_with_several_scorers_is_named_in_full(run):
    a = run("a", {"sft": []})
    tree = read_results(a)
    (row,) = tree["evaluations"]
    searched = [{**row, "strategy": "best_of_n", "samples": 8, "scorer": scorer} for scorer in ("prm", "random")]
    write_results(a, {"name": "a"}, [row, *searched], {})
    assert len(compare_runs(a, a)) == 3
    with pytest.raises(ValueError, match="'best_of_n' fits several rows: name one of 'best of n of 8 by prm', 'best of n of 8 by random'"):
        compare_runs(a, a, strategies=("best_of_n", "greedy"))
    assert len(compare_runs(a, a, strategies=("best of n of 8 by prm", "best of n of 8 by random"))) == 1


def test_rows_that_differ_in_options_alone_are_apart(run):
    a = run("a", {"sft": []})
    (row,) = read_results(a)["evaluations"]
    searched = {**row, "strategy": "best_of_n", "samples": 8, "scorer": "prm"}
    told = {**searched, "decoding": {**row["decoding"], "options": {"aggregate": "min"}}, "per_item": row["per_item"] + "x"}
    dev = {**row, "options": {"split": "dev"}, "per_item": row["per_item"] + "y"}
    (a / told["per_item"]).write_text((a / row["per_item"]).read_text())
    (a / dev["per_item"]).write_text((a / row["per_item"]).read_text())
    write_results(a, {"name": "a"}, [row, searched, told, dev], {})
    names = {c["a"] for c in compare_runs(a, a)}
    assert len(names) == 4 and any("by prm (aggregate min) after" in name for name in names) and any(" (split dev) " in name for name in names)
    assert len(compare_runs(a, a, strategies=("best of n of 8 by prm (aggregate min)", "greedy"))) == 1
    with pytest.raises(ValueError, match="fits several rows"):
        compare_runs(a, a, strategies=("best_of_n", "greedy"))


def test_what_cannot_be_compared_is_explained(run):
    a, b = run("a", {"sft": []}), run("b", {"sft": []}, seed=5)
    with pytest.raises(ValueError, match=r"nothing to compare: .*seed 0.*seed 5"):
        compare_runs(a, b)
    with pytest.raises(ValueError, match="nothing"):
        compare_runs(a, a, stages=("sft", "prm"))
