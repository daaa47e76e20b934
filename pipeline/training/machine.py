"""Where a run computes: the processor or a GPU, and one process or several that torchrun started.

Several processes share every batch out among them and give the weights that one alone would: gradients are
their mean, and batch norm's statistics are those of the whole batch.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeline.pipeline.training.errors import TrainingError

DEVICES = ("auto", "cpu", "cuda")
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt


class Machine:
    """rank: this process among `processes`."""

    def __init__(self, device: torch.device, rank: int = 0, processes: int = 1) -> None:
        self.device, self.rank, self.processes = device, rank, processes

    @property
    def first(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first process goes before all others, which find what it made."""
        if self.processes > 1 and not self.first:
            dist.barrier()
        yield
        if self.processes > 1 and self.first:
            dist.barrier()

    def put(self, array: NDArray[Any]) -> Tensor:
        """On the device; uint16, which torch hardly knows, as float32."""
        if array.dtype == np.uint16:
            array = array.astype(np.float32)
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def mean_gradients(self, network: nn.Module) -> None:
        """Over all processes, in place."""
        if self.processes == 1:
            return
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        flat /= self.processes
        for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    def total(self, *values: float) -> list[float]:
        """Sums over all processes."""
        if self.processes == 1:
            return list(values)
        both = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(both)
        return both.tolist()

    def share_norms(self, network: nn.Module) -> None:
        """Let batch norm in training see every process's part of the batch."""
        if self.processes == 1:
            return
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                two = isinstance(module, nn.BatchNorm2d)
                module.__class__ = _SharedNorm2d if two else _SharedNorm1d


def _shared_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Batch norm whose statistics are those of every process's part of the batch. Torch's own that does it
    wants a GPU."""
    if not norm.training:
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    C = x.shape[1]
    axes = [0, *range(2, x.ndim)]
    wide = x.double()
    count = wide.new_tensor([x.numel() / C])
    sums = _Sum.apply(torch.cat([wide.sum(axes), wide.square().sum(axes), count]))
    mean = sums[:C] / sums[-1]
    var = (sums[C : 2 * C] / sums[-1] - mean.square()).clamp(min=0)
    if norm.track_running_stats:
        assert norm.num_batches_tracked is not None
        assert norm.running_mean is not None and norm.running_var is not None
        with torch.no_grad():
            norm.num_batches_tracked += 1
            share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean.float(), share)
            norm.running_var.lerp_((var * sums[-1] / (sums[-1] - 1)).float(), share)
    scale = norm.weight / (var + norm.eps).sqrt()
    shape = (1, C, *(1,) * (x.ndim - 2))
    return x * scale.to(x.dtype).view(shape) + (norm.bias - mean * scale).to(x.dtype).view(shape)


class _Sum(torch.autograd.Function):
    """Over all processes; every one of them has a part in every other's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone()
        dist.all_reduce(total)
        return total


class _SharedNorm1d(nn.BatchNorm1d):
    def forward(self, x: Tensor) -> Tensor:
        return _shared_norm(self, x)


class _SharedNorm2d(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return _shared_norm(self, x)


@contextmanager
def open_machine(device: str = "auto", threads: int = 0) -> Iterator[Machine]:
    """The machine a run uses: `device` auto, cpu or cuda; `threads` of torch, 0 for one per core.

    Under torchrun, this process joins the others, over gloo on the processor and nccl on GPUs.
    """
    if device not in DEVICES:
        raise TrainingError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device cuda: torch sees no GPU here; wanted cpu or auto")
    cuda = device != "cpu" and torch.cuda.is_available()
    if threads:
        torch.set_num_threads(threads)
    _keep_memory()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    where = torch.device("cuda", local % torch.cuda.device_count()) if cuda else torch.device("cpu")
    if processes == 1:
        yield Machine(where)
        return
    if cuda:
        torch.cuda.set_device(where)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Machine(where, dist.get_rank(), processes)
    finally:
        dist.destroy_process_group()


def _keep_memory() -> None:
    """Have glibc keep what a step frees for the next one: given back and asked for anew, its pages took half
    of a step's time.
    """
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(M_MMAP_MAX, 0)
            libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        except (OSError, AttributeError):  # another C library
            pass
