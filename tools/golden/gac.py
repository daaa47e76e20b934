"""GAC: the gated attention unit, the encoder, the CIFAR code's neurons and block. Layout [B, T, ...]."""

from typing import Any

import torch

from golden.gates import multiplied
from golden.neuron_runs import both
from golden.vector import Results, Vector, empty, in_every_form, mlp, swap, weighted
from spikeline.models.gac import GACSettings, encode
from spikeline.models.gate_layer import GateLayer
from spikeline.models.gate_scores import unit_score
from spikeline.models.neurons import neuron
from spikeline.models.residual import ms_block
from spikeline.models.spiking_layer import SpikingLayer
from spikeline.models.stateless import Weighted


def _sizes(v: Vector, prefix: str = "") -> dict[str, int]:
    hidden = v.weights[f"{prefix}TA.sharedMLP.0.weight"].shape[0]
    between, _, kernel, _ = v.weights[f"{prefix}SCA.sharedMLP.0.weight"].shape
    return {"hidden": hidden, "between": between, "kernel": kernel}


def _names(ours: str, prefix: str = "") -> dict[str, str]:
    sca = {f"{ours}.sca{i}": f"{prefix}SCA.sharedMLP.{2 * i}.weight" for i in (0, 1)}
    return mlp(ours, f"{prefix}TA.sharedMLP") | sca


def unit(v: Vector) -> Results:
    x, spikes = swap(v.tensor("x")), swap(v.tensor("spikes"))
    shape, sizes = tuple(x.shape[2:]), _sizes(v)
    gate = v.load(GateLayer("gau", "window", shape, len(x), sizes=sizes), _names("table"))
    time = GateLayer("ta", "window", shape, len(x), sizes={"hidden": sizes["hidden"]}, pools="both")
    time = v.load(time, mlp("table", "TA.sharedMLP"))
    with torch.no_grad():
        ta = torch.logit(multiplied(x, time.over_time(x), (2, 3, 4)))
        sca = unit_score(gate._setting, x.flatten(0, 1)).unflatten(0, x.shape[:2])
        results = {"ta": ta, "sca": sca, "y": gate.over_time(x, spikes)}
    return {name: swap(result) for name, result in results.items()}


def encoder(v: Vector) -> Results:
    """`feature_scale` multiplies what batch norm gives; here it goes into its weights."""
    names = _names("parts.encoder_gate.table", "encoding.")
    names |= weighted("current", "conv1_s.layer.module", "conv1_s.bn.bn")
    v.same("conv1_s.bn.seqbn.module.", "conv1_s.bn.bn.")
    channels, inputs, kernel, _ = v.weights["conv1_s.layer.module.weight"].shape
    image = v.tensor("img")
    steps = v.arrays["y"].shape[1]
    x = image.expand(steps, *image.shape)
    sizes = _sizes(v, "encoding.")
    results: Results = {}
    for form in ("static", "window"):
        settings = GACSettings(
            form=form,
            t_ratio=steps // sizes["hidden"],
            c_ratio=channels // sizes["between"],
            kernel=sizes["kernel"],
        )
        net = empty(x)
        current = net.add("current", Weighted.conv(inputs, channels, kernel, v.stride(image)), net.frames)
        encode(net, settings, current)
        net = v.load(net, names)
        with torch.no_grad():
            results["feat"] = net.values(x)["current"]
            norm: Any = net.part("current").norm
            norm.weight *= v.config.get("feature_scale", 1.0)
            norm.bias *= v.config.get("feature_scale", 1.0)
            results["spikes"] = net.values(x)["encoder"]
        found = in_every_form(net, x)
        results |= found if form == "static" else {"y@window": found["y"]}
    return {name: swap(result) for name, result in results.items()}


def block(v: Vector) -> Results:
    """The same weights stand under several names: a layer's own, its sequence wrapper's, both norms'."""
    names = weighted("block_lif2_current", "conv1", "bn1.bn") | weighted("block_residual", "conv2", "bn2.bn")
    for i in (1, 2):
        v.same(f"bn{i}.seqbn.module.", f"bn{i}.bn.")
        v.same(f"conv{i}_s.layer.module.", f"conv{i}.")
        v.same(f"conv{i}_s.bn.bn.", f"bn{i}.bn.")
        v.same(f"conv{i}_s.bn.seqbn.module.", f"bn{i}.bn.")
    if v.has("downsample."):
        names |= weighted("block_shortcut", "downsample.layer.module", "downsample.bn.bn")
        v.same("downsample.bn.seqbn.module.", "downsample.bn.bn.")
    x = swap(v.tensor("x"))
    net = empty(x)
    ms_block(net, "block", net.frames, v.weights["conv1.weight"].shape[0], v.stride(x), GACSettings())
    return {name: swap(y) for name, y in in_every_form(v.load(net, names), x).items()}


def lif(v: Vector) -> Results:
    cell = neuron("lif_gac", threshold=v.config["thresh"], decay=v.config["tau"])
    layer = SpikingLayer(cell, surrogate="triangle", width=v.config["gama"])
    return both(v, layer, batch_first=True, membrane="")


FAMILIES = {"gac_gau": unit, "gac_encoder": encoder, "gac_ms_block": block, "gac_lif": lif}
