"""From what somebody names to a model that can be asked: a run directory, a release, a checkpoint of a stage, or the address of a server."""

import dataclasses
import re
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """`folder` holds config.json; `stage` is what its scores are booked under; `run` is the run directory it belongs to, if any."""

    folder: Path
    stage: str
    run: Path | None


def find_model(path: str | Path, stage: str | None = None) -> Found:
    """A run gives the checkpoint of `stage` (default: its release, else its last finished stage that left a policy, else what
    it started from)."""
    path = Path(path)
    if (path / "config.json").is_file():
        run = next((p for p in path.resolve().parents if (p / "recipe.yaml").is_file()), None)
        own = path.resolve().parent.name.partition("-")[2] if path.name == "checkpoint" else (last_stage(run) if run else path.name)
        return Found(path, stage or own, run)
    if not (path / "recipe.yaml").is_file():
        raise ValueError(f"{path}: neither a model (config.json) nor a run directory (recipe.yaml)")
    finished = finished_stages(path)
    if stage is not None:
        if stage not in finished:
            raise ValueError(f"{path}: no finished stage is called {stage!r} (finished: {', '.join(finished) or 'none'})")
        return Found(finished[stage], stage, path)
    if (path / "release" / "config.json").is_file():
        return Found(path / "release", last_stage(path), path)
    if not finished:
        raise ValueError(f"{path}: the run has neither a release nor a finished stage yet")
    from reasoning.scorers.prm import is_prm

    policies = [name for name, folder in finished.items() if not is_prm(folder)]
    if not policies:
        return _start_of(path, finished)
    return Found(finished[policies[-1]], policies[-1], path)


def _start_of(run: Path, finished: dict[str, Path]) -> Found:
    """The policy of a run that trained reward models only: the checkpoint that it started from."""
    from omegaconf import OmegaConf

    init = OmegaConf.select(OmegaConf.load(run / "recipe.yaml"), "model.init", default=None)
    if init is None or not (Path(init) / "config.json").is_file():
        raise ValueError(f"{run}: holds only reward models ({', '.join(finished)}); name the run or the checkpoint whose solutions they judge")
    return Found(Path(init), "base", run)


def finished_stages(run: Path) -> dict[str, Path]:
    """Stage name -> checkpoint folder, in the order of the run."""
    found = [p.parent for p in run.glob("stages/*/checkpoint/config.json") if p.parent.parent.name.partition("-")[0].isdigit()]
    found.sort(key=lambda p: int(p.parent.name.partition("-")[0]))
    return {p.parent.name.partition("-")[2]: p for p in found}


def last_stage(run: Path) -> str:
    return next(reversed(finished_stages(run)), "release")


def instruction_of(run: Path | None) -> str:
    """The line that the run's recipe puts at the end of every prompt."""
    if run is None or not (run / "recipe.yaml").is_file():
        return ""
    from omegaconf import OmegaConf

    return OmegaConf.select(OmegaConf.load(run / "recipe.yaml"), "protocol.instruction", default="") or ""


def load_reasoner(folder: Path) -> tuple[Any, Any]:
    """(model, processor) of a checkpoint folder, in evaluation mode, in the precision it was stored in, on the GPU where there is one. A reward
    model's folder is a `ValueError`: its weights would load, and its words would mean nothing."""
    from reasoning.scorers.prm import is_prm

    if is_prm(folder):
        raise ValueError(f"{folder}: this is a process reward model, not a policy; use it as a scorer (prm:{folder})")
    import torch

    from models.modeling import FocalModel
    from models.processing import FocalProcessor

    model, processor = FocalModel.from_pretrained(folder), FocalProcessor.from_pretrained(folder)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), processor


def is_server(where: str) -> bool:
    return where.startswith(("http://", "https://"))


def open_server(where: str, name: str | None, option: str, seed: int = 0) -> Any:
    """The policy behind an OpenAI-compatible server's address (`http://host:port/v1`); `option` is what the command calls its model's name."""
    from reasoning.policy_http import HttpPolicy

    if not name:
        raise ValueError(f"{where}: a server needs the name of its model too ({option})")
    return HttpPolicy(where, name, seed=seed)


def server_stage(name: str) -> str:
    """What the scores of a server's model are booked under: its name as a folder may be called."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "server"
