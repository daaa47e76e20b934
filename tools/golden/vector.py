"""One golden vector: its configuration and arrays, a module given its weights, a result compared with it.

Layout of a file: `config_json`, weights as `sd/<original name>`, and input and output arrays. Every
array must be used: as an input, as a weight, as a result's reference, or set aside with a reason.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeline.models.network import Network

_NO_WEIGHTS = ("num_batches_tracked", "mean_avg", "mean_max")

# array name, or "name@form" where several of our forms should give the same array
Results = dict[str, Tensor]


class MismatchError(ValueError):
    """A vector that does not fit the family its name says: one line."""


@dataclass(frozen=True)
class Difference:
    """How far a result is from its array. Whole-number arrays (spikes) must be met exactly."""

    name: str
    absolute: float
    relative: float  # of values at least a thousandth of the largest
    passed: bool
    problem: str = ""


class Vector:
    """A file read once. `tensor` gives its arrays in the precision of its input, as torch tensors."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        self.name = path.stem
        self.config: dict[str, Any] = json.loads(str(arrays.pop("config_json", "{}")))
        self.weights = {name[3:]: array for name, array in arrays.items() if name.startswith("sd/")}
        self.arrays = {name: array for name, array in arrays.items() if not name.startswith("sd/")}
        self.unused = {name for name in self.weights if not name.endswith("num_batches_tracked")}
        self.inputs: set[str] = set()
        self.set_aside: dict[str, str] = {}
        floats = [a.dtype for a in (*self.weights.values(), *self._sources()) if a.dtype.kind == "f"]
        self.dtype = torch.float32 if floats and max(floats) == np.float32 else torch.float64

    def _sources(self) -> list[np.ndarray]:
        return [self.arrays[name] for name in ("x", "I", "img") if name in self.arrays]

    def tensor(self, name: str) -> Tensor:
        """An input array."""
        if name not in self.arrays:
            raise MismatchError(f"array {name!r} is missing; found {', '.join(self.arrays)}")
        self.inputs.add(name)
        return torch.from_numpy(self.arrays[name]).to(self.dtype)

    def weight(self, name: str) -> Tensor:
        if name not in self.weights:
            raise MismatchError(f"weight {name!r} is missing; found {', '.join(self.weights)}")
        self.unused.discard(name)
        return torch.from_numpy(self.weights[name]).to(self.dtype)

    def has(self, part: str) -> bool:
        """Whether some weight's name begins with `part`."""
        return any(name.startswith(part) for name in self.weights)

    def stride(self, x: Tensor, output: str = "y") -> int:
        """Stride between x (..., W) and the output array, which a padded convolution rounds up."""
        return -(-x.shape[-1] // self.arrays[output].shape[-1])

    def ignore(self, name: str, reason: str) -> None:
        """Set an array aside that our modules must not reproduce."""
        if name in self.arrays:
            self.set_aside[name] = reason

    def same(self, twin: str, of: str) -> None:
        """The weights under prefix `twin` are a second name for those under `of`: check and set aside."""
        for name in [name for name in self.weights if name.startswith(twin)]:
            original = of + name.removeprefix(twin)
            if not np.array_equal(self.weights[name], self.weights.get(original)):
                raise MismatchError(f"weight {name!r} differs from {original!r}")
            self.unused.discard(name)

    def load(self, module: nn.Module, names: Mapping[str, str]) -> Any:
        """`module` in evaluation mode with its weights from `names` (ours -> original); all must be named.

        The original's axes of length 1 are dropped where ours has none. Statistics that stand for steps not
        seen are no weights: they keep what they are.
        """
        module = module.to(self.dtype).eval()
        ours = {k: t for k, t in module.state_dict().items() if k.split(".")[-1] not in _NO_WEIGHTS}
        if missing := sorted(set(ours) ^ set(names)):
            raise MismatchError(f"weights of {type(module).__name__} and their names differ: {missing}")
        for name, tensor in ours.items():
            found = self.weight(names[name])
            wanted, shape = list(tensor.shape), list(found.shape)
            if [n for n in wanted if n > 1] != [n for n in shape if n > 1]:
                raise MismatchError(f"{names[name]} is {shape}, wanted {wanted} for {name}")
            tensor.copy_(found.reshape(wanted))
        return module

    def compare(self, name: str, result: Tensor) -> Difference:
        """`result` with the array `name`, or `name@form`: 1e-6, or 1e-4 where it is stored as float32."""
        key = name.split("@")[0]
        if key not in self.arrays:
            return Difference(name, np.inf, np.inf, False, "the file has no such array")
        wanted, found = self.arrays[key], result.detach().to(torch.float64).numpy()
        if wanted.shape != found.shape:
            return Difference(name, np.inf, np.inf, False, f"shape {found.shape}, wanted {wanted.shape}")
        tolerance = 1e-4 if wanted.dtype == np.float32 else 1e-6
        reference = wanted.astype(np.float64)
        size = np.abs(reference)
        largest = float(size.max(initial=0.0))
        apart = np.abs(found - reference)
        absolute = float(apart.max(initial=0.0))
        relative = float((apart / np.maximum(size, largest / 1000 or 1.0)).max(initial=0.0))
        if (reference == np.round(reference)).all():
            passed = bool((found == reference).all())
        else:
            passed = bool((apart <= tolerance * np.maximum(size, min(1.0, largest))).all())
        return Difference(name, absolute, relative, passed)


def empty(x: Tensor) -> Network:
    """A network with no part yet, whose frames are the steps of x (T, B, ...)."""
    return Network(grid=tuple(x.shape[3:]), steps=len(x), channels=x.shape[2])


def in_every_form(net: Network, x: Tensor, name: str = "y") -> Results:
    """Outputs of all steps x (T, B, ...) layer by layer, and one step after another where it can run so."""
    with torch.no_grad():
        results = {name: net.over_time(x)[0]}
        if net.causal:
            results[f"{name}@step"] = net(x)
    return results


def swap(x: Tensor) -> Tensor:
    """(B, T, ...) <-> (T, B, ...)."""
    return x.transpose(0, 1)


def mlp(ours: str, theirs: str) -> dict[str, str]:
    """Names of a two-layer MLP without biases."""
    return {f"{ours}.w0": f"{theirs}.0.weight", f"{ours}.w1": f"{theirs}.2.weight"}


def affine(ours: str, theirs: str) -> dict[str, str]:
    """Names of a linear layer, or of a layer norm."""
    return {f"{ours}.{part}": f"{theirs}.{part}" for part in ("weight", "bias")}


def weighted(ours: str, conv: str, norm: str) -> dict[str, str]:
    """Names of a convolution without bias and its batch norm (layers.Weighted) in the part `ours`."""
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"parts.{ours}.weights.weight": f"{conv}.weight"} | {
        f"parts.{ours}.norm.{part}": f"{norm}.{part}" for part in parts
    }
