"""What the documentation says is true: its examples run, its files exist, its recipes parse."""

import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
import yaml

import configs.registry
import models.registry
import train
from configs.registry import REWARDS, TRANSFORMS, WORLDS
from data import protocol
from data.record import Record, Step
from data.verdict import Verdict
from models.registry import PROJECTORS, Registry
from training.rewards.rollout import Rollout

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@pytest.fixture
def examples():
    """Runs every Python block of a page, and takes what it registered out again."""
    tables = (REWARDS, TRANSFORMS, WORLDS, PROJECTORS)
    before = [dict(table._objects) for table in tables]

    def run(page: str) -> dict:
        names = {"__name__": "docs_example"}
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL):
            exec(compile(block, page, "exec"), names)
        return names

    yield run
    for table, objects in zip(tables, before, strict=True):
        table._objects = objects


def test_the_example_world_is_sound(examples):
    examples("adding_a_component.md")
    world = WORLDS.get("shade")()
    for seed in range(20):
        sample = world.sample(1, seed, "train")
        verdict = world.verify(sample.record.validate(), protocol.completion(sample.record))
        assert (verdict.answer_ok, verdict.format_ok, verdict.steps) == (True, True, ["ok"])
        wrong = "B" if sample.record.answer == ["A"] else "A"
        assert not world.verify(sample.record, f"<think></think><answer>{wrong}</answer>").answer_ok
        assert (sample.media[0].array.mean() >= 128) == (sample.record.steps[0].value == "bright")
    assert np.array_equal(world.sample(1, 5).media[0].array, world.sample(1, 5).media[0].array)


def test_the_example_transform_leaves_a_share_alone(examples):
    examples("adding_a_component.md")
    transform = TRANSFORMS.get("without_steps")
    records = [Record(f"r{i}", "q", ["a"], "text", steps=[Step("s")]) for i in range(400)]
    changed = [transform(record, 0, keep=0.25) for record in records]
    assert all(c.steps is None and c.id == r.id for c, r in zip(changed, records, strict=True) if c)
    assert abs(changed.count(None) - 100) < 4 * (400 * 0.25 * 0.75) ** 0.5
    assert transform(Record("r", "q", ["a"], "text"), 0) is None


def test_every_registry_is_in_the_table_of_kinds():
    page = (ROOT / "docs/adding_a_component.md").read_text()
    found = {n for module in (configs.registry, models.registry) for n, table in vars(module).items() if isinstance(table, Registry)} - {"BENCHES"}
    assert set(re.findall(r"^\| [\w -]+ \| `(\w+)` \|", page, re.MULTILINE)) == found


def test_the_example_projector_counts_as_it_projects(examples):
    examples("adding_a_component.md")
    cls = PROJECTORS.get("first")
    projector = cls(cls.config_class(keep=3), 6, 10)
    tokens, counts = projector(torch.ones(2, 5, 6), torch.tensor([5, 2]))
    assert tokens.shape == (2, 3, 10)
    assert counts.tolist() == [projector_count(cls, 5), projector_count(cls, 2)] == [3, 2]


def projector_count(cls, count):
    return cls.config_class(keep=3).num_tokens(count)


def test_the_example_reward_reads_the_verdict(examples):
    examples("adding_a_component.md")
    reward = REWARDS.get("seen_before_said")
    verdicts = [(True, ["ok"]), (True, ["wrong"]), (False, ["ok"]), (True, [])]
    rollouts = [Rollout(None, "", Verdict(ok, float(ok), True, steps, None, 0.0, "ok"), 5) for ok, steps in verdicts]
    assert [reward(rollout) for rollout in rollouts] == [1.0, 0.0, 0.0, 0.0]


@each_page
def test_files_that_a_page_names_exist(page):
    named = set(re.findall(r"`((?:configs|data|models|training|reasoning|eval|bench|tests|docs)/[\w./-]*)`", page.read_text()))
    named |= {f"{page.parent.relative_to(ROOT)}/{link}" for link in re.findall(r"\]\(([\w./-]+)\)", page.read_text())}
    made_by_a_run = re.compile(r"(^|/)runs/")
    assert [name for name in sorted(named) if not made_by_a_run.search(name) and not (ROOT / name).exists()] == []


@each_page
def test_recipes_that_a_page_starts_exist(page):
    commands = re.findall(r"train\.py\s+(configs/[\w./-]+\.yaml)", page.read_text())
    assert [recipe for recipe in commands if not (ROOT / recipe).is_file()] == []


def documented_commands(page: Path) -> list[str]:
    """Every `python -m PACKAGE …` and `python train.py …` of a page: whole lines of its blocks, with what a backslash continues, and inline code."""
    text = page.read_text().replace("\\\n", " ")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.splitlines()] + re.findall(r"`([^`]+)`", prose)
    return [line for line in lines if re.match(r"python (-m|train\.py) ", line)]


def taken(command: str, monkeypatch) -> bool:
    """Whether the argument parser that a command names takes it; nothing behind the parser is run. Of what is shortened (to its name, or
    by `…`) the options that it does name must exist: parsers look at them all before they give help."""
    _, entry, *words = shlex.split(command, comments=True)
    package, *words = words if entry == "-m" else [entry, *words]
    words += ["--help"] if len(words) == 1 or "…" in words else []
    try:
        if package == "train.py":
            monkeypatch.setattr(train, "_run", lambda options: 0)
            return train.main(words) == 0
        main = importlib.import_module(f"{package}.__main__")
        if package == "models":
            return bool(main.parser().parse_args(words))
        known = typer.main.get_command(main.app)
        for each in getattr(known, "commands", {"": known}).values():
            each.callback = lambda **given: None
        known.main(words)
    except SystemExit as stop:
        return not stop.code
    return True


@each_page
def test_commands_that_a_page_shows_are_ones_that_the_command_lines_take(page, monkeypatch):
    assert [command for command in documented_commands(page) if not taken(command, monkeypatch)] == []


def test_the_check_of_commands_finds_them_and_refuses_what_does_not_exist(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    block = "python -m eval run --model a \\\n  --benchmark b   # why\npython train.py x.yaml --wet\n"
    page.write_text(f"Ask `python -m eval list`.\n```bash\n{block}```\n")
    found = documented_commands(page)
    assert [shlex.split(line, comments=True)[-1] for line in found] == ["b", "--wet", "list"]
    assert [taken(command, monkeypatch) for command in found] == [True, False, True]
    wrong = ("models ask x --question q --wet", "eval run --model a --benchmark b --wet", "eval ran", "bench … --wet")
    assert not any(taken(f"python -m {command}", monkeypatch) for command in wrong)


def test_citation_names_title_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["license"], citation["version"]) == ("Apache-2.0", "0.1.0")
    assert f'version = "{citation["version"]}"' in (ROOT / "pyproject.toml").read_text()
