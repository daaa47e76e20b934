"""Residual blocks: MS-ResNet, Att-MS-ResNet, SEW, and MS-ResNet's neurons. Layout [T, N, C, H, W]."""

from golden.gates import attention_of, gate_names
from golden.neuron_runs import both
from golden.vector import Results, Vector, empty, in_every_form, weighted
from spikeline.models.neurons import neuron
from spikeline.models.residual import ResNetSettings, ms_block
from spikeline.models.sew import sew_block
from spikeline.models.spiking_layer import SpikingLayer


def block(v: Vector) -> Results:
    """MS blocks, the shortcut's kind and the attention from the names of the weights."""
    channels = v.weights["residual_function.1.weight"].shape[0]
    x = v.tensor("x")
    names = weighted("block_lif2_current", "residual_function.1", "residual_function.2.bn")
    names |= weighted("block_residual", "residual_function.4", "residual_function.5.bn")
    pooled = v.has("shortcut.2")
    if v.has("shortcut."):
        conv, norm = ("shortcut.1", "shortcut.2.bn") if pooled else ("shortcut.0", "shortcut.1.bn")
        names |= weighted("block_shortcut", conv, norm)
    attention = None
    if v.has("residual_function.6"):
        attention = attention_of(v, "residual_function.6.attention.")
        names |= gate_names(v, "residual_function.6.attention.", "block")
    net = empty(x)
    settings = ResNetSettings(shortcut="pool" if pooled else "conv")
    ms_block(net, "block", net.frames, channels, v.stride(x), settings, attention=attention)
    return in_every_form(v.load(net, names), x)


def sew(v: Vector) -> Results:
    x = v.tensor("x")
    names = weighted("block_lif1_current", "conv1", "bn1") | weighted("block_lif2_current", "conv2", "bn2")
    if v.has("downsample."):
        names |= weighted("block_side_current", "downsample.0", "downsample.1")
    net = empty(x)
    channels = v.weights["conv1.weight"].shape[0]
    sew_block(net, "block", net.frames, channels, v.stride(x), g=v.config["cnf"].lower())
    return in_every_form(v.load(net, names), x)


def ms_lif(v: Vector) -> Results:
    cell = neuron("lif_ms", threshold=v.config["thresh"], decay=v.config["decay"])
    layer = SpikingLayer(cell, surrogate="rect", width=v.config["lens"], detach=True)
    return both(v, layer, batch_first=False, membrane="")


FAMILIES = {"ms_block": block, "attms_block": block, "sew_block": sew, "ms_lif": ms_lif}
