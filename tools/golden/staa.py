"""STAA-SNN: the global context block on one frame, and the layer over a window [T, N, C, H, W]."""

import torch

from golden.vector import Results, Vector, affine
from spikeline.models.staa import GlobalContext, STAALayer


def _context(ours: str, theirs: str) -> dict[str, str]:
    parts = {"k": "k", "q": "q", "v": "v", "norm": "ln"}
    names: dict[str, str] = {}
    for our, their in parts.items():
        names |= affine(f"{ours}{our}", f"{theirs}.{their}")
    return names


def context(v: Vector) -> Results:
    hidden, channels = v.weights["gc.q.weight"].shape
    module = v.load(GlobalContext(channels, hidden, v.config["context"]), _context("", "gc"))
    with torch.no_grad():
        return {"y": module(v.tensor("x"))}


def layer(v: Vector) -> Results:
    steps, channels = v.weights["pos"].shape
    names = {"pos": "pos"} | _context("gc1.", "gc1") | _context("gc2.", "gc2")
    names |= affine("attention.first", "sa.conv1") | affine("attention.second", "sa.conv2")
    config = v.config
    module = STAALayer(
        channels,
        steps,
        ratio=channels // v.weights["gc1.q.weight"].shape[0],
        gate=config["gate"],
        hidden=v.weights["sa.conv1.weight"].shape[0],
        context=config["context"],
        alpha=config["alpha"],
        threshold=config.get("threshold", 1.0),
    )
    module = v.load(module, names)
    currents = v.tensor("I")
    potentials, spikes = [], []
    with torch.no_grad():
        state = module.init_state(currents[0])
        for current in currents:
            potentials.append(module.potential(current, state))
            s, state = module.step(current, state)
            spikes.append(s)
        window = module(currents)
    return {"v": torch.stack(potentials), "s": torch.stack(spikes), "s@window": window}


FAMILIES = {"staa_gc": context, "staa_lif": layer}
