"""The heat map of token weights: which groups are shown, how text is cut into shades, and that nothing in a completion reaches the page as markup."""

import json
from types import SimpleNamespace

import pytest

from eval.report_rollouts import GROUPS, LEVELS, collect, group, section, spans


def row(step, weights=((1.0, 1.7), (1.0, 1.0)), tokens=("a", "b")):
    rollouts = [
        {"tokens": list(tokens), "weights": list(w), "reward": float(i), "advantage": i - 0.5, "parts": {"soft_choice": float(i)}}
        for i, w in enumerate(weights)
    ]
    return {"step": step, "id": f"r{step}", "question": "Which?", "options": ["x", "y"], "answer": ["B"], "rollouts": rollouts}


def write(run_dir, rows, stage="1-tw_grpo"):
    folder = run_dir / "stages" / stage
    folder.mkdir(parents=True)
    (folder / "rollouts.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"step": 99, "cut')
    return SimpleNamespace(run_dir=run_dir)


def test_text_is_cut_where_the_shade_changes():
    # Range 1 to 1.8 in 8 shades of 0.1: 1.0 and 1.05 share the lowest, 1.35 is the fourth, 1.8 belongs to the highest.
    pieces = spans(["a", "b", "c", "d"], [1.0, 1.05, 1.35, 1.8], 1.0, 1.8)
    assert [(p["level"], p["text"]) for p in pieces] == [(0, "ab"), (3, "c"), (LEVELS - 1, "d")]
    assert pieces[0]["weight"] == pytest.approx(1.025)
    assert [p["level"] for p in spans(["a", "b"], [1.0, 1.0], 1.0, 1.0)] == [0]
    assert spans([], [], 1.0, 1.0) == []


def test_the_best_comes_first_with_its_advantage_as_a_share():
    shown = group(row(1))
    assert [r["reward"] for r in shown["rollouts"]] == [1.0, 0.0]
    assert [r["share"] for r in shown["rollouts"]] == [1.0, 1.0]
    assert (shown["low"], shown["high"], shown["even"], shown["answer"]) == (1.0, 1.7, False, "B")
    assert shown["rollouts"][0]["parts"] == "soft choice 1"
    assert group(row(1, weights=((1.0, 1.0), (1.0, 1.0))))["even"]


def test_groups_are_spread_over_the_steps_and_a_cut_line_is_left_out(tmp_path):
    write(tmp_path, [row(step) for step in range(1, 200, 20)])
    (stage,) = collect(tmp_path)
    assert stage["name"] == "tw_grpo" and stage["kept"] == 10
    assert [g["step"] for g in stage["groups"]] == [1, 61, 121, 181] and len(stage["groups"]) == GROUPS


def test_nothing_to_show_is_no_section(tmp_path):
    assert section(SimpleNamespace(run_dir=tmp_path)) is None


def test_completions_are_text_and_never_markup(tmp_path):
    html = section(write(tmp_path, [row(1, tokens=("<script>", "alert(1)</script>"))]))
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert "weight 1.00" in html and "advantage +0.50" in html and 'class="down"' in html


def test_the_report_has_the_section(tmp_path):
    from eval.report import SECTIONS, write_report

    assert "rollouts" in [s.id for s in SECTIONS]
    write(tmp_path, [row(1)])
    assert "the best rewarded first" in write_report(tmp_path).read_text()
