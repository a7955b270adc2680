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


# --- python -m data


def test_render_writes_a_benchmark_s_files_and_says_where(tmp_path):
    arguments = ["render", "audio", "--level", "2", "--count", "3", "--family", "order", "--format", "mmau", "--out", str(tmp_path / "out")]
    code, heavy, printed = probe("data/__main__.py", *arguments)
    assert code == 0 and not {"torch", "transformers"} & set(heavy)
    (written,) = [line for line in printed.splitlines() if line.endswith(".json")]
    rows = json.loads(Path(written).read_text())
    assert len(rows) == 3 and all((tmp_path / "out" / row["audio_id"]).is_file() for row in rows)


def test_check_lists_bad_media_and_exits_1(tmp_path):
    from data.__main__ import main
    from data.render import render

    records = render("vision", 1, 3, 0, "test", tmp_path / "out")
    assert main(["check", str(tmp_path / "out/records.jsonl")]) == 0
    Path(records[1].media[0].path).write_bytes(b"")
    code, _, printed = probe("data/__main__.py", "check", str(tmp_path / "out/records.jsonl"))
    assert code == 1
    assert f"{records[1].id}: " in printed and "the file is empty" in printed and "3 records, 1 bad media" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["render", "audoi", "--out", "OUT"], "unknown world 'audoi'; did you mean 'audio'?"),
        (["render", "audio", "--level", "9", "--out", "OUT"], "level 9 is not one of 1-6"),
        (["render", "video", "--format", "mmau", "--out", "OUT"], "'mmau' is for the audio world"),
        (["check", "OUT/none.jsonl"], "no records file"),
    ],
)
def test_mistakes_of_a_data_command_exit_2(tmp_path, capsys, arguments, message):
    from data.__main__ import main

    given = [a.replace("OUT", str(tmp_path / "out")) for a in arguments]
    assert main(given) == 2
    errors = capsys.readouterr().err
    assert message in errors and "Traceback" not in errors
    with pytest.raises(ValueError, match=r"audoi|level 9|audio world|no records file"):
        main(["--debug", *given])
