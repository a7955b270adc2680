"""Reinforcement on two processes is reinforcement on one: run through torchrun with gloo, on CPU."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package")
def test_gradients_of_two_processes_are_those_of_one():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    program = str(ROOT / "tests/unit/training/two_processes.py")
    done = subprocess.run([*launch, program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line for line in ("process 0 of 2: ok", "process 1 of 2: ok") if line in done.stdout] == ["process 0 of 2: ok", "process 1 of 2: ok"]


def test_a_model_in_pieces_is_refused():
    from types import SimpleNamespace

    from training.stages.context import StageContext

    def context(kind):
        return StageContext(None, None, None, None, SimpleNamespace(distributed_type=SimpleNamespace(value=kind)), None)

    for kind in ("NO", "MULTI_CPU", "MULTI_GPU"):
        context(kind).check_whole_model("tw_grpo")
    with pytest.raises(ValueError, match="tw_grpo needs the whole model in each process, and FSDP cuts it up"):
        context("FSDP").check_whole_model("tw_grpo")
