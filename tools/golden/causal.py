"""Attention that runs one step at a time: prefix TA, running CA, SimAM and ECA. Layout [T, N, ...]."""

import torch
from torch import Tensor

from golden.gates import multiplied
from golden.vector import MismatchError, Results, Vector, mlp
from spikeline.models.gate_layer import GateLayer


def prefix(v: Vector) -> Results:
    hidden, steps = v.weights["mlp.0.weight"].shape[:2]
    x = v.tensor("x")
    gate = GateLayer("ta", "prefix", tuple(x.shape[2:]), steps, sizes={"hidden": hidden}, pools="both")
    gate = v.load(gate, mlp("table", "mlp"))
    means = v.tensor("mean_avg"), v.tensor("mean_max")
    if v.config["fill"] == "mean":
        gate.fill(*means)
    elif v.config["fill"] != "zero":
        raise MismatchError(f"fill must be mean or zero, found {v.config['fill']!r}")
    with torch.no_grad():
        results = _looped(gate, x)
        y = results["y"]
        return results | {
            "gate": gate.gates_over_time(x),
            "gate@step": multiplied(x, y, tuple(range(2, x.ndim))).flatten(1),
        }


def running_channels(v: Vector) -> Results:
    hidden, channels = v.weights["mlp.0.weight"].shape[:2]
    x = v.tensor("x")
    gate = GateLayer("ca", "prefix", (channels, *x.shape[3:]), len(x), sizes={"hidden": hidden})
    results = _looped(v.load(gate, mlp("table", "mlp")), x)
    return results | {"gate": multiplied(x, results["y"], (3, 4)).flatten(2)}


def simam(v: Vector) -> Results:
    x = v.tensor("x")
    gate = GateLayer("simam", "per-step", tuple(x.shape[2:]), len(x), lam=v.config["lam"])
    return _looped(gate.eval(), x)


def eca(v: Vector) -> Results:
    x = v.tensor("x")
    kernel = v.weight("conv.weight").shape[-1]
    gate = GateLayer("eca", "per-step", tuple(x.shape[2:]), len(x), sizes={"kernel": kernel})
    return _looped(v.load(gate, {"table.weight": "conv.weight"}), x)


def _looped(gate: GateLayer, x: Tensor) -> Results:
    """The window form and a loop of steps."""
    with torch.no_grad():
        state = gate.init_state(x.shape[1], tuple(x.shape[2:]), x)
        outputs = []
        for frame in x:
            y, state = gate.step(frame, state)
            outputs.append(y)
        return {"y": gate.over_time(x), "y@step": torch.stack(outputs)}


FAMILIES = {"ta_prefix": prefix, "ca_running": running_channels, "simam": simam, "eca": eca}
