"""Attention that runs one step at a time: prefix TA, running CA, SimAM and ECA. Layout [T, N, ...]."""

import torch
from torch import Tensor

from golden.vector import MismatchError, Results, Vector, mlp
from spikeline.models.attention import EfficientChannelAttention, SimAM, StepGates
from spikeline.models.causal_attention import PrefixTA
from spikeline.models.running_attention import RunningCA


def prefix(v: Vector) -> Results:
    hidden, steps = v.weights["mlp.0.weight"].shape[:2]
    module = PrefixTA(steps, hidden).to(v.dtype).eval()
    names = mlp("mlp", "mlp")
    for ours, theirs in names.items():
        module.get_parameter(ours).data = v.weight(theirs)
    means = v.tensor("mean_avg"), v.tensor("mean_max")
    if v.config["fill"] == "mean":
        module.fill(*means)
    elif v.config["fill"] != "zero":
        raise MismatchError(f"fill must be mean or zero, found {v.config['fill']!r}")
    x = v.tensor("x")
    with torch.no_grad():
        gates, outputs = _loop(module, x)
        return {"gate": module.gate(x), "y": module(x), "gate@step": gates, "y@step": outputs}


def running_channels(v: Vector) -> Results:
    hidden, channels = v.weights["mlp.0.weight"].shape[:2]
    module = v.load(RunningCA(channels, hidden), mlp("mlp", "mlp"))
    x = v.tensor("x")
    with torch.no_grad():
        gates, outputs = _loop(module, x)
        return {"gate": gates, "y@step": outputs, "y": module(x)}


def _loop(module: PrefixTA | RunningCA, x: Tensor) -> tuple[Tensor, Tensor]:
    state = module.init_state(x[0])
    gates, outputs = [], []
    for frame in x:
        gates.append(module.gate_step(frame, state)[0])
        y, state = module.step(frame, state)
        outputs.append(y)
    return torch.stack(gates), torch.stack(outputs)


def simam(v: Vector) -> Results:
    return _each_step(v, SimAM(v.config["lam"]))


def eca(v: Vector) -> Results:
    kernel = v.weights["conv.weight"].shape[-1]
    return _each_step(v, v.load(EfficientChannelAttention(kernel), {"weight": "conv.weight"}))


def _each_step(v: Vector, gate: torch.nn.Module) -> Results:
    x = v.tensor("x")
    with torch.no_grad():
        return {"y": StepGates({"gate": gate})(x), "y@step": torch.stack([gate(frame) for frame in x])}


FAMILIES = {
    "ta_prefix": prefix,
    "ca_running": running_channels,
    "simam": simam,
    "eca": eca,
}
