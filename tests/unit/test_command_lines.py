"""`--help` answers at once, importing no heavy library; a user's mistake exits 2, without a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = [
    "torch",
    "torchaudio",
    "torchvision",
    "transformers",
    "open_clip",
    "timm",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "decord",
    "av",
    "matplotlib",
]
ENTRIES = sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "train.py", *ROOT.glob("*/__main__.py")] if path.exists())
# Runs an entry point in a fresh interpreter and prints, as the last line, which heavy libraries it imported.
PROBE = """
import json, runpy, sys
sys.path.insert(0, {root!r})
entry, sys.argv = {entry!r}, [{entry!r}, *{arguments!r}]
code = 0
try:
    if entry == "train.py":
        runpy.run_path(entry, run_name="__main__")
    else:
        runpy.run_module(entry.split("/")[0], run_name="__main__", alter_sys=True)
except SystemExit as stop:
    code = stop.code
print("\\n" + json.dumps([code, sorted(set({heavy!r}) & set(sys.modules))]))
"""


def probe(entry: str, *arguments: str) -> tuple[int, list[str], str]:
    """(exit code, heavy libraries imported, everything it printed)."""
    script = PROBE.format(root=str(ROOT), entry=entry, arguments=list(arguments), heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    code, heavy = json.loads(done.stdout.splitlines()[-1])
    return code or 0, heavy, done.stdout + done.stderr


@pytest.mark.parametrize("entry", ENTRIES)
def test_help_imports_nothing_heavy(entry):
    code, heavy, printed = probe(entry, "--help")
    assert (code, heavy) == (0, [])
    assert "usage" in printed.lower()


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_unknown_option_exits_2_without_a_traceback(entry):
    code, _, printed = probe(entry, "--no-such-option")
    assert code == 2
    assert "Traceback" not in printed


@pytest.mark.skipif(not (ROOT / "train.py").exists(), reason="needs train.py")
def test_a_missing_recipe_exits_2_and_is_named():
    code, _, printed = probe("train.py", "configs/no_such_recipe.yaml")
    assert code == 2
    assert "no_such_recipe.yaml" in printed
    assert "Traceback" not in printed
