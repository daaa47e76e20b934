"""The lowered graph: what it refuses, and each operation against the engines and a longhand twin."""

import re

import msgspec
import numpy as np
import pytest

from spikeline.models import reference
from spikeline.models.graph import Graph, GraphDocument, GraphError, Node
from spikeline.models.neurons import CONSTANTS, FLUSH, neuron
from spikeline.models.operations import GATE_TENSORS, OPERATIONS
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
    "node n1: gate: found 'ta', wanted one of ca, sa": {
        "nodes": swapped(3, attrs={"kind": "lif_ma", "constants": {}, "refine": ["ta"]})
    },
    "form 'window' is not run by this version": {"form": "window"},
    "horizon: found 'forever', wanted one of endless, tumbling": {"horizon": "forever"},
    "steps must be at least 1, found 0": {"steps": 0},
}


@pytest.mark.parametrize("message", BAD)
def test_a_graph_that_cannot_be_is_refused_by_name(message):
    with pytest.raises(GraphError, match=re.escape(message)):
        changed(small_graph(), **BAD[message])


def one_operation(op, attrs, shape, rng, spiking=False):
    """A graph around one operation on inputs of `shape` (C, H, W), a neuron and a readout behind it."""
    attrs = dict(attrs)
    C = shape[0]
    tensors = {}
    for role in OPERATIONS[op].tensors:
        sizes = {
            "conv": {"weight": (4, C // attrs.get("groups", 1), 3, 3), "bias": (4,)},
            "linear": {"weight": (5, int(np.prod(shape))), "bias": (5,)},
        }.get(op, {"scale": (C,), "shift": (C,)})
        tensors[f"x.{role}"] = rng.normal(0, 0.6, sizes[role]).astype(np.float32)
    for role in GATE_TENSORS.get(attrs.get("kind"), ()) if op == "gate" else ():
        size = {"ca.w0": (2, C), "ca.w1": (C, 2), "sa.weight": (1, 2, 3, 3)}[role]
        tensors[f"x.{role}"] = rng.normal(0, 0.6, size).astype(np.float32)
    inputs = ["input", "input"] if OPERATIONS[op].inputs == 2 else ["input"]
    nodes = [Node("input", "input", [], {"gain": 0.37, "clip": 2.0}), Node("x", op, inputs, attrs)]
    nodes.append(Node("flat", "linear", ["x"], {}))
    document = GraphDocument("step", "endless", 3, shape, nodes)
    size = int(np.prod(_shape_of(document, tensors)))
    tensors["flat.weight"] = rng.normal(0, 0.5, (6, size)).astype(np.float32)
    tensors["flat.bias"] = np.zeros(6, np.float32)
    nodes = [*nodes, Node("n", "neuron", ["flat"], {"kind": "if", "constants": {}})]
    nodes += [
        Node("vote", "vote", ["n"], {"size": 2}),
        Node("readout", "readout", ["vote"], {"kind": "mean"}),
    ]
    return Graph(GraphDocument("step", "endless", 3, shape, nodes), tensors)


def _shape_of(document, tensors):
    for features in range(1, 2_000):
        probe = {
            **tensors,
            "flat.weight": np.zeros((1, features), np.float32),
            "flat.bias": np.zeros(1, np.float32),
        }
        nodes = [*document.nodes, Node("readout", "readout", ["flat"], {"kind": "mean"})]
        try:
            return Graph(msgspec.structs.replace(document, nodes=nodes), probe).shapes["x"]
        except GraphError:
            continue
    raise AssertionError("no shape")


CASES = [
    ("conv", {"stride": 1, "padding": 1, "groups": 1}),
    ("conv", {"stride": 2, "padding": 0, "groups": 2}),
    ("affine", {}),
    ("layernorm", {"eps": 1e-5}),
    ("linear", {}),
    *[("pool", {"kind": kind, "size": 2, "stride": 2}) for kind in ("avg", "max", "global")],
    *[("join", {"kind": kind}) for kind in ("or", "and", "iand", "add", "membrane")],
    *[("gate", {"kind": kind}) for kind in GATE_TENSORS],
]


@pytest.mark.parametrize(
    ("op", "attrs"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values()))
)
@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_every_operation_agrees_with_its_reference(op, attrs, engine):
    rng = np.random.default_rng(5)
    graph = one_operation(op, attrs, (2, 6, 7), rng)
    runner = open_engine(engine, graph)
    state = runner.init_state(2)
    membranes = {name: np.zeros((2, *shape), np.float64) for name, shape in graph.membranes.items()}
    for _ in range(5):
        frames = rng.integers(0, 8, (2, 2, 6, 7)).astype(np.uint16)
        values, membranes = reference.run_step(graph, frames, membranes)
        runner.step(frames, state)
        np.testing.assert_allclose(runner.snapshot(state)["n.h"], membranes["n.h"], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(state.ring[:, -1], values["readout"].astype(np.float32))


def test_every_operation_of_the_list_is_run_by_some_test():
    covered = {op for op, _ in CASES} | {"input", "neuron", "vote", "readout"}
    assert covered == set(OPERATIONS)


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
