"""Where a number comes from: the code's commit, the device, the weights, the prompts, the gold."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data.record import Record

ROOT = Path(__file__).resolve().parents[1]


def commit() -> str:
    """The commit of this code (`+changes` where files differ from it), or `unknown` outside a git checkout."""
    try:
        head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True).stdout.strip()
        changed = ["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"]
        dirty = subprocess.run(changed, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head + ("+changes" if dirty else "")


def device() -> str:
    """What the numbers were computed on, in words."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}"
    return f"cpu {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def prompt_sha256(prompts: Iterable[str]) -> str:
    """A hash over all prompts as they were given to the model, in the order of the items."""
    digest = hashlib.sha256()
    for text in prompts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def gold_sha256(records: Iterable[Record]) -> str:
    """A hash over ids, gold answers and options: two runs with the same one were graded against the same gold."""
    lines = sorted(json.dumps([r.id, r.answer, r.options], ensure_ascii=False) for r in records)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def model_fingerprint(model: Any) -> str:
    """A hash that changes with the weights: name, shape, sum and a stride of values of every tensor. Objects without weights give their own
    `fingerprint`, or their class's name."""
    if not hasattr(model, "state_dict"):
        return str(getattr(model, "fingerprint", type(model).__name__))
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().reshape(-1)
        picked = flat[:: max(1, len(flat) // 4096)].to(torch.float64).cpu()
        total = flat.sum(dtype=torch.float64).cpu() if len(flat) else torch.zeros((), dtype=torch.float64)
        digest.update(f"{name} {tuple(tensor.shape)} {total.item()!r}".encode() + picked.numpy().tobytes())
    return digest.hexdigest()
