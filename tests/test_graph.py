"""The lowered graph: what it refuses, and each operation against the engines and a longhand twin."""

import re

import msgspec
import numpy as np
import pytest
from gate_cases import gated_graph

from spikeline.models import reference
from spikeline.models.graph import Graph, GraphDocument, GraphError, Node
from spikeline.models.neurons import CONSTANTS, FLUSH, neuron
from spikeline.models.operations import OPERATIONS, OUTPUTS
from spikeline.pipeline.engines import open_engine
from spikeline.pipeline.engines.activity import Meter

import reference as slow
from helpers import small_graph


def changed(graph, *, nodes=None, tensors=None, **document):
    doc = msgspec.structs.replace(graph.document, **document)
    if nodes:
        doc = msgspec.structs.replace(doc, nodes=nodes(list(doc.nodes)))
    return Graph(doc, tensors(dict(graph.tensors)) if tensors else graph.tensors)


def without(key):
    return lambda tensors: {k: v for k, v in tensors.items() if k != key}


def swapped(index, **fields):
    def change(nodes):
        nodes[index] = msgspec.structs.replace(nodes[index], **fields)
        return nodes

    return change


def refined(*gates):
    return swapped(3, attrs={"kind": "lif_ma", "constants": {}, "refine": list(gates)})


def gated(**attrs):
    return swapped(1, op="gate", attrs=attrs)


BAD = {
    "tensor c1.bias: missing": {"tensors": without("c1.bias")},
    "tensor extra: no node uses it": {"tensors": lambda t: t | {"extra": np.zeros(1, np.float32)}},
    "tensor c1.bias: found shape (5,), wanted 6": {
        "tensors": lambda t: t | {"c1.bias": np.zeros(5, np.float32)}
    },
    "tensor c1.bias: found a value that is not finite": {
        "tensors": lambda t: t | {"c1.bias": np.full(6, np.nan, np.float32)}
    },
    "tensor c1.bias: found float64, wanted float32": {"tensors": lambda t: t | {"c1.bias": np.zeros(6)}},
    "node c1: operation 'magic' is not one of": {"nodes": swapped(1, op="magic")},
    "node c1: conv has no attribute 'dilation'": {
        "nodes": swapped(1, attrs={"stride": 1, "padding": 1, "groups": 1, "dilation": 2})
    },
    "node c1: attribute 'groups' is missing": {"nodes": swapped(1, attrs={"stride": 1, "padding": 1})},
    "node c1: stride must be int, found 1.5": {
        "nodes": swapped(1, attrs={"stride": 1.5, "padding": 1, "groups": 1})
    },
    "node c1: stride must be positive, found 0": {
        "nodes": swapped(1, attrs={"stride": 0, "padding": 1, "groups": 1})
    },
    "node c1: input 'n1' is not an earlier node": {"nodes": swapped(1, inputs=["n1"])},
    "node n1: kind: found 'brian', wanted one of": {
        "nodes": swapped(3, attrs={"kind": "brian", "constants": {}})
    },
    "node n1: neuron lif_ma has no constant 'leak'": {
        "nodes": swapped(3, attrs={"kind": "lif_ma", "constants": {"leak": 0.1}})
    },
    "node n1: refine: found 'ca', wanted attributes of a gate": {"nodes": refined("ca")},
    "node n1: refine: found 'ta', wanted one of ca, sa": {"nodes": refined({"kind": "ta", "form": "prefix"})},
    "node n1: refine: form: found 'sliding', wanted one of per-step": {
        "nodes": refined({"kind": "ca", "form": "sliding"})
    },
    "node n1: refine: a kind of gate stands twice": {
        "nodes": refined({"kind": "ca", "form": "per-step"}, {"kind": "ca", "form": "per-step"})
    },
    "tensor n1.refine.sa.weight: missing": {"nodes": refined({"kind": "sa", "form": "per-step"})},
    "node c1: gate ca has no attribute 'lam'": {"nodes": gated(kind="ca", form="per-step", lam=1.0)},
    "node c1: attribute 'lam' is missing": {"nodes": gated(kind="simam", form="per-step")},
    "node c1: form: found 'prefix', wanted one of per-step": {"nodes": gated(kind="eca", form="prefix")},
    "node c1: found 1 inputs, wanted 2": {"nodes": gated(kind="gau", form="static")},
    "node c1: found both threshold and discard": {
        "nodes": gated(kind="ta", form="window", pools="avg", threshold=0.5, discard=0.5)
    },
    "node c1: discard 0.5 in form prefix; wanted 0 to below 1 of a window": {
        "nodes": gated(kind="ta", form="prefix", pools="avg", discard=0.5)
    },
    "node c1: mode lif_time needs the score ta, found ca": {
        "nodes": gated(kind="ia", form="prefix", score="ca", mode="lif_time")
    },
    "form: found 'later', wanted one of step, window": {"form": "later"},
    "horizon endless: a network of form window is tumbling": {"form": "window"},
    "horizon: found 'forever', wanted one of endless, tumbling": {"horizon": "forever"},
    "steps must be at least 1, found 0": {"steps": 0},
}


@pytest.mark.parametrize("message", BAD)
def test_a_graph_that_cannot_be_is_refused_by_name(message):
    with pytest.raises(GraphError, match=re.escape(message)):
        changed(small_graph(), **BAD[message])


PREFIX_TA = {"kind": "ta", "form": "prefix", "pools": "avg"}


@pytest.mark.parametrize(
    ("attrs", "form", "horizon", "message"),
    [
        (PREFIX_TA, "step", "endless", "node gate: gate of form prefix; wanted the horizon tumbling"),
        (PREFIX_TA, "window", "tumbling", "node gate: gate of form prefix in a network of form window"),
        (
            PREFIX_TA | {"form": "window"},
            "step",
            "tumbling",
            "node gate: a gate over the window cannot run one step at a time",
        ),
    ],
)
def test_a_gate_fits_the_form_of_its_network(attrs, form, horizon, message):
    graph, _ = gated_graph(attrs)
    with pytest.raises(GraphError, match=message):
        changed(graph, form=form, horizon=horizon)


def one_operation(op, attrs, shape, form="step"):
    """A graph around one operation on inputs (C, H, W): its values are read, and spikes behind it."""
    rng = np.random.default_rng(5)
    C = shape[0]
    sizes = {
        "conv": {"weight": (4, C // attrs.get("groups", 1), 3, 3), "bias": (4,)},
        "linear": {"weight": (5, int(np.prod(shape))), "bias": (5,)},
    }.get(op, {"scale": (C,), "shift": (C,)})
    tensors = {
        f"x.{role}": rng.normal(0, 0.6, sizes[role]).astype(np.float32) for role in OPERATIONS[op].tensors
    }
    tensors |= {"in.scale": np.full(C, 0.8, np.float32), "in.shift": np.full(C, -0.4, np.float32)}
    inputs = ["in", "input"] if OPERATIONS[op].inputs == 2 else ["in"]
    nodes = [
        Node("input", "input", [], {"gain": 0.37, "clip": 2.0}),
        Node("in", "affine", ["input"], {}),
        Node("x", op, inputs, attrs),
    ]
    horizon = "tumbling" if form == "window" else "endless"
    size = int(np.prod(_shape_of(shape, nodes, tensors)))
    tensors["flat.weight"] = rng.normal(0, 0.5, (6, size)).astype(np.float32)
    tensors["flat.bias"] = np.zeros(6, np.float32)
    nodes += [
        Node("flat", "linear", ["x"], {}),
        Node("n", "neuron", ["flat"], {"kind": "if", "constants": {}}),
        Node("both", "join", ["flat", "n"], {"kind": "membrane"}),
        Node("vote", "vote", ["both"], {"size": 2}),
        Node("readout", "readout", ["vote"], {"kind": "mean"}),
    ]
    return Graph(GraphDocument(form, horizon, 5, shape, nodes), tensors)


def _shape_of(shape, nodes, tensors):
    """Of the last node, from the refusal of a readout that it does not fit."""
    probe = [*nodes, Node("flat", "linear", [nodes[-1].name]), Node("readout", "readout", ["flat"], MEAN)]
    flat = {"flat.weight": np.zeros((1, 1), np.float32), "flat.bias": np.zeros(1, np.float32)}
    with pytest.raises(GraphError) as refusal:
        Graph(GraphDocument("step", "endless", 3, shape, probe), tensors | flat)
    return [int(re.search(r"wanted any x (\d+)", str(refusal.value))[1])]


MEAN = {"kind": "mean"}
CELL = {"kind": "lif_sj", "constants": {"threshold": 0.3}}
OPERATION_CASES = [
    ("conv", {"stride": 1, "padding": 1, "groups": 1}),
    ("conv", {"stride": 2, "padding": 0, "groups": 2}),
    ("affine", {}),
    ("layernorm", {"eps": 1e-5}),
    ("linear", {}),
    *[("pool", {"kind": kind, "size": 2, "stride": 2}) for kind in ("avg", "max", "global")],
    ("pool", {"kind": "max", "size": 3, "stride": 2, "padding": 1}),
    ("pool", {"kind": "avg", "size": 3, "stride": 1}),
    *[("pool", {"kind": "adaptive", "size": size, "stride": 1}) for size in (3, 5)],
    *[("join", {"kind": kind}) for kind in ("or", "and", "iand", "add", "membrane")],
    *[("neuron", CELL | {"output": output}) for output in OUTPUTS],
]


@pytest.mark.parametrize(
    ("op", "attrs"),
    OPERATION_CASES,
    ids=lambda v: v if isinstance(v, str) else "-".join(str(value) for value in v.values()),
)
@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_every_operation_agrees_with_its_reference(op, attrs, engine):
    """One step at a time, and layer by layer over a window: spikes equal, values within 1e-4."""
    rng = np.random.default_rng(5)
    frames = rng.integers(0, 8, (5, 2, 2, 6, 7)).astype(np.uint16)
    stepwise, window = (one_operation(op, attrs, (2, 6, 7), form) for form in ("step", "window"))
    whole = reference.run_window(window, frames, np.float64)
    runner, over = open_engine(engine, stepwise), open_engine(engine, window)
    state, filling = runner.init_state(2), over.init_state(2)
    states = reference.initial_states(stepwise, 2, np.float64)
    spikes = 0
    for t, frame in enumerate(frames):
        values, states = reference.run_step(stepwise, frame, states, t)
        result, at_once = runner.step(frame, state), over.step(frame, filling)
        for name, value in values.items():
            np.testing.assert_allclose(whole[name][t], value, rtol=1e-12, atol=1e-12, err_msg=name)
        fired = np.stack([(values[n] != 0).reshape(2, -1).sum(1) for n in stepwise.layers], 1)
        np.testing.assert_array_equal(result.activity.spikes, fired)
        np.testing.assert_allclose(runner.snapshot(state)["n.h"], states["n.h"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(state.ring[:, -1], values["readout"], rtol=1e-4, atol=1e-4)
        spikes = spikes + fired
    np.testing.assert_array_equal(at_once.activity.spikes, spikes)
    np.testing.assert_allclose(at_once.scores, result.scores, rtol=1e-4, atol=1e-4)
    assert spikes.sum() > 0


def test_every_operation_of_the_list_is_run_by_some_test():
    covered = {op for op, _ in OPERATION_CASES} | {"input", "vote", "readout"}
    assert covered | {"gate"} == set(OPERATIONS)  # gates: tests/test_gates.py


@pytest.mark.parametrize("kind", CONSTANTS)
def test_idling_is_a_step_without_input_bias_or_spike(kind):
    rng = np.random.default_rng(2)
    cell = neuron(kind)
    h = rng.normal(0, 1, 100).astype(np.float32)
    if kind == "if":
        np.testing.assert_array_equal(cell.idle(h), h)
        return
    expected = cell.carry(cell.integrate(h, np.float32(0)), np.float32(0)) - np.float32(
        dict(cell.constants).get("bias", 0)
    )
    np.testing.assert_allclose(cell.idle(h), expected, rtol=1e-6, atol=1e-7)
    assert not neuron(kind).idle(np.full(3, FLUSH / 10, np.float32)).any()
    assert cell.idle(h).dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "x", "spikes", "carried"),
    [  # two steps by hand from a zero membrane, constants of the papers
        ("lif_ma", [0.2, 0.3], [0, 1], [0.06, 0.09]),
        ("lif_ma_paper", [0.2, 0.3], [0, 1], [0.06, 0.0]),
        ("lif_ms", [0.5, 0.5], [0, 1], [0.125, 0.0]),
        ("lif_gac", [1.0, 0.6], [0, 1], [1.0, 0.0]),
        ("lif_sj", [1.0, 2.0], [0, 1], [0.5, 0.0]),
        ("lif_sj_soft", [1.0, 2.0], [0, 1], [0.5, 0.25]),
        ("if", [0.5, 0.5], [0, 1], [0.5, 0.0]),
    ],
)
def test_neurons_do_what_the_papers_say(kind, x, spikes, carried):
    cell, h = neuron(kind), np.zeros(1)
    for current, s, after in zip(x, spikes, carried, strict=True):
        u = cell.integrate(h, np.array([current]))
        fired = cell.fires(u).astype(float)
        h = cell.carry(u, fired)
        assert fired == s
        assert h == pytest.approx(after)


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 1), (2, 0), (1, 0)])
def test_synops_count_only_taps_inside_the_output(stride, padding):
    rng = np.random.default_rng(3)
    graph = small_graph()
    nodes = list(graph.nodes)
    nodes[4] = msgspec.structs.replace(nodes[4], attrs={"stride": stride, "padding": padding, "groups": 1})
    side = (8 + 2 * padding - 3) // stride + 1
    tensors = dict(graph.tensors)
    tensors["f1.weight"] = rng.normal(0, 1, (3, 8 * side * side)).astype(np.float32)
    graph = Graph(msgspec.structs.replace(graph.document, nodes=nodes), tensors)
    s = (rng.random((6, 8, 8)) < 0.2).astype(np.float32)
    counts = {
        "n1": s.sum(0)[None],
        "n2": np.zeros((1, side, side), np.float32),
        "out": np.zeros(1, np.float32),
    }
    found = Meter(graph).measure(counts, np.array([True])).synops[0]
    assert found == slow.synops(s, graph.tensor(nodes[4], "weight"), stride, padding)
