"""GAC: the gated attention unit, the encoder, the CIFAR code's neurons and block. Layout [B, T, ...]."""

import torch

from golden.neuron_runs import both
from golden.residual import over
from golden.vector import Results, Vector, mlp, swap, weighted
from spikeline.models.gac import Encoder, GatedAttentionUnit
from spikeline.models.layers import SpikingLayer
from spikeline.models.neurons import neuron
from spikeline.models.residual import MSBlock


def _unit(v: Vector, prefix: str = "") -> tuple[GatedAttentionUnit, dict[str, str]]:
    t_hidden, steps = v.weights[f"{prefix}TA.sharedMLP.0.weight"].shape[:2]
    hidden, channels, kernel, _ = v.weights[f"{prefix}SCA.sharedMLP.0.weight"].shape
    unit = GatedAttentionUnit(
        steps, channels, kernel=kernel, t_ratio=steps // t_hidden, ratio=channels // hidden
    )
    return unit, mlp("ta.mlp", f"{prefix}TA.sharedMLP") | mlp("sca", f"{prefix}SCA.sharedMLP")


def unit(v: Vector) -> Results:
    module, names = _unit(v)
    module = v.load(module, names)
    x, spikes = swap(v.tensor("x")), swap(v.tensor("spikes"))
    with torch.no_grad():
        ta, sca = module.scores(x)
        return {"ta": swap(ta), "sca": swap(sca), "y": swap(module(x, spikes))}


def encoder(v: Vector) -> Results:
    """`feature_scale` multiplies what batch norm gives; here it goes into its weights."""
    gate, names = _unit(v, "encoding.")
    names = {f"unit.{ours}": theirs for ours, theirs in names.items()}
    names |= weighted("conv", "conv1_s.layer.module", "conv1_s.bn.bn")
    v.same("conv1_s.bn.seqbn.module.", "conv1_s.bn.bn.")
    channels, inputs, kernel, _ = v.weights["conv1_s.layer.module.weight"].shape
    image = v.tensor("img")
    stride = v.stride(image)
    steps = v.arrays["y"].shape[1]
    module = v.load(Encoder(inputs, channels, steps, kernel=kernel, stride=stride, gate=gate), names)
    with torch.no_grad():
        unscaled = module.conv(image).expand(steps, -1, -1, -1, -1)
        module.conv.norm.weight *= v.config.get("feature_scale", 1.0)
        module.conv.norm.bias *= v.config.get("feature_scale", 1.0)
        y = swap(module(image))
        features = module.conv(image).expand(steps, -1, -1, -1, -1)
        spikes = module.neurons(features)
        window = module.unit(features, spikes)
    return {"feat": swap(unscaled), "spikes": swap(spikes), "y": y, "y@window": swap(window)}


def block(v: Vector) -> Results:
    """The same weights stand under several names: a layer's own, its sequence wrapper's, both norms'."""
    channels, inputs = v.weights["conv1.weight"].shape[:2]
    names = weighted("conv1", "conv1", "bn1.bn") | weighted("conv2", "conv2", "bn2.bn")
    for i in (1, 2):
        v.same(f"bn{i}.seqbn.module.", f"bn{i}.bn.")
        v.same(f"conv{i}_s.layer.module.", f"conv{i}.")
        v.same(f"conv{i}_s.bn.bn.", f"bn{i}.bn.")
        v.same(f"conv{i}_s.bn.seqbn.module.", f"bn{i}.bn.")
    if v.has("downsample."):
        names |= weighted("shortcut", "downsample.layer.module", "downsample.bn.bn")
        v.same("downsample.bn.seqbn.module.", "downsample.bn.bn.")
    x = swap(v.tensor("x"))
    stride = v.stride(x)
    module = v.load(MSBlock(inputs, channels, stride, paper="gac"), names)
    return {name: swap(y) for name, y in over(module, x).items()}


def lif(v: Vector) -> Results:
    cell = neuron("lif_gac", threshold=v.config["thresh"], decay=v.config["tau"])
    layer = SpikingLayer(cell, surrogate="triangle", width=v.config["gama"])
    return both(v, layer, batch_first=True, membrane="")


FAMILIES = {"gac_gau": unit, "gac_encoder": encoder, "gac_ms_block": block, "gac_lif": lif}
