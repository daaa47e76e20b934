"""TA-SNN: temporal attention from averages, and the frames that inference discards. Layout [B, T, ...]."""

from typing import Any

import torch

from golden.gates import multiplied
from golden.vector import Results, Vector, swap
from spikeline.models.gate_layer import GateLayer


def tlayer(v: Vector) -> Results:
    hidden, steps = v.weights["temporal_excitation.0.weight"].shape
    names = {"w0": "0.weight", "b0": "0.bias", "w1": "2.weight", "b1": "2.bias"}
    names = {f"table.{ours}": f"temporal_excitation.{theirs}" for ours, theirs in names.items()}
    x = swap(v.tensor("x"))

    def gate(**attrs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The gated window, and the gates (B, T)."""
        sizes = {"hidden": hidden}
        layer = GateLayer("ta", "window", tuple(x.shape[2:]), steps, sizes=sizes, pools="avg", **attrs)
        with torch.no_grad():
            y = v.load(layer, names).over_time(x)
        return swap(y), swap(multiplied(x, y, tuple(range(2, x.ndim))).flatten(1))

    y, score = gate()
    results = {"y": y, "score": score}
    for name in v.arrays:
        if name.startswith("mask_"):
            rule = name.removeprefix("mask_")  # "med", the median, or a number written 0p5
            hard = {"discard": 0.5} if rule == "med" else {"threshold": float(rule.replace("p", "."))}
            results[name] = gate(**hard)[1]
    return results


FAMILIES = {"tasnn_tlayer": tlayer}
