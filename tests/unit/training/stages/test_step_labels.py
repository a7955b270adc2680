"""The step_labels stage: solutions of the policy as a labelled file that the prm stage learns from, whole after a cut."""

import json

import pytest
import yaml

from data.record import read_jsonl
from data.solutions import read_solutions
from training.stages.step_labels import StepLabelsConfig

STAGE = {"name": "labels", "kind": "step_labels", "mixture": {"easy": 1.0}, "batches": 3, "batch_size": 2, "num_generations": 2, "max_new_tokens": 4}


def flow(*stages):
    return f"stages={yaml.safe_dump(list(stages), default_flow_style=True).strip()}"


def test_labelled_solutions_with_their_media_and_a_report(start):
    folder = start(flow(STAGE | {"inject": 1, "critiques": True})) / "stages/0-labels"
    solutions = list(read_solutions(folder / "step_labels.jsonl"))
    assert len({s.record.id for s in solutions}) == 6
    # `corrupt` gives the second solution of each prompt and the injected one: the same error is one solution.
    assert {s.source for s in solutions} == {"verifier", "injected"}
    for s in solutions:
        assert (folder / s.record.media[0].path).is_file() and s.labels == s.exact
        assert len(s.kinds) == len(s.steps) and s.kinds[0] == "perception"
    report = json.loads((folder / "label_report.json").read_text())
    assert report["agreement"]["steps"] == 1.0 and report["unmeasured"] == 0.0 and 0 < report["right"] < 1
    critiques = list(read_jsonl(folder / "critiques.jsonl"))
    answers = {c.answer[0] for c in critiques}
    assert "none" in answers and len(answers) > 1 and all(a == "none" or a.isdigit() for a in answers)
    assert json.loads((folder / "done.json").read_text())["solutions"] == len(solutions)
    assert not (folder / "parts").exists()


def test_a_cut_run_writes_the_same_file(start, monkeypatch):
    from training import step_labeller

    whole = (start("name=whole", flow(STAGE)) / "stages/0-labels/step_labels.jsonl").read_text()
    labelled, calls = step_labeller.label, []

    def cut(*args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return labelled(*args)

    with monkeypatch.context() as patch:
        patch.setattr(step_labeller, "label", cut)
        with pytest.raises(KeyboardInterrupt):
            start("name=cut", flow(STAGE))
    assert (start("name=cut", flow(STAGE)) / "stages/0-labels/step_labels.jsonl").read_text() == whole


def test_a_prm_learns_from_the_file(start):
    made = start("name=made", flow(STAGE)) / "stages/0-labels/step_labels.jsonl"
    prm = {"name": "prm", "kind": "prm", "solutions": str(made), "steps": 2, "batch_size": 3, "num_workers": 0, "lr": 0.01}
    folder = start("name=learned", flow(prm))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] == pytest.approx(0.693147, abs=1e-5) and rows[0]["pass_rate"] == pytest.approx(0.5, abs=0.35)
    assert json.loads((folder / "stages/0-prm/done.json").read_text())["label_source"] == "verifier"
    with pytest.raises(ValueError, match=r"either mixture .* or solutions"):
        start("name=both", flow(prm | {"mixture": {"easy": 1.0}}))


def test_batches_count_as_steps():
    assert StepLabelsConfig(**STAGE).steps == 3


def test_a_prm_learns_from_foreign_solutions_whose_steps_alone_are_labelled(start, tmp_path):
    from data.step_formats import convert

    rows = [{"problem": f"{i} + 1?", "steps": ["red: 7", f"sum: {i}"], "label": i % 2 - 1, "id": str(i)} for i in range(6)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    convert("processbench", "focal", tmp_path / "rows.json", tmp_path / "ours.jsonl")
    prm = {"name": "prm", "kind": "prm", "solutions": str(tmp_path / "ours.jsonl"), "steps": 2, "batch_size": 3, "num_workers": 0, "lr": 0.01}
    folder = start("name=foreign", flow(prm))
    first = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(0.693147, abs=1e-5) and first["unmeasured"] > 0
    assert json.loads((folder / "stages/0-prm/done.json").read_text())["label_source"] == "processbench"
