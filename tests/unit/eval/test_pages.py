"""Every benchmark has a page that names its protocols, where its data come from and how to cite it; what the pages say of commands is true."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from configs.registry import BENCHMARKS

PAGES = Path(__file__).resolve().parents[3] / "docs" / "benchmarks"
NAMES = [name for name in BENCHMARKS.names() if name != "records"]  # one's own questions: docs/your_data.md


def page_of(name: str) -> str:
    kind = BENCHMARKS.get(name)
    return (PAGES / f"{getattr(kind, 'page', '') or name}.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_a_reader_needs(name):
    text, kind = page_of(name), BENCHMARKS.get(name)
    for part in ("**Format.**", "**Protocols.**", "**How to obtain.**", "**How to cite.**"):
        assert part in text, part
    assert name == "world" or re.search(r"\*\*What (?:the official rule gets wrong|is easily misread|to read beside it)\.", text)
    for protocol in kind.protocols:
        assert f"`{protocol}`" in text or f"`…_{protocol.removeprefix('multi_answer_')}`" in text or protocol.endswith("with_empty_partial"), protocol
    if name != "world":
        assert re.search(r"arXiv \d{4}\.\d{5}", text), "how to cite"
        source = Path(sys.modules[kind.__module__].__file__).read_text()
        assert f"docs/benchmarks/{kind.page or name}.md" in source


def test_the_index_links_to_every_page():
    index = (PAGES / "README.md").read_text()
    linked = set(re.findall(r"\]\((\w+)\.md\)", index))
    assert linked == {path.stem for path in PAGES.glob("*.md")} - {"README"}
    assert all(name in index for name in NAMES)


def test_commands_in_pages_exist():
    from eval.__main__ import app

    commands = set()
    for path in PAGES.glob("*.md"):
        commands |= set(re.findall(r"python -m eval ([^`#\n]+)", path.read_text()))
    assert len(commands) > 5
    for line in commands:
        words = shlex.split(line)
        told = CliRunner().invoke(app, [words[0], "--help"], env={"COLUMNS": "200"})
        assert told.exit_code == 0, line
        assert all(word in told.output for word in words if word.startswith("--")), line
