"""Residual blocks: MS-ResNet, Att-MS-ResNet, SEW, and MS-ResNet's neurons. Layout [T, N, C, H, W]."""

import torch
from torch import Tensor

from golden.ma import pooled_gates, under
from golden.neuron_runs import both
from golden.vector import Results, Vector, weighted
from spikeline.models.layers import SpikingLayer, over_steps
from spikeline.models.neurons import neuron
from spikeline.models.residual import MSBlock, SEWBlock
from spikeline.models.window_attention import Cascade


def ms_block(v: Vector) -> Results:
    """MS blocks, the shortcut's kind and the attention from the names of the weights."""
    channels, inputs = v.weights["residual_function.1.weight"].shape[:2]
    x = v.tensor("x")
    stride = v.stride(x)
    names = weighted("conv1", "residual_function.1", "residual_function.2.bn")
    names |= weighted("conv2", "residual_function.4", "residual_function.5.bn")
    pooled = v.has("shortcut.2")
    if v.has("shortcut."):
        conv, norm = ("shortcut.1", "shortcut.2.bn") if pooled else ("shortcut.0", "shortcut.1.bn")
        inner = "weights.1" if pooled and stride > 1 else "weights"
        names |= weighted("shortcut", conv, norm, inner=inner)
    attention = None
    if v.has("residual_function.6"):
        gates, gate_names = pooled_gates(v, "residual_function.6.attention.")
        attention = Cascade(gates)
        names |= under("attention.gates", gate_names)
    block = MSBlock(inputs, channels, stride, shortcut="pool" if pooled else "conv", attention=attention)
    return over(v.load(block, names), x, stepped=attention is None)


def sew_block(v: Vector) -> Results:
    channels, inputs = v.weights["conv1.weight"].shape[:2]
    x = v.tensor("x")
    stride = v.stride(x)
    names = weighted("conv1", "conv1", "bn1") | weighted("conv2", "conv2", "bn2")
    if v.has("downsample."):
        names |= weighted("shortcut", "downsample.0", "downsample.1")
    block = SEWBlock(inputs, channels, stride, g=v.config["cnf"].lower())
    return over(v.load(block, names), x)


def over(block: MSBlock | SEWBlock, x: Tensor, *, stepped: bool = True) -> Results:
    """The window form, and the loop over steps where the block has one."""
    with torch.no_grad():
        results = {"y": block(x)}
        if stepped:
            results["y@step"] = over_steps(block, x)
    return results


def ms_lif(v: Vector) -> Results:
    cell = neuron("lif_ms", threshold=v.config["thresh"], decay=v.config["decay"])
    layer = SpikingLayer(cell, surrogate="rect", width=v.config["lens"], detach=True)
    return both(v, layer, batch_first=False, membrane="")


FAMILIES = {"ms_block": ms_block, "attms_block": ms_block, "sew_block": sew_block, "ms_lif": ms_lif}
