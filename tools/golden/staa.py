"""STAA-SNN: the global context block on one frame, and the layer over a window [T, N, C, H, W]."""

import torch

from golden.vector import Results, Vector
from spikeline.models.gate_layer import GateLayer
from spikeline.models.staa_layer import STAALayer


def _context(ours: str, theirs: str) -> dict[str, str]:
    names = {
        f"{ours}.table.{part}_{role}": f"{theirs}.{part}.{role}"
        for part in "kqv"
        for role in ("weight", "bias")
    }
    return names | {
        f"{ours}.table.norm_{role}": f"{theirs}.ln.{original}"
        for role, original in (("scale", "weight"), ("shift", "bias"))
    }


def context(v: Vector) -> Results:
    x = v.tensor("x")
    sizes = {"hidden": v.weights["gc.q.weight"].shape[0]}
    attrs = {"context": v.config["context"], "eps": v.config.get("eps", 1e-5)}
    gate = GateLayer("gc", "per-step", tuple(x.shape[1:]), 1, sizes=sizes, **attrs)
    gate = v.load(gate, {n.removeprefix("."): original for n, original in _context("", "gc").items()})
    with torch.no_grad():
        return {"y": gate.alone(x)}


def layer(v: Vector) -> Results:
    config, currents = v.config, v.tensor("I")
    channels = currents.shape[2]
    names = {"place.table.pos": "pos"} | _context("context", "gc1") | _context("recall.0", "gc2")
    for i in (0, 1):
        names[f"refine.0.table.w{i}"] = f"sa.conv{i + 1}.weight"
        names[f"refine.0.table.b{i}"] = f"sa.conv{i + 1}.bias"
    module = STAALayer(
        tuple(currents.shape[2:]),
        len(v.weights["pos"]),
        context=config["context"],
        scope=config["gate"],
        ratio=channels // v.weights["gc1.q.weight"].shape[0],
        hidden=v.weights["sa.conv1.weight"].shape[0],
        alpha=config["alpha"],
        threshold=config.get("threshold", 1.0),
    )
    module = v.load(module, names)
    potentials, spikes = [], []
    with torch.no_grad():
        state = module.init_state(currents.shape[1], tuple(currents.shape[2:]), currents)
        for current in currents:
            potentials.append(module.potential(current, state))
            s, state = module.step(current, state)
            spikes.append(s)
        window = module.over_time(currents)
    return {"v": torch.stack(potentials), "s": torch.stack(spikes), "s@window": window}


FAMILIES = {"staa_gc": context, "staa_lif": layer}
