"""Devices and processes: two processes are one, and what is not there is said in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from spikeline.pipeline.training.errors import TrainingError
from spikeline.pipeline.training.machine import Machine, _shared_norm, open_machine

CPU = Machine(torch.device("cpu"))

WORKER = """
import json, sys
from pathlib import Path
import numpy as np, torch
sys.path.insert(0, sys.argv[2])
from test_training import CONFIG, separable
from dataclasses import replace
from spikeline.pipeline.training.loop import train
from spikeline.pipeline.training.machine import open_machine
from spikeline.pipeline.training.settings import OptimiserConfig, SkipConfig

config = replace(CONFIG, epochs=2, average=0.9, optimiser=OptimiserConfig(name="sgd", rate=0.05),
                 skip=SkipConfig(share=0.5))
folder = Path(sys.argv[1])
with open_machine("cpu", 1) as machine:
    heard = []
    network = train(config, separable(), separable(), folder / "run", machine=machine, on_epoch=heard.append)
    torch.save(network.state_dict(), folder / f"rank{machine.rank}of{machine.processes}.pt")
    if heard:
        figures = [(e.loss, e.train_accuracy, e.accuracy) for e in heard]
        (folder / f"figures{machine.processes}.json").write_text(json.dumps(figures))
"""


def run_workers(folder, processes):
    script = folder / "worker.py"
    script.write_text(WORKER)
    command = [sys.executable, "-W", "ignore"]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*command, str(script), str(folder), str(Path(__file__).parent)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.full
def test_two_processes_end_with_the_weights_of_one(tmp_path):
    for processes in (1, 2):
        run_workers(tmp_path, processes)
    one = torch.load(tmp_path / "rank0of1.pt")
    first, second = (torch.load(tmp_path / f"rank{rank}of2.pt") for rank in range(2))
    for name, wanted in one.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], wanted, rtol=2e-3, atol=2e-4)
    a, b = (json.loads((tmp_path / f"figures{n}.json").read_text()) for n in (1, 2))
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 5, 5)])
def test_a_shared_norm_of_one_process_is_batch_norm(shape, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        kind = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
        torch.manual_seed(0)
        x = torch.randn(shape)
        results = []
        for shared in (False, True):
            norm, own = kind(4), x.clone().requires_grad_()
            y = _shared_norm(norm, own) if shared else norm(own)
            (y * torch.arange(y.numel()).view(shape) / y.numel()).sum().backward()
            results.append([y.detach(), own.grad, norm.weight.grad, *norm.state_dict().values()])
            assert torch.allclose(norm.eval()(x), _shared_norm(norm, x), atol=1e-6)
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    finally:
        torch.distributed.destroy_process_group()


def test_one_process_sums_and_shares_nothing():
    assert CPU.first and CPU.total(1.5, 2.0) == [1.5, 2.0]
    norm = nn.Sequential(nn.BatchNorm2d(3))
    CPU.share_norms(norm)
    assert type(norm[0]) is nn.BatchNorm2d
    counts = CPU.put(np.array([70_000 % 65_536, 3], np.uint16))
    assert counts.dtype == torch.float32 and counts.tolist() == [4464.0, 3.0]


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match="device cuda: torch sees no GPU here"), open_machine("cuda"):
        pass
    with (
        pytest.raises(TrainingError, match="device must be one of auto, cpu, cuda, got 'tpu'"),
        open_machine("tpu"),
    ):
        pass
    with open_machine("auto") as machine:
        assert machine.device.type == "cpu" and machine.processes == 1
