"""How soon the command line answers: `python train.py --help` in a fresh interpreter, against the same page behind the imports that a run needs."""

import subprocess
import sys
from pathlib import Path

from bench.harness import Comparison, DifferentError, Setting

ROOT = Path(__file__).resolve().parents[1]
OURS = ("train.py", "--help")
EAGER = "import {libraries}; import sys, train; sys.exit(train.main(['--help']))"  # what the page costs where libraries are imported at the top


def startup(setting: Setting) -> Comparison:
    """Seconds until `python train.py --help` has answered, against the same with torch and transformers imported first."""
    libraries = setting.pick("torch", "torch, transformers", "torch, transformers")
    return Comparison(
        lambda: answer(*OURS), lambda: answer("-c", EAGER.format(libraries=libraries)), f"the same page behind `import {libraries}`", same,
        sizes={"command": " ".join(OURS)}, goals={}, facts={"asked for": "below 0.5 s on a quiet machine"},
    )  # fmt: skip


def answer(*arguments: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def same(ours: str, peer: str) -> str:
    """Both printed one page of help."""
    if ours != peer or not ours.startswith("usage: train.py"):
        raise DifferentError(f"the two pages differ: {ours[:60]!r} and {peer[:60]!r}")
    return "the pages are equal"
