"""SpikingJelly: neurons, surrogates and its two attention layers. Layout [T, N, ...]."""

import re

import torch

from golden.gates import attention_of, gated
from golden.neuron_runs import both
from golden.vector import MismatchError, Results, Vector, in_every_form, mlp
from spikeline.models.gate_layer import GateLayer
from spikeline.models.neurons import neuron
from spikeline.models.spiking_layer import ParametricLayer, SpikingLayer
from spikeline.models.surrogate import WIDTHS, spike


def lif(v: Vector) -> Results:
    config = v.config
    reset = config.get("v_reset", 0.0)
    kind = ("lif_sj" if config.get("decay_input", True) else "lif_sj_full") + (
        "_soft" if reset is None else ""
    )
    cell = neuron(
        kind, rate=1 / config["tau"], threshold=config.get("v_threshold", 1.0), v_reset=reset or 0.0
    )
    layer = SpikingLayer(cell, surrogate="atan", width=2.0, detach=config.get("detach_reset", True))
    return both(v, layer, batch_first=False, membrane="v", start=reset or 0.0)


def plif(v: Vector) -> Results:
    config = v.config
    reset = config.get("v_reset", 0.0)
    layer = ParametricLayer(
        detach=config.get("detach_reset", True),
        decay_input=config.get("decay_input", True),
        threshold=config.get("v_threshold", 1.0),
        v_reset=reset,
    )
    return both(v, v.load(layer, {"w": "w"}), batch_first=False, membrane="v", start=reset)


def integrate(v: Vector) -> Results:
    config = v.config
    reset = config.get("v_reset", 0.0)
    cell = neuron("if", threshold=config.get("v_threshold", 1.0), v_reset=reset)
    layer = SpikingLayer(cell, surrogate="atan", width=2.0, detach=config.get("detach_reset", True))
    return both(v, layer, batch_first=False, membrane="v", start=reset)


def surrogates(v: Vector) -> Results:
    """Arrays grad_<kind>, out_<kind>; a number behind the kind repeats its width, config's <kind>_alpha."""
    results: Results = {}
    for name in v.arrays:
        found = re.fullmatch(r"(grad|out)_([a-z]+)[0-9p]*", name)
        if found is None:
            continue
        kind = found[2]
        if kind not in WIDTHS:
            raise MismatchError(f"surrogate {kind!r} is not known; choose from {', '.join(WIDTHS)}")
        x = v.tensor("x").requires_grad_(True)
        width = v.config.get(f"{kind}_alpha", WIDTHS[kind])
        out = spike(x, threshold=0.0, strict=False, kind=kind, width=width)
        out.sum().backward()
        results[name] = x.grad if found[1] == "grad" else out
    return results


def temporal_wise(v: Vector) -> Results:
    hidden, steps = v.weights["sharedMLP.0.weight"].shape[:2]
    x = v.tensor("x")
    gate = GateLayer("ta", "window", tuple(x.shape[2:]), steps, sizes={"hidden": hidden}, pools="both")
    with torch.no_grad():
        return {"y": v.load(gate, mlp("table", "sharedMLP")).over_time(x)}


def multi_dim(v: Vector) -> Results:
    x = v.tensor("x")
    return in_every_form(gated(v, x, attention_of(v)), x)


FAMILIES = {
    "sj_lif": lif,
    "sj_plif": plif,
    "sj_if": integrate,
    "sj_surrogates": surrogates,
    "sj_temporalwise": temporal_wise,
    "sj_multidim": multi_dim,
}
