"""Every kind of attention gate in every form it has, with every choice of its attributes: as graphs."""

import functools
from itertools import product

import numpy as np

from spikeline.models import reference
from spikeline.models.graph import Graph, GraphDocument, Node
from spikeline.models.operations import GATES, GraphError, check_node, gate_tensors

T, C, H, W = 5, 6, 5, 7
B = 3
CLASSES = 3
NUMBERS = {"threshold": [0.55], "discard": [0.4], "lam": [1e-4], "eps": [1e-5], "alpha": [2.0]}
SIZES = {  # role -> shape of a kind's tensors; another kind has to be entered here
    "ta": {"w0": (3, T), "w1": (T, 3), "b0": (3,), "b1": (T,), "mean_avg": (T,), "mean_max": (T,)},
    "ca": {"w0": (3, C), "w1": (C, 3)},
    "sa": {"weight": (1, 2, 3, 3)},
    "eca": {"weight": (3,)},
    "simam": {},
    "gc": {
        **{"k.weight": (1, C), "k.bias": (1,), "q.weight": (4, C), "q.bias": (4,)},
        **{"norm.scale": (4,), "norm.shift": (4,), "v.weight": (C, 4), "v.bias": (C,)},
    },
    "pe": {"pos": (T - 2, C)},
    "step": {"w0": (4, 1), "b0": (4,), "w1": (1, 4), "b1": (1,)},
    "step channel": {"w0": (4, C), "b0": (4,), "w1": (C, 4), "b1": (C,)},
    "affine": {"scale": (C,), "shift": (C,)},
    "gau": {
        **{"w0": (2, T), "w1": (T, 2), "mean_avg": (T,), "mean_max": (T,)},
        **{"sca0": (4, C, 4, 4), "sca1": (C, 4, 4, 4)},
    },
}


def all_cases():
    """Attributes of every gate that the list of operations allows."""
    cases = []
    for kind, gate in GATES.items():
        choices = {"form": gate.forms, "relu": (None, True)}
        for name, allowed in gate.attrs.items():
            values = list(allowed) if isinstance(allowed, tuple) else NUMBERS[name]
            choices[name] = [*values, None] if name in gate.optional else values
        for chosen in product(*choices.values()):
            attrs = {"kind": kind} | dict(zip(choices, chosen, strict=True))
            attrs = {name: value for name, value in attrs.items() if value is not None}
            try:
                check_node(Node("g", "gate", ["x"] * (2 if kind == "gau" else 1), attrs))
            except GraphError:  # choices that exclude each other
                continue
            cases.append(attrs)
    return cases


CASES = all_cases()
STEP_CASES = [attrs for attrs in CASES if attrs["form"] != "window"]
STATEFUL_CASES = [  # one of each kind and form that carries something from step to step
    attrs
    for attrs in STEP_CASES
    if attrs["form"] in ("sliding", "prefix", "static") or attrs["kind"] == "pe"
    if "relu" not in attrs and "threshold" not in attrs
]


def case_name(attrs):
    return "-".join(str(value) if value is not True else "relu" for value in attrs.values())


def gate_tensors_for(attrs, rng):
    """Role -> seeded values, with weights at which hard gates are both open and shut."""
    kind = attrs.get("score", attrs["kind"])
    sizes = SIZES["step channel" if kind == "step" and attrs["scope"] == "channel" else kind]
    spread = 1.5 if attrs["kind"] == "ia" else 0.6
    return {
        role: rng.normal(0, 0.1 if role.startswith("sca") else spread, sizes[role]).astype(np.float32)
        for role in gate_tensors(attrs)
    }


def staa_graph(seed=3):
    """STAA's neurons: position, attention on current, membrane before and membrane after."""
    rng = np.random.default_rng(seed)
    gates = {
        "pe": {"kind": "pe", "form": "per-step"},
        "gc": {"kind": "gc", "form": "per-step", "context": "mean", "eps": 1e-5},
        "step": {"kind": "step", "form": "per-step", "scope": "step", "alpha": 2.0},
    }
    cell = {"kind": "if", "constants": {}, "recall": [gates["gc"]], "refine": [gates["step"]]}
    places = [("pe.", "pe"), ("gc.", "gc"), ("n.recall.gc.", "gc"), ("n.refine.step.", "step")]
    tensors = {
        f"{place}{role}": array
        for place, kind in places
        for role, array in gate_tensors_for(gates[kind], rng).items()
    }
    tensors["x.weight"] = rng.normal(0, 0.5, (C, 2, 3, 3)).astype(np.float32)
    tensors["out.weight"] = rng.normal(0, 0.3, (CLASSES, C * H * W)).astype(np.float32)
    tensors["x.bias"], tensors["out.bias"] = np.zeros(C, np.float32), np.zeros(CLASSES, np.float32)
    nodes = [
        Node("input", "input", [], {"gain": 0.5}),
        Node("x", "conv", ["input"], {"stride": 1, "padding": 1, "groups": 1}),
        Node("pe", "gate", ["x"], gates["pe"]),
        Node("gc", "gate", ["pe"], gates["gc"]),
        Node("n", "neuron", ["gc"], cell),
        Node("out", "linear", ["n"]),
        Node("readout", "readout", ["out"], {"kind": "mean"}),
    ]
    return Graph(GraphDocument("step", "endless", T, (2, H, W), nodes), tensors)


def gated_graph(attrs, *, seed=5, volume=True):
    """frames - conv (or linear) - gate - neurons, and a readout of both the gate's values and the spikes."""
    rng = np.random.default_rng(seed)
    own = gate_tensors_for(attrs, rng)
    n = C * H * W if volume else C
    tensors = {f"gate.{role}": array for role, array in own.items()}

    def weights(name, *shape):
        tensors[f"{name}.weight"] = rng.normal(0, 2 / np.prod(shape[1:]) ** 0.5, shape).astype(np.float32)
        tensors[f"{name}.bias"] = rng.normal(0.1, 0.2, shape[0]).astype(np.float32)

    if volume:
        weights("x", C, 2, 3, 3)
        source = Node("x", "conv", ["input"], {"stride": 1, "padding": 1, "groups": 1})
    else:
        weights("x", C, 2 * H * W)
        source = Node("x", "linear", ["input"])
    weights("values", CLASSES, n)
    weights("spikes", CLASSES, n)
    cell = {"kind": "lif_sj", "constants": {"threshold": 0.25, "rate": 0.6, "v_reset": -0.1}}
    inputs = ["x", "fired"] if attrs["kind"] == "gau" else ["x"]
    nodes = [
        Node("input", "input", [], {"gain": 0.5}),
        source,
        *([Node("fired", "neuron", ["x"], cell)] if len(inputs) == 2 else []),
        Node("gate", "gate", inputs, attrs),
        Node("neurons", "neuron", ["gate"], cell),
        Node("values", "linear", ["gate"]),
        Node("spikes", "linear", ["neurons"]),
        Node("both", "join", ["values", "spikes"], {"kind": "membrane"}),
        Node("readout", "readout", ["both"], {"kind": "mean"}),
    ]
    form = "window" if attrs["form"] == "window" else "step"
    horizon = "endless" if attrs["form"] in ("per-step", "sliding") else "tumbling"
    return Graph(GraphDocument(form, horizon, T, (2, H, W), nodes), tensors), own


def lively(attrs, volume=True):
    """`gated_graph` with weights at which its neurons fire, and a hard gate is both open and shut."""
    return _lively(tuple(attrs.items()), volume)


@functools.cache
def _lively(items, volume):
    attrs = dict(items)
    hard = attrs["kind"] == "ia" or "threshold" in attrs or "discard" in attrs
    for seed in range(100):
        graph, own = gated_graph(attrs, seed=seed, volume=volume)
        values = outputs(graph, noise(graph))
        rates = [values[layer].mean() for layer in graph.layers]
        passed = [(values["gate"][s][values["x"][s] > 0] > 0).mean() for s in (slice(None), slice(3, None))]
        if min(rates) > 0.02 and (not hard or (0.1 < passed[0] < 0.9 and passed[1] > 0)):
            return graph, own
    raise AssertionError(f"no weights found for {attrs}")


def noise(graph, steps=T, seed=0):
    """Frames (steps, B, ...) of very different numbers of events."""
    return uneven(np.random.default_rng(seed), steps, B, graph)


def uneven(rng, steps, batch, graph):
    rates = rng.lognormal(-0.3, 1.0, (steps, batch, 1, 1, 1))
    return rng.poisson(rates, (steps, batch, *graph.document.input_shape)).astype(np.uint16)


def outputs(graph, frames):
    """The output of every node over the frames (T, B, ...), float64, by the reference."""
    if graph.document.form == "window":
        return reference.run_window(graph, frames, np.float64)
    states = reference.initial_states(graph, frames.shape[1], np.float64)
    found = []
    for t, frame in enumerate(frames):
        values, states = reference.run_step(graph, frame, states, t)
        found.append(values)
    return {name: np.stack([values[name] for values in found]) for name in found[0]}
