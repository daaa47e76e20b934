"""What is counted: multiply-accumulates of every gate by hand, and what is a spike and what a real value."""

import msgspec
import numpy as np
import pytest
from gate_cases import CASES, C, H, T, W, case_name, gated_graph

from spikeline.models.graph import Graph, GraphDocument, Node
from spikeline.pipeline.engines import ENGINES, open_engine
from spikeline.pipeline.engines.activity import Meter

from helpers import frames_of_noise, small_graph

VALUES, PIXELS = C * H * W, H * W  # 210 and 35
# (kind, form, what distinguishes it) -> multiply-accumulates of a run, with the tensors of gate_cases.SIZES
BY_HAND = {
    ("ta", "window", "both"): 2 * 15 + 15 + T * 210,
    ("ta", "window", "avg"): 15 + 15 + T * 210,
    ("ta", "sliding", "both"): 2 * 15 + 3 + 210,
    ("ta", "sliding", "avg"): 15 + 3 + 210,
    ("ta", "prefix", "both"): 2 * 3 + 3 + 210,
    ("ta", "prefix", "avg"): 3 + 3 + 210,
    ("ca", "window", None): 2 * 18 + 18 + T * 210,
    **{("ca", form, None): 2 * 18 + 18 + 210 for form in ("per-step", "sliding", "prefix")},
    ("sa", "window", None): 18 * 35 + T * 210,
    **{("sa", form, None): 18 * 35 + 210 for form in ("per-step", "sliding", "prefix")},
    ("eca", "per-step", None): 3 * 6 + 210,
    ("simam", "per-step", None): 3 * 210,
    ("gc", "per-step", "mean"): 2 * 210 + 24 + 24 + 2 * 4,
    ("gc", "per-step", "sum"): 2 * 210 + 24 + 24 + 2 * 4,
    ("pe", "per-step", None): 0,
    ("step", "per-step", "step"): 4 + 4 + 210,
    ("step", "per-step", "channel"): 24 + 24 + 210,
    ("affine", "per-step", None): 210,
    ("gau", "window", None): 2 * 10 + 10 + T * (2 * 384 * 35 + 2 * 210),
    ("gau", "sliding", None): 2 * 10 + 2 + 2 * 384 * 35 + 2 * 210,
    ("gau", "prefix", None): 2 * 2 + 2 + 2 * 384 * 35 + 2 * 210,
    ("gau", "static", None): 2 * 2 + 2 + 2 * 384 * 35 + 2 * 210,
}


@pytest.mark.parametrize("attrs", CASES, ids=case_name)
def test_a_gate_costs_what_its_formula_says(attrs):
    graph, _ = gated_graph(attrs)
    what = attrs.get("pools") or attrs.get("context") or attrs.get("scope")
    key = (attrs["kind"], attrs["form"], what)
    if attrs["kind"] == "ia":  # what its score costs
        key = (attrs["score"], attrs["form"], "both" if attrs["score"] == "ta" else None)
    steps = T if attrs["form"] == "window" else 1
    real = C * 2 * 9 * PIXELS + 3 * VALUES  # the convolution of frames, the layer fed by the gate's values
    meter = Meter(graph)
    assert meter.mac == BY_HAND[key] + steps * real
    assert meter.mac_per_step == round(meter.mac / steps)
    assert meter.counted == graph.layers


def test_macs_by_hand_leave_no_gate_out():
    kinds = {(a["score"] if a["kind"] == "ia" else a["kind"], a["form"]) for a in CASES}
    assert kinds == {(kind, form) for kind, form, _ in BY_HAND}


def joined(kind):
    """Two layers of neurons on one current, joined; and a linear layer on the join."""
    rng = np.random.default_rng(4)
    cell = {"kind": "if", "constants": {"threshold": 0.5}}
    other = {"kind": "if", "constants": {"threshold": 0.8}}
    nodes = [
        Node("input", "input", [], {"gain": 1.0}),
        Node("a", "neuron", ["input"], cell),
        Node("b", "neuron", ["input"], other),
        Node("j", "join", ["a", "b"], {"kind": kind}),
        Node("out", "linear", ["j"]),
        Node("readout", "readout", ["out"], {"kind": "mean"}),
    ]
    tensors = {
        "out.weight": rng.normal(0, 1, (3, 2 * 16)).astype(np.float32),
        "out.bias": np.zeros(3, np.float32),
    }
    return Graph(GraphDocument("step", "endless", 4, (2, 4, 4), nodes), tensors)


@pytest.mark.parametrize("name", ENGINES)
def test_a_spike_of_value_two_is_one_synaptic_operation_per_weight(name):
    graph = joined("add")
    engine = open_engine(name, graph)
    frame = np.zeros((1, 2, 4, 4), np.uint16)
    frame[0, 0, 1, :3] = 2  # both layers fire here: the join is 2
    result = engine.step(frame, engine.init_state())
    assert result.activity.spikes.tolist() == [[3, 3]]
    assert result.activity.synops.tolist() == [3 * 3]
    assert result.activity.mac.tolist() == [0]


def test_what_is_not_a_spike_is_multiplied_densely():
    rng = np.random.default_rng(0)
    graph = small_graph(1)
    plain = Meter(graph)
    conv = graph.tensor(graph.nodes[4], "weight").size * 4 * 4
    nodes = list(graph.nodes)
    for output in ("membrane", "excess"):
        nodes[3] = msgspec.structs.replace(nodes[3], attrs=nodes[3].attrs | {"output": output})
        analog = Graph(msgspec.structs.replace(graph.document, nodes=nodes), graph.tensors)
        assert Meter(analog).mac == plain.mac + conv
        assert "n1" not in analog.spiking and "n2" in analog.spiking
        for name in ENGINES:
            engine = open_engine(name, analog)
            state = engine.init_state()
            for frames in frames_of_noise(rng, 5, 1, analog):
                result = engine.step(frames, state)
            assert result.activity.synops[0] == result.activity.spikes[0, 1] * graph.classes
    pooled = [*graph.nodes[:4], Node("p", "pool", ["n1"], {"kind": "avg", "size": 1, "stride": 1})]
    pooled += [msgspec.structs.replace(graph.nodes[4], inputs=["p"]), *graph.nodes[5:]]
    averaged = Graph(msgspec.structs.replace(graph.document, nodes=pooled), graph.tensors)
    assert Meter(averaged).mac == plain.mac + conv
    assert graph.dense_macs == {"c1": 6 * 2 * 9 * 256, "c2": conv, "f1": 3 * 8 * 16}


def test_normalisations_that_are_not_folded_cost_one_and_two_a_value():
    graph = small_graph(1)
    plain = Meter(graph).mac
    for op, attrs, each in (("affine", {}, 1), ("layernorm", {"eps": 1e-5}, 2)):
        nodes = [*graph.nodes[:2], Node("x", op, ["c1"], attrs)]
        nodes += [msgspec.structs.replace(graph.nodes[2], inputs=["x"]), *graph.nodes[3:]]
        more = {f"x.{role}": np.ones(6, np.float32) for role in ("scale", "shift")}
        found = Meter(Graph(msgspec.structs.replace(graph.document, nodes=nodes), {**graph.tensors, **more}))
        assert found.mac == plain + each * 6 * 16 * 16
