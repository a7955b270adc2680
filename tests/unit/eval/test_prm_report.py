"""What a run's report says of its process reward model, from the lines that training left."""

import json
from types import SimpleNamespace

import pytest

from eval.prm_report import find_scored, plot_reliability, read_scores, section, show_prm, table, write_metrics

LINES = [
    {"id": "a", "modality": "image", "level": 1, "count": 2, "kinds": ["perception"], "scores": [0.9, 0.8], "labels": [1, 1], "pass_rate": 0.5},
    {"id": "a", "modality": "image", "level": 1, "count": 1, "kinds": ["perception"], "scores": [0.1, 0.3], "labels": [0, 0], "pass_rate": 0.5},
    {"id": "b", "modality": "audio", "level": 2, "count": 1, "kinds": ["reasoning"], "scores": [0.7, 0.6], "labels": [1, 0], "pass_rate": 0.0},
]


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "stages" / "2-prm"
    folder.mkdir(parents=True)
    (folder / "step_scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    report = {"sources": {"monte_carlo": 3}, "unmeasured": 0.25, "agreement": {"steps": 0.9}, "noise": {"completions": 15.5, "sd": 0.1}}
    (folder / "label_report.json").write_text(json.dumps(report))
    return tmp_path


def test_section_and_files(run):
    html = str(section(SimpleNamespace(run_dir=run)))
    folder = run / "stages" / "2-prm"
    assert "<h3>prm <span>4 held-out solutions of 2 questions</span></h3>" in html
    assert "monte_carlo; 25.0 % of the steps unmeasured; 90.0 % agree with the exact verifier; 15.5 completions" in html
    assert html.count("<svg") == 2 and "reliability of the answers" in html
    assert json.loads((folder / "prm_metrics.json").read_text())["all"]["answers"]["auroc"] == 1.0
    assert (folder / "reliability.png").read_bytes()[:4] == b"\x89PNG"
    assert section(SimpleNamespace(run_dir=folder.parent / "none")) is None


def test_table_leaves_out_what_is_not_there(run):
    rows = table(write_metrics(run / "stages" / "2-prm"))
    assert rows[0][:2] == ["", "modality"]
    assert ["perception", "audio"] not in [row[:2] for row in rows] and ["reasoning", "audio"] in [row[:2] for row in rows]
    assert next(row for row in rows if row[:2] == ["answers", "audio"])[4] == "-"  # one class alone has no AUROC


def test_the_command_prints_and_tells_what_is_missing(run, tmp_path, capsys):
    show_prm(run)
    said = capsys.readouterr().out
    assert "first error: F1 1.000" in said and "macro F1" in said
    show_prm(run, as_json=True)
    assert json.loads(capsys.readouterr().out)[str(run / "stages" / "2-prm")]["all"]["solutions"] == 4
    with pytest.raises(ValueError, match="give its prm stage heldout"):
        show_prm(tmp_path / "stages" / "none")


def test_broken_lines_are_named(run):
    path = run / "stages" / "2-prm" / "step_scores.jsonl"
    path.write_text(json.dumps(LINES[0]) + "\n" + json.dumps(LINES[1] | {"labels": [1]}) + "\n")
    with pytest.raises(ValueError, match=r"step_scores.jsonl, line 2: scores, labels and kinds"):
        read_scores(path)
    assert find_scored(path.parent) == [path.parent]


def test_plot_without_answers(tmp_path, run):
    metrics = write_metrics(run / "stages" / "2-prm")
    metrics["all"]["answers"] = None
    assert plot_reliability(metrics, tmp_path / "x.png").stat().st_size > 5000
