"""Small networks and packages with seeded weights, made without torch."""

import numpy as np

from spikeline.models.graph import Graph, GraphDocument, Node
from spikeline.models.neurons import CONSTANTS
from spikeline.pipeline.package import Manifest, Skip


def small_graph(seed=0, *, refine=(), steps=4, horizon="endless", kind="lif_ma", size=16, classes=3):
    """input - conv - pool - neurons - conv - neurons - linear - neurons - readout, on size x size cells."""
    rng = np.random.default_rng(seed)
    tensors = {}

    def weights(name, *shape):
        fan_in = int(np.prod(shape[1:]))
        scale = 8.0 if refine else 4.0  # attention takes half and more of every membrane
        tensors[f"{name}.weight"] = rng.normal(0, scale / fan_in**0.5, shape).astype(np.float32)
        tensors[f"{name}.bias"] = rng.normal(0.1, 0.2, shape[0]).astype(np.float32)

    def neurons(name, source, channels=0):
        attrs = {"kind": kind, "constants": dict(CONSTANTS[kind])}
        if refine and channels:
            attrs["refine"] = [{"kind": gate, "form": "per-step"} for gate in refine]
            gate = f"{name}.refine"
            if "ca" in refine:
                tensors[f"{gate}.ca.w0"] = rng.normal(0, 0.5, (2, channels)).astype(np.float32)
                tensors[f"{gate}.ca.w1"] = rng.normal(0, 0.5, (channels, 2)).astype(np.float32)
            if "sa" in refine:
                tensors[f"{gate}.sa.weight"] = rng.normal(0, 0.2, (1, 2, 3, 3)).astype(np.float32)
        return Node(name, "neuron", [source], attrs)

    weights("c1", 6, 2, 3, 3)
    weights("c2", 8, 6, 3, 3)
    half = size // 2
    weights("f1", classes, 8 * (half // 2) ** 2)
    plain = {"padding": 1, "groups": 1}
    nodes = [
        Node("input", "input", [], {"gain": 0.5, "clip": 4.0}),
        Node("c1", "conv", ["input"], {"stride": 1, **plain}),
        Node("c1.pool", "pool", ["c1"], {"kind": "avg", "size": 2, "stride": 2}),
        neurons("n1", "c1.pool", 6),
        Node("c2", "conv", ["n1"], {"stride": 2, **plain}),
        neurons("n2", "c2", 8),
        Node("f1", "linear", ["n2"], {}),
        neurons("out", "f1"),
        Node("readout", "readout", ["out"], {"kind": "mean"}),
    ]
    return Graph(GraphDocument("step", horizon, steps, (2, size, size), nodes), tensors)


def small_manifest(graph, **changes):
    """A manifest for `small_graph`: a 64x64 sensor, windows of 10 ms, skippable."""
    _, H, W = graph.document.input_shape
    settings = {
        "name": "small",
        "graph": graph.document,
        "labels": ["left", "right", "none"][: graph.classes],
        "dt_us": 10_000,
        "dt_range_us": (10_000, 10_000),
        "sensor": (64, 64),
        "grid": (W, H),
        "skip": Skip("idle", 0.6),
    }
    return Manifest(**(settings | changes))


def frames_of_noise(rng, steps, batch, graph, rate=0.5):
    """Random count frames (steps, batch, 2, H, W) uint16."""
    return rng.poisson(rate, (steps, batch, *graph.document.input_shape)).astype(np.uint16)
