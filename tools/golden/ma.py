"""MA-SNN: the released attention modules, their per-step form, and the LIF and LIAF neurons.

Original layout [B, T, ...].
"""

from golden.gates import all_multiplied, attention_of, gated, multiplied
from golden.neuron_runs import both
from golden.vector import Results, Vector, in_every_form, swap
from spikeline.models.gate_layer import GateLayer
from spikeline.models.neurons import neuron
from spikeline.models.spiking_layer import SpikingLayer


def attention(v: Vector) -> Results:
    x = swap(v.tensor("x"))
    results = in_every_form(gated(v, x, attention_of(v)), x)
    scores = all_multiplied(gated(v, x, attention_of(v, relu=False)), x)
    results |= {f"score_{kind}": gate for kind, gate in scores.items()}
    return {name: swap(result) for name, result in results.items()}


def spatial_gate(v: Vector) -> Results:
    kernel = v.weights["conv.weight"].shape[-1]
    x = swap(v.tensor("x"))
    gate = GateLayer("sa", "window", tuple(x.shape[2:]), len(x), sizes={"kernel": kernel})
    gate = v.load(gate, {"table.weight": "conv.weight"})
    return {"y": swap(multiplied(x, gate.over_time(x), (0, 2)))}


def per_step(v: Vector) -> Results:
    x = swap(v.tensor("x"))
    net = gated(v, x, attention_of(v, statistics="step"))
    return {name: swap(y) for name, y in in_every_form(net, x).items()}


def lif(v: Vector) -> Results:
    config = v.config
    outputs = {"spike": "spikes", "mem": "excess" if config["TR_model"] == "TR" else "membrane"}
    cell = neuron("lif_ma", threshold=config["Vthres"], decay=config["alpha"], bias=config["beta"])
    layer = SpikingLayer(cell, surrogate="rect", width=config["lens"], output=outputs[config["mode"]])
    return both(v, layer, batch_first=True, membrane="h")


FAMILIES = {
    **dict.fromkeys((f"ma_{kind}" for kind in ("ta", "ca", "sa", "tca", "tsa", "csa", "tcsa")), attention),
    **dict.fromkeys((f"ma_{kind}_per_step" for kind in ("ca", "sa", "csa")), per_step),
    "ma_spatial": spatial_gate,
    "ma_lif": lif,
}
