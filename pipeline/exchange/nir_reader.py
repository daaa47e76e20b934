"""NIR -> lowered graph: convolutions, linear layers, average pools, LIF and IF neurons, sums.

A step of our graph is one forward Euler step of dt, which the file's metadata (`dt_us`) or the user says:
NIR itself has none. Constants of a layer must be one value for all of its neurons. What we have no
operation for is named, with its kind.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph, GraphDocument, GraphError, Node
from spikeline.pipeline.exchange import ExchangeError

Tensors = dict[str, NDArray[np.float32]]


def read_nir(path: Path, *, dt_us: int | None = None, steps: int | None = None) -> Graph:
    """The network in a `.nir` file. dt_us and steps replace what the file's metadata says."""
    import nir

    try:
        found = nir.read(str(path), type_check=False)
    except Exception as error:  # h5py and nir raise many kinds
        raise ExchangeError(f"{path}: not a NIR file: {' '.join(str(error).split())}") from error
    return from_nir(found, dt_us=dt_us, steps=steps, where=str(path))


def from_nir(found: Any, *, dt_us: int | None = None, steps: int | None = None, where: str = "nir") -> Graph:
    """The lowered graph of a `nir.NIRGraph`."""
    facts = found.metadata or {}
    dt_us = dt_us if dt_us is not None else _whole(facts.get("dt_us"))
    if dt_us is None or dt_us < 1:
        raise ExchangeError(f"{where}: says no time step; give --dt-us, the time of one step in microseconds")
    steps = steps or _whole(facts.get("steps")) or 1
    reader = _Reader(found, dt_us * 1e-6, where)
    nodes, tensors, shape = reader.read()
    horizon = facts.get("horizon", "endless")
    try:
        return Graph(GraphDocument("step", str(horizon), steps, shape, nodes), tensors)
    except GraphError as error:
        raise ExchangeError(f"{where}: {error}") from error


def _whole(value: Any) -> int | None:
    return None if value is None else int(np.asarray(value).item())


class _Reader:
    def __init__(self, found: Any, dt_s: float, where: str) -> None:
        self._parts = found.nodes
        self._edges = found.edges
        self._dt_s = dt_s
        self._where = where
        self._nodes: list[Node] = []
        self._tensors: Tensors = {}

    def read(self) -> tuple[list[Node], Tensors, tuple[int, int, int]]:
        import nir

        unknown = [
            f"{name} ({type(part).__name__})"
            for name, part in self._parts.items()
            if type(part).__name__ not in READERS and not isinstance(part, nir.Input | nir.Output)
        ]
        if unknown:
            raise self._error(f"no operation for {', '.join(unknown)}; known: {', '.join(READERS)}")
        inputs = [name for name, part in self._parts.items() if isinstance(part, nir.Input)]
        outputs = [name for name, part in self._parts.items() if isinstance(part, nir.Output)]
        if len(inputs) != 1 or len(outputs) != 1:
            raise self._error(f"{len(inputs)} inputs, {len(outputs)} outputs; wanted one of each")
        shape = tuple(int(n) for n in self._parts[inputs[0]].input_type["input"])
        if len(shape) != 3:
            raise self._error(f"input of shape {shape}; wanted (channels, height, width)")
        self._nodes.append(Node("input", "input", [], {"gain": 1.0}))
        ends = {inputs[0]: "input"}
        for name in self._order():
            if name in ends:
                continue
            sources = [ends[a] for a, b in self._edges if b == name]
            if not sources:
                raise self._error(f"{name} is fed by nothing")
            x = sources[0]
            for i, other in enumerate(sources[1:], 2):  # edges that meet are summed
                x = self._add(f"{name}.sum{i}", "join", [x, other], {"kind": "membrane"})
            part = self._parts[name]
            ends[name] = x if name == outputs[0] else READERS[type(part).__name__](self, name, part, x)
        self._nodes.append(Node("readout", "readout", [ends[outputs[0]]], {"kind": "mean"}))
        C, H, W = shape
        return self._nodes, self._tensors, (C, H, W)

    def _error(self, what: str) -> ExchangeError:
        return ExchangeError(f"{self._where}: {what}")

    def _order(self) -> list[str]:
        """Names in an order in which every part comes behind those that feed it."""
        waiting = {name: {a for a, b in self._edges if b == name} for name in self._parts}
        order: list[str] = []
        while waiting:
            ready = [name for name, before in waiting.items() if not before - set(order)]
            if not ready:
                loop = ", ".join(sorted(waiting))
                raise self._error(f"a loop through {loop}; wanted a network without recurrence")
            order += ready
            for name in ready:
                del waiting[name]
        return order

    def _add(self, name: str, op: str, inputs: list[str], attrs: dict[str, Any], **tensors: Any) -> str:
        self._nodes.append(Node(name, op, inputs, attrs))
        for role, array in tensors.items():
            self._tensors[f"{name}.{role}"] = np.ascontiguousarray(array, np.float32)
        return name

    def _one(self, name: str, what: str, values: Any) -> float:
        """The one value that a layer's array holds."""
        found = np.unique(np.asarray(values, np.float64))
        if len(found) != 1:
            raise self._error(f"{name}: {what} from {found[0]:g} to {found[-1]:g}; wanted one for the layer")
        return float(found[0])

    def _pair(self, name: str, what: str, values: Any) -> int:
        return int(self._one(name, what, values))

    def conv(self, name: str, part: Any, x: str) -> str:
        if isinstance(part.padding, str):
            k = part.weight.shape[-1]
            if part.padding == "same" and k % 2 == 0:
                raise self._error(f"{name}: padding same of a kernel of {k}; wanted an odd size")
            padding = 0 if part.padding == "valid" else k // 2
        else:
            padding = self._pair(name, "padding", part.padding)
        if self._pair(name, "dilation", part.dilation) != 1:
            raise self._error(f"{name}: a dilated convolution; wanted dilation 1")
        stride = self._pair(name, "stride", part.stride)
        attrs = {"stride": stride, "padding": padding, "groups": int(part.groups)}
        return self._add(name, "conv", [x], attrs, weight=part.weight, bias=part.bias)

    def affine(self, name: str, part: Any, x: str) -> str:
        bias = getattr(part, "bias", np.zeros(len(part.weight)))
        return self._add(name, "linear", [x], {}, weight=part.weight, bias=bias)

    def scale(self, name: str, part: Any, x: str) -> str:
        values = np.asarray(part.scale, np.float64)
        channels = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
        if (channels != channels[:, :1]).any():
            raise self._error(f"{name}: a scale that differs within a channel")
        sources = [a for a, b in self._edges if b == name]
        alone = sum(a in sources for a, _ in self._edges) == 1  # else others are fed by it without the scale
        if x == "input" and len(np.unique(values)) == 1 and alone:
            self._nodes[0] = Node("input", "input", [], {"gain": float(values.flat[0])})
            return x
        if (values == 1).all():
            return x
        return self._add(name, "affine", [x], {}, scale=channels[:, 0], shift=np.zeros(len(channels)))

    def pool(self, name: str, part: Any, x: str) -> str:
        size, stride = (self._pair(name, what, getattr(part, what)) for what in ("kernel_size", "stride"))
        if self._pair(name, "padding", part.padding):
            raise self._error(f"{name}: a padded pool; wanted padding 0")
        y = self._add(name, "pool", [x], {"kind": "avg", "size": size, "stride": stride})
        if type(part).__name__ == "AvgPool2d":
            return y
        raise self._error(f"{name}: a sum over {size} x {size}; wanted an average")

    def flatten(self, name: str, part: Any, x: str) -> str:
        return x  # a linear layer flattens its input itself

    def fire(self, name: str, part: Any, x: str) -> str:
        threshold = self._one(name, "v_threshold", part.v_threshold)
        # it fires above the threshold: at the next larger number
        at = float(np.nextafter(np.float32(threshold), np.float32(np.inf)))
        reset = self._one(name, "v_reset", part.v_reset)
        r = self._one(name, "r", part.r)
        if type(part).__name__ == "IF":
            x = self._scaled(name, x, r * self._dt_s)
            return self._neurons(name, x, "if", {"threshold": at, "v_reset": reset})
        rate = self._dt_s / self._one(name, "tau", part.tau)
        leak = self._one(name, "v_leak", part.v_leak)
        if not 0 < rate <= 1:
            raise self._error(f"{name}: dt / tau is {rate:g}; wanted more than 0 and at most 1")
        if leak != reset:
            raise self._error(f"{name}: v_leak {leak:g}, v_reset {reset:g}; wanted them equal")
        constants = {"threshold": at, "rate": rate, "v_reset": reset}
        if abs(r * rate - 1) < 1e-12:
            return self._neurons(name, x, "lif_sj_full", constants)
        return self._neurons(name, self._scaled(name, x, r), "lif_sj", constants)

    def _scaled(self, name: str, x: str, factor: float) -> str:
        """x times a number: in the weights that make it, where nothing else uses them."""
        if abs(factor - 1) < 1e-12:
            return x
        node = next(node for node in self._nodes if node.name == x)
        users = sum(a == x for a, _ in self._edges)
        if node.op in ("conv", "linear") and users == 1:
            for role in ("weight", "bias"):
                self._tensors[f"{x}.{role}"] = (self._tensors[f"{x}.{role}"] * factor).astype(np.float32)
            return x
        raise self._error(f"{name}: r {factor:g} behind {node.op}; wanted 1, or a weighted layer before it")

    def _neurons(self, name: str, x: str, kind: str, constants: dict[str, float]) -> str:
        return self._add(name, "neuron", [x], {"kind": kind, "constants": constants})


READERS = {
    "Conv2d": _Reader.conv,
    "Affine": _Reader.affine,
    "Linear": _Reader.affine,
    "Scale": _Reader.scale,
    "AvgPool2d": _Reader.pool,
    "SumPool2d": _Reader.pool,
    "Flatten": _Reader.flatten,
    "LIF": _Reader.fire,
    "IF": _Reader.fire,
}
