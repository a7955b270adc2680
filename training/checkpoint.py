"""Complete, atomic checkpoints without pickle: tensors in safetensors, everything else in JSON.

A checkpoint is written into a temporary folder beside its place, synced, and renamed: a crash at any moment leaves the former one usable.
"""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from models.pretrained import read_weights
from training.optimizers import Optimizers

STATE, MODEL, OPTIMIZER = "state.json", "model.safetensors", "optimizer.safetensors"


def save(folder: Path, step: int, model: nn.Module, optimizers: Optimizers, extra: dict[str, Any], keep: int = 2) -> Path:
    """Write `folder/step-<n>` and drop all but the newest `keep`. `extra` (stream position, counters) must be JSON."""
    target = folder / f"step-{step:08d}"
    temporary = folder / f".tmp-{target.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(_unique(model), temporary / MODEL)
    tensors, groups = _optimizer_state(optimizers)
    tensors |= _device_rng()
    save_file(tensors, temporary / OPTIMIZER)
    state = {"step": step, "groups": groups, "extra": extra, "rng": _rng_state()}
    (temporary / STATE).write_text(json.dumps(state))
    for file in temporary.iterdir():
        _sync(file)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(temporary, target)
    _sync(folder)
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    return target


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint of a folder, or None."""
    found = sorted(p for p in folder.glob("step-*") if (p / STATE).is_file())
    return found[-1] if found else None


def load(path: Path, model: nn.Module, optimizers: Optimizers) -> tuple[int, dict[str, Any]]:
    """Restore model, optimisers and random states in place; returns (step, extra)."""
    missing, unexpected = model.load_state_dict(load_file(path / MODEL), strict=False)
    if unexpected or set(missing) - _tied(model):
        lost = sorted(set(missing) - _tied(model))[:3]
        raise ValueError(f"{path}: not a checkpoint of this model: missing {lost}, unexpected {sorted(unexpected)[:3]}")
    tensors = load_file(path / OPTIMIZER)
    state = json.loads((path / STATE).read_text())
    torch.set_rng_state(tensors.pop("rng.torch"))
    if (on_device := tensors.pop("rng.cuda", None)) is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(on_device)
    _restore_rng(state["rng"])
    for i, optimizer in enumerate(optimizers.all):
        own: dict[int, dict[str, Any]] = {}
        for name, tensor in tensors.items():
            index, parameter, key = name.split(".", 2)
            if int(index) == i:
                own.setdefault(int(parameter), {})[key] = tensor
        optimizer.load_state_dict({"state": own, "param_groups": state["groups"][i]})
    return state["step"], state["extra"]


def _unique(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state with tied tensors stored once."""
    seen: set[int] = set()
    unique = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen or tensor.numel() == 0:
            seen.add(tensor.data_ptr())
            unique[name] = tensor.contiguous()
    return unique


def _tied(model: nn.Module) -> set[str]:
    return set(model.state_dict()) - set(_unique(model))


def _optimizer_state(optimizers: Optimizers) -> tuple[dict[str, torch.Tensor], list[list[dict]]]:
    tensors, groups = {}, []
    for i, optimizer in enumerate(optimizers.all):
        state = optimizer.state_dict()
        groups.append(state["param_groups"])
        for parameter, entries in state["state"].items():
            for key, value in entries.items():
                tensors[f"{i}.{parameter}.{key}"] = value.contiguous() if isinstance(value, torch.Tensor) else torch.tensor(value)
    return tensors, groups


def _device_rng() -> dict[str, torch.Tensor]:
    """torch's generators: the CPU's, and that of the GPU in use, from which dropout draws there."""
    states = {"rng.torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["rng.cuda"] = torch.cuda.get_rng_state()
    return states


def _rng_state() -> dict[str, Any]:
    version, numbers, gauss = random.getstate()
    kind, keys, place, has_gauss, cached = np.random.get_state()
    return {"python": [version, list(numbers), gauss], "numpy": [kind, keys.tolist(), place, has_gauss, cached]}


def _restore_rng(state: dict[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, place, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), place, has_gauss, cached))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def finish(folder: Path, manifest: str) -> None:
    """Mark a stage as finished (atomically: `done.json` appears whole or not at all), then drop its mid-stage checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".tmp-done.json"
    temporary.write_text(manifest)
    _sync(temporary)
    os.replace(temporary, folder / "done.json")
    _sync(folder)
    for old in folder.glob("step-*"):
        shutil.rmtree(old)


def finish_weights(stage_dir: Path, model: nn.Module, processor: Any) -> None:
    """The stage's result as a loadable checkpoint folder (transformers layout), written before anything else builds on it."""
    temporary, target = stage_dir / ".tmp-checkpoint", stage_dir / "checkpoint"
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    processor.save_pretrained(temporary)
    for file in temporary.rglob("*"):  # on disk before the mark that a stage is finished is
        _sync(file)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(temporary, target)
    _sync(stage_dir)


def load_weights(stage_dir: Path, model: nn.Module) -> None:
    """Put a finished stage's weights into the model."""
    state = read_weights(stage_dir / "checkpoint")  # in several files where the model is large
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) - _tied(model):
        raise ValueError(f"{stage_dir}: its checkpoint is not of this model")
