"""A user's own conv - batch norm - LIF network: its state_dict and a short description -> lowered graph.

A state_dict holds weights by name and says nothing of strides, time constants or order, so a TOML file
lists the layers:

    framework = "snntorch"            # or "spikingjelly": whose neurons the names below are
    input = [2, 34, 34]               # channels, height, width
    steps = 20

    [[layer]]
    conv = "net.0"                    # prefix of its weight (and bias) in the state_dict
    padding = 1
    norm = "net.1"                    # batch norm behind it, folded in

    [[layer]]
    neuron = "Leaky"
    beta = 0.9

    [[layer]]
    pool = "max"
    size = 2

Weights come from a `.safetensors` file, or from `torch.save`d tensors read without pickle's code (the extra
`train`). Nothing of the file is run.
"""

import pickle
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from spikeline.models.graph import Graph, GraphDocument, GraphError, Node
from spikeline.pipeline.exchange import ExchangeError

Weights = Mapping[str, NDArray[Any]]
LAYERS = {
    "conv": {"stride", "padding", "groups", "norm", "eps"},
    "linear": {"norm", "eps"},
    "pool": {"size", "stride", "padding"},
    "neuron": {"name"},  # and those of the neuron, in NEURONS
    "vote": set(),
}
SETTINGS = ("framework", "input", "steps", "layer")
POOLS = ("avg", "max", "global")


def read_described(weights: Path, description: Path, *, steps: int | None = None) -> Graph:
    """The network of `weights` as `description` lists it; raises ExchangeError, one line.

    steps replaces what the description says.
    """
    try:
        table = tomllib.loads(description.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ExchangeError(f"{description}: {error}") from error
    return described(
        read_weights(weights), table if steps is None else table | {"steps": steps}, str(description)
    )


def read_weights(path: Path) -> Weights:
    """Tensors by name, float32."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.numpy.load_file(path)
        try:
            import torch
        except ImportError:
            raise ExchangeError(f"{path}: reading it needs torch; pip install 'spikeline[train]'") from None
        found = torch.load(path, map_location="cpu", weights_only=True)
        if not (isinstance(found, Mapping) and all(hasattr(v, "numpy") for v in found.values())):
            raise ExchangeError(f"{path}: holds {type(found).__name__}; wanted a state_dict of tensors")
        return {name: tensor.float().numpy() for name, tensor in found.items()}
    except ExchangeError:
        raise
    except Exception as error:  # torch and safetensors raise many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's advice is to run what it holds
            reason = "it holds more than tensors; wanted torch.save(net.state_dict(), ...)"
        raise ExchangeError(f"{path}: not a state_dict that can be read: {reason}") from error


def described(weights: Weights, table: Mapping[str, Any], where: str) -> Graph:
    """The graph of these weights; `table` as the module's description has it."""
    for key in table:
        if key not in SETTINGS:
            raise ExchangeError(f"{where}: unknown setting {key!r}; choose from {', '.join(SETTINGS)}")
    framework = table.get("framework")
    if not isinstance(framework, str) or framework not in NEURONS:
        raise ExchangeError(f"{where}: framework {framework!r}; wanted one of {', '.join(NEURONS)}")
    shape = table.get("input")
    if not (isinstance(shape, list) and len(shape) == 3 and all(type(n) is int and n > 0 for n in shape)):
        raise ExchangeError(f"{where}: input {shape!r}; wanted [channels, height, width]")
    steps, layers = table.get("steps", 1), table.get("layer", [])
    if type(steps) is not int:
        raise ExchangeError(f"{where}: steps {steps!r}; wanted a whole number")
    if not (isinstance(layers, list) and layers and all(isinstance(layer, dict) for layer in layers)):
        raise ExchangeError(f"{where}: found no [[layer]] tables; wanted one for each layer, in order")
    maker = _Maker(weights, where, NEURONS[framework])
    for i, layer in enumerate(layers, 1):
        maker.layer(i, layer)
    if unused := maker.unused():
        raise ExchangeError(f"{where}: no layer uses {', '.join(unused)} of the state_dict")
    nodes = [*maker.nodes, Node("readout", "readout", [maker.nodes[-1].name], {"kind": "mean"})]
    C, H, W = shape
    try:
        document = GraphDocument("step", "endless", steps, (C, H, W), nodes)
        return Graph(document, maker.tensors)
    except GraphError as error:
        raise ExchangeError(f"{where}: {error}") from error


class _Maker:
    def __init__(self, weights: Weights, where: str, neurons: Mapping[str, "Maker"]) -> None:
        self.nodes = [Node("input", "input", [], {"gain": 1.0})]
        self.tensors: dict[str, NDArray[np.float32]] = {}
        self._weights, self._where, self._neurons = weights, where, neurons
        self._used: set[str] = set()

    def unused(self) -> list[str]:
        """Tensors that nothing has asked for; single numbers are constants of neurons and counters."""
        return [name for name, array in self._weights.items() if array.size > 1 and name not in self._used]

    def layer(self, i: int, layer: Mapping[str, Any]) -> None:
        where = f"{self._where}: layer {i}"
        kinds = [kind for kind in LAYERS if kind in layer]
        if len(kinds) != 1:
            found = ", ".join(layer) or "nothing"
            raise ExchangeError(f"{where}: found {found}; wanted one of {', '.join(LAYERS)}")
        (kind,) = kinds
        make = self._neuron(layer, where) if kind == "neuron" else None
        what, known = (kind, LAYERS[kind]) if make is None else (layer[kind], LAYERS[kind] | make.settings)
        for key in layer:
            if key != kind and key not in known:
                allowed = ", ".join(sorted(known)) or "nothing else"
                raise ExchangeError(f"{where}: {what} has no setting {key!r}; it has {allowed}")
        x = self.nodes[-1].name
        if kind in ("conv", "linear"):
            self._weighted(f"{kind}{i}", kind, x, layer, where)
        elif kind == "pool":
            self._pool(f"pool{i}", x, layer, where)
        elif kind == "vote":
            self.nodes.append(Node(f"vote{i}", "vote", [x], {"size": layer["vote"]}))
        elif make is not None:
            try:
                kind_of, constants = make.constants(layer, self._weights, where)
            except (TypeError, ZeroDivisionError, ValueError) as error:
                if isinstance(error, ExchangeError):
                    raise
                raise ExchangeError(f"{where}: {what}: {error}") from error
            name = str(layer.get("name", f"neuron{i}"))
            self.nodes.append(Node(name, "neuron", [x], {"kind": kind_of, "constants": constants}))

    def _neuron(self, layer: Mapping[str, Any], where: str) -> "Maker":
        make = self._neurons.get(str(layer["neuron"]))
        if make is None:
            known = ", ".join(self._neurons)
            raise ExchangeError(f"{where}: neuron {layer['neuron']!r} is not supported; known are {known}")
        return make

    def _weighted(self, name: str, kind: str, x: str, layer: Mapping[str, Any], where: str) -> None:
        prefix = str(layer[kind])
        weight = self._tensor(f"{prefix}.weight", where).astype(np.float64)
        if weight.ndim != (4 if kind == "conv" else 2):
            raise ExchangeError(f"{where}: {prefix}.weight has shape {weight.shape}; no {kind} has that")
        bias = np.zeros(len(weight))
        if f"{prefix}.bias" in self._weights:
            bias = self._tensor(f"{prefix}.bias", where).astype(np.float64)
        if "norm" in layer:
            weight, bias = self._folded(weight, bias, layer, where)
        self.tensors[f"{name}.weight"] = np.ascontiguousarray(weight, np.float32)
        self.tensors[f"{name}.bias"] = np.ascontiguousarray(bias, np.float32)
        defaults = {"stride": 1, "padding": 0, "groups": 1}
        attrs = {key: layer.get(key, default) for key, default in defaults.items()}
        self.nodes.append(Node(name, kind, [x], attrs if kind == "conv" else {}))

    def _folded(self, weight: Any, bias: Any, layer: Mapping[str, Any], where: str) -> tuple[Any, Any]:
        norm, eps = str(layer["norm"]), layer.get("eps", 1e-5)
        if isinstance(eps, bool) or not isinstance(eps, int | float) or eps < 0:
            raise ExchangeError(f"{where}: eps {eps!r}; wanted a number, at least 0")
        gamma, beta, mean, variance = (
            self._tensor(f"{norm}.{role}", where).astype(np.float64)
            for role in ("weight", "bias", "running_mean", "running_var")
        )
        if gamma.shape != bias.shape:
            raise ExchangeError(f"{where}: {norm} is of {gamma.size} channels; the layer has {bias.size}")
        scale = gamma / np.sqrt(variance + eps)
        return weight * scale.reshape(-1, *(1,) * (weight.ndim - 1)), (bias - mean) * scale + beta

    def _pool(self, name: str, x: str, layer: Mapping[str, Any], where: str) -> None:
        if layer["pool"] not in POOLS:
            raise ExchangeError(f"{where}: pool {layer['pool']!r}; wanted one of {', '.join(POOLS)}")
        size = layer.get("size", 1)
        attrs = {"kind": layer["pool"], "size": size, "stride": layer.get("stride", size)}
        if layer.get("padding"):
            attrs["padding"] = layer["padding"]
        self.nodes.append(Node(name, "pool", [x], attrs))

    def _tensor(self, name: str, where: str) -> NDArray[Any]:
        if name not in self._weights:
            near = ", ".join(list(self._weights)[:8])
            raise ExchangeError(f"{where}: the state_dict has no {name!r}; it has {near}, ...")
        self._used.add(name)
        return self._weights[name]


def _leaky(layer: Mapping[str, Any], weights: Weights, where: str) -> tuple[str, dict[str, float]]:
    """snnTorch's Leaky (as of 1.0): spikes above the threshold. A reset to zero is the same at once and a
    step later, since what is left of the membrane is decayed with it."""
    if "beta" not in layer:
        raise ExchangeError(f"{where}: Leaky has no beta; wanted the number it was made with")
    constants = {"threshold": float(layer.get("threshold", 1.0)), "decay": float(layer["beta"])}
    reset, delayed = layer.get("reset", "subtract"), layer.get("reset_delay", True)
    if reset == "zero":
        return "lif_ms", constants
    if reset == "subtract" and delayed:
        return "lif_subtract", constants
    raise ExchangeError(
        f"{where}: Leaky with reset {reset!r} and reset_delay {str(delayed).lower()} is not supported;"
        " wanted reset 'zero', or 'subtract' with its delay"
    )


def _if(layer: Mapping[str, Any], weights: Weights, where: str) -> tuple[str, dict[str, float]]:
    threshold, soft = _threshold(layer)
    if soft:
        return "lif_sj_full_soft", {"threshold": threshold, "rate": 0.0, "v_reset": 0.0}
    return "if", {"threshold": threshold, "v_reset": 0.0}


def _lif(layer: Mapping[str, Any], weights: Weights, where: str) -> tuple[str, dict[str, float]]:
    """SpikingJelly's LIFNode; v_reset = "none" is its soft reset."""
    return _leaking(layer, 1 / float(layer.get("tau", 2.0)))


def _plif(layer: Mapping[str, Any], weights: Weights, where: str) -> tuple[str, dict[str, float]]:
    """SpikingJelly's ParametricLIFNode, whose rate is the sigmoid of `<name>.w` in the state_dict."""
    name = f"{layer.get('name', '')}.w"
    if name not in weights:
        raise ExchangeError(f"{where}: the state_dict has no {name!r}; give the layer's prefix as its name")
    return _leaking(layer, float(1 / (1 + np.exp(-np.float64(weights[name])))))


def _leaking(layer: Mapping[str, Any], rate: float) -> tuple[str, dict[str, float]]:
    threshold, soft = _threshold(layer)
    kind = ("lif_sj" if layer.get("decay_input", True) else "lif_sj_full") + ("_soft" if soft else "")
    return kind, {"threshold": threshold, "rate": rate, "v_reset": 0.0}


def _threshold(layer: Mapping[str, Any]) -> tuple[float, bool]:
    """The threshold above v_reset, and whether the reset is the soft one. A membrane of SpikingJelly starts
    at v_reset, and ours at 0: what is carried here is how far it lies from v_reset."""
    threshold, reset = float(layer.get("threshold", 1.0)), layer.get("v_reset", 0.0)
    return (threshold, True) if reset == "none" else (threshold - float(reset), False)


@dataclass(frozen=True, slots=True)
class Maker:
    """A neuron's settings, and what makes our kind and its constants of a layer that has them."""

    settings: set[str]
    constants: Callable[[Mapping[str, Any], Weights, str], tuple[str, dict[str, float]]]


NEURONS: dict[str, dict[str, Maker]] = {
    "snntorch": {"Leaky": Maker({"beta", "threshold", "reset", "reset_delay"}, _leaky)},
    "spikingjelly": {
        "IFNode": Maker({"threshold", "v_reset"}, _if),
        "LIFNode": Maker({"tau", "threshold", "v_reset", "decay_input"}, _lif),
        "ParametricLIFNode": Maker({"threshold", "v_reset", "decay_input"}, _plif),
    },
}
