"""TA-SNN: temporal attention from averages, and the frames that inference discards. Layout [B, T, ...]."""

import torch

from golden.vector import Results, Vector, affine, swap
from spikeline.models.window_attention import AverageTemporalAttention


def tlayer(v: Vector) -> Results:
    hidden, steps = v.weights["temporal_excitation.0.weight"].shape
    names = affine("first", "temporal_excitation.0") | affine("second", "temporal_excitation.2")
    module = v.load(AverageTemporalAttention(steps, hidden), names)
    x = swap(v.tensor("x"))
    with torch.no_grad():
        results = {"y": swap(module(x)), "score": swap(module.gate(x).flatten(1))}
        for name in v.arrays:
            if name.startswith("mask_"):
                rule = name.removeprefix("mask_")  # "med", the median, or a number written 0p5
                threshold = module.threshold(x, 0.5) if rule == "med" else float(rule.replace("p", "."))
                results[name] = swap(module.kept(x, threshold))
    return results


FAMILIES = {"tasnn_tlayer": tlayer}
