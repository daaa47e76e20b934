"""The spike-driven engine beyond the contract: what is left alone, what comes early, which path is taken."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from gate_cases import lively
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.models.graph import Graph, GraphDocument, Node
from spikeline.models.neurons import CONSTANTS, neuron
from spikeline.pipeline.agreement import compare
from spikeline.pipeline.engines import EngineError, open_engine
from spikeline.pipeline.engines.sparse import lines
from spikeline.pipeline.engines.sparse.calibration import measure_costs
from spikeline.pipeline.engines.sparse.cells import cell
from spikeline.pipeline.engines.sparse.costs import Costs, load_costs, predicted_us, save_costs
from spikeline.pipeline.engines.sparse.counts import MOST
from spikeline.pipeline.engines.sparse.engine import SparseEngine
from spikeline.pipeline.events import EventPacket

from helpers import frames_of_noise, small_graph

CHEAP_ADDS, DEAR_ADDS = Costs(add=1e-6), Costs(add=1e5)


def quiet_graph(kind="lif_sj", seed=1, **constants):
    """`small_graph` with biases at which nothing fires by itself."""
    graph = small_graph(seed, kind=kind)
    nodes = [
        msgspec.structs.replace(node, attrs=node.attrs | {"constants": node.attrs["constants"] | constants})
        if node.op == "neuron"
        else node
        for node in graph.nodes
    ]
    bias = 0.0 if kind == "if" else 0.1  # without a leak any current that stays fires some day
    tensors = {
        name: t * np.float32(bias if name.endswith("bias") else 2) for name, t in graph.tensors.items()
    }
    return Graph(msgspec.structs.replace(graph.document, nodes=nodes), tensors)


def frames_with_silence(graph, steps, seed):
    """Mostly nothing, now and then a few events in a corner, or everywhere."""
    rng = np.random.default_rng(seed)
    frames = np.zeros((steps, 1, *graph.document.input_shape), np.uint16)
    for frame in frames:
        what = rng.integers(0, 6)
        if what == 0:
            frame[:] = rng.poisson(0.5, frame.shape)
        elif what == 1:
            frame[0, :, :5, :4] = rng.poisson(1.0, (2, 5, 4))
    return frames


def packet_of(frame, rng):
    """The events of a frame (2, H, W), in any order."""
    p, y, x = (np.repeat(axis, frame[frame > 0]) for axis in np.nonzero(frame))
    order = rng.permutation(len(p))
    columns = [a[order].astype(t) for a, t in ((x, np.uint16), (y, np.uint16), (p, np.uint8))]
    return EventPacket(np.zeros(len(p), np.int64), *columns, 1, 0, None)


@pytest.mark.parametrize("kind", CONSTANTS)
def test_a_neuron_is_its_numbers(kind):
    own = neuron(kind)
    numbers = cell(own)
    a, threshold, p0, q0, p1, q1 = (float(n) for n in numbers.numbers)
    for h, x in ((0.3, 0.1), (-0.4, 2.0), (0.0, threshold)):
        u = own.integrate(h, x)
        assert a * (h + numbers.ratio * x) + numbers.c == pytest.approx(u, abs=1e-6)
        assert p0 * u + q0 == pytest.approx(own.carry(u, 0.0), abs=1e-6)
        assert p1 * u + q1 == pytest.approx(own.carry(u, 1.0), abs=1e-6)
    at = np.float32(own["threshold"])
    assert (at >= numbers.numbers[1]) == (not own.strict)


def test_a_neuron_whose_membrane_does_not_enter_has_no_numbers():
    assert cell(neuron("lif_sj", rate=1.0)) is None
    graph = quiet_graph(rate=1.0)
    found = compare(open_engine("torch", graph), SparseEngine(graph), frames_with_silence(graph, 20, 0))
    assert found.differing == 0 and found.spikes > 50


@pytest.mark.parametrize("kind", CONSTANTS)
@settings(deadline=None, max_examples=6)
@given(st.integers(0, 1000))
def test_what_is_left_alone_is_as_if_it_had_not_been(kind, seed):
    """To the bit: spikes at every step, scores, and the state whenever somebody looks."""
    graph = quiet_graph(kind)
    lazy, eager = SparseEngine(graph), SparseEngine(graph)
    for layer in eager.plan.layers:
        object.__setattr__(layer.neurons, "lazy", False)
    assert any(layer.neurons.lazy for layer in lazy.plan.layers)
    one, two = lazy.init_state(), eager.init_state()
    for i, frame in enumerate(frames_with_silence(graph, 60, seed)):
        a, b = lazy.step(frame, one), eager.step(frame, two)
        np.testing.assert_array_equal(a.activity.spikes, b.activity.spikes)
        np.testing.assert_array_equal(a.scores, b.scores)
        if i % 13 == 0:
            for name, array in eager.snapshot(two).items():
                np.testing.assert_array_equal(lazy.snapshot(one)[name], array)
        if i % 17 == 0:
            lazy.idle(one, 2)
            eager.idle(two, 2)


def test_a_silent_step_of_a_network_at_rest_touches_no_membrane():
    graph = quiet_graph()
    engine = SparseEngine(graph)
    assert [layer.neurons.lazy for layer in engine.plan.layers] == [True] * 3
    state = engine.init_state()
    for frame in frames_of_noise(np.random.default_rng(0), 5, 1, graph):
        engine.step(frame, state)
    nothing = np.zeros_like(frame)
    for _ in range(10):
        result = engine.step(nothing, state)
    before = {name: array.copy() for name, array in state.arrays.items()}
    due = state.extra.membranes["n1"].due[0].copy()
    for _ in range(5):
        result = engine.step(nothing, state)
    assert not result.activity.spikes.any()
    for name, array in state.arrays.items():
        np.testing.assert_array_equal(array, before[name])
    np.testing.assert_array_equal(state.extra.membranes["n1"].due[0], due)
    settled = engine.snapshot(state)
    assert any((settled[name] != array).any() for name, array in before.items())


def test_a_layer_that_fires_by_itself_is_never_left_alone():
    graph = small_graph(1)
    changed = Graph(graph.document, {**graph.tensors, "c1.bias": graph.tensors["c1.bias"] + 1})
    first = SparseEngine(changed).plan.layers[0]
    assert not first.neurons.lazy
    found = compare(open_engine("torch", changed), SparseEngine(changed), frames_with_silence(graph, 30, 2))
    assert found.differing == 0 and found.spikes > 1000


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.lists(st.integers(0, 400), max_size=4), st.sampled_from([None, 4.0]))
def test_events_added_early_give_the_same_bits_as_their_frame(seed, cut, clip):
    graph = quiet_graph()
    attrs = {"gain": 0.5} if clip is None else {"gain": 0.5, "clip": clip}
    nodes = [msgspec.structs.replace(graph.nodes[0], attrs=attrs), *graph.nodes[1:]]
    engine = SparseEngine(Graph(msgspec.structs.replace(graph.document, nodes=nodes), graph.tensors))
    rng = np.random.default_rng(seed)
    early, whole = engine.init_state(2), engine.init_state(2)
    for step, frame in enumerate(frames_with_silence(graph, 12, seed)):
        frames = np.concatenate([frame, frame[:, ::-1]])
        if step == 5:
            frames[1, 0, 3, 3] = MOST + 40  # more than whole numbers are made for without a clip
        run = rng.random(2) < 0.8
        for b in range(2):
            packet = packet_of(frames[b], rng)
            edges = sorted(min(c, len(packet)) for c in [0, *cut, len(packet)])
            for start, stop in pairwise(edges):
                engine.add(packet, start, stop, early, b)
        a, b_ = engine.step(None, early, run), engine.step(frames, whole, run)
        np.testing.assert_array_equal(a.activity.spikes, b_.activity.spikes)
        np.testing.assert_array_equal(a.scores, b_.scores)
    for name, array in engine.snapshot(whole).items():
        np.testing.assert_array_equal(engine.snapshot(early)[name], array)


def test_events_outside_the_crop_are_left_out_and_whole_frames_are_asked_for_by_name():
    graph = quiet_graph()
    engine = SparseEngine(graph)
    engine.cells = np.full((4, 4), -1, np.int32)
    engine.cells[1, 2] = 7
    state, wanted = engine.init_state(), engine.init_state()
    ones = np.ones(3, np.uint16)
    packet = EventPacket(
        np.zeros(3, np.int64), np.array([2, 1, 2], np.uint16), ones, np.ones(3, np.uint8), 1, 0, None
    )
    engine.add(packet, 0, 3, state)
    frame = np.zeros((1, 2, 16, 16), np.uint16)
    frame[0, 1, 0, 7] = 2
    engine.step(None, state)
    engine.step(frame, wanted)
    np.testing.assert_array_equal(engine.snapshot(state)["n1.h"], engine.snapshot(wanted)["n1.h"])
    gated, _ = lively({"kind": "ta", "form": "sliding", "pools": "both"})
    engine = SparseEngine(gated)
    with pytest.raises(EngineError, match=r"add: .* takes whole frames; wanted step\(frames, state\)"):
        engine.add(packet, 0, 3, engine.init_state())
    with pytest.raises(EngineError, match="step: found no frames"):
        engine.step(None, engine.init_state())


@pytest.mark.parametrize("costs", [CHEAP_ADDS, DEAR_ADDS], ids=["spikes", "dense"])
@pytest.mark.parametrize("kind", ["lif_sj", "lif_sj_soft", "if"])
def test_either_path_of_a_layer_agrees_with_the_reference(costs, kind):
    graph = quiet_graph(kind)
    frames = frames_with_silence(graph, 40, 3)
    found = compare(open_engine("torch", graph), SparseEngine(graph, costs=costs), frames)
    assert found.differing == 0 and found.agrees and found.spikes > 200


def test_streams_of_a_batch_do_not_change_each_other():
    graph = quiet_graph()
    engine = SparseEngine(graph)
    frames = np.stack([frames_with_silence(graph, 20, seed)[:, 0] for seed in range(3)], 1)
    together = engine.init_state(3)
    alone = [engine.init_state() for _ in range(3)]
    for frame in frames:
        result = engine.step(frame, together)
        for b, state in enumerate(alone):
            single = engine.step(frame[b : b + 1], state)
            np.testing.assert_array_equal(result.scores[b], single.scores[0])
            np.testing.assert_array_equal(result.activity.spikes[b], single.activity.spikes[0])


@pytest.mark.parametrize("form", ["float32", "int16"])
def test_threads_share_a_layer_and_give_the_same_bits(form, monkeypatch):
    monkeypatch.setattr(lines, "PAYS_US", 0.0)
    graph = quiet_graph()
    one, three = SparseEngine(graph, form=form), SparseEngine(graph, form=form, threads=3)
    a, b = one.init_state(2), three.init_state(2)
    rng = np.random.default_rng(5)
    for frame in frames_with_silence(graph, 40, 3):
        frames = np.concatenate([frame, frame[:, :, ::-1]])
        early = packet_of(frames[1], rng)
        three.add(packet_of(frames[0], rng), 0, int(frames[0].sum()), b, 0)
        three.add(early, 0, len(early), b, 1)
        x, y = one.step(frames, a), three.step(None if rng.random() < 0.5 else frames, b)
        np.testing.assert_array_equal(x.activity.spikes, y.activity.spikes)
        np.testing.assert_array_equal(x.scores, y.scores)
        for stream in range(2):
            b.extra.early.forget(stream)
    for name, array in one.snapshot(a).items():
        np.testing.assert_array_equal(three.snapshot(b)[name], array)


def test_groups_of_a_convolution_are_kept_apart():
    rng = np.random.default_rng(0)
    cell_ = {"kind": "lif_sj", "constants": {"threshold": 0.4}}
    nodes = [
        Node("input", "input", [], {"gain": 1.0}),
        Node("a", "conv", ["input"], {"stride": 1, "padding": 1, "groups": 2}),
        Node("n", "neuron", ["a"], cell_),
        Node("b", "conv", ["n"], {"stride": 2, "padding": 0, "groups": 4}),
        Node("m", "neuron", ["b"], cell_),
        Node("out", "linear", ["m"]),
        Node("readout", "readout", ["out"], {"kind": "mean"}),
    ]
    shapes = {"a.weight": (4, 1, 3, 3), "b.weight": (8, 1, 2, 2), "out.weight": (3, 8 * 9)}
    tensors = {name: rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": np.zeros(n, np.float32) for name, n in (("a", 4), ("b", 8), ("out", 3))}
    graph = Graph(GraphDocument("step", "endless", 4, (2, 6, 6), nodes), tensors)
    frames = frames_of_noise(rng, 30, 1, graph)
    found = compare(open_engine("torch", graph), SparseEngine(graph), frames)
    assert found.differing == 0 and found.agrees and found.spikes > 500


def test_costs_are_kept_refused_and_decide(tmp_path):
    path = tmp_path / "costs.json"
    assert load_costs(path) == Costs()
    save_costs(Costs(add=0.5, machine="a test"), path)
    assert load_costs(path) == Costs(add=0.5, machine="a test")
    path.write_text('{"add": -1}')
    with pytest.raises(EngineError, match=r"costs.json: add must be positive.*bench calibrate"):
        load_costs(path)
    costs = Costs(add=2.0, mac=0.5, move=3.0)
    assert [costs.add_ns(n) for n in (1, 2, 4)] == [1.0, 1.0, 2.0] and costs.dense_ns(4.0, 2.0) == 8.0
    graph = quiet_graph()
    full = {name: float(np.prod(graph.shapes[name])) for name in graph.layers}
    few = {name: n / 100 for name, n in full.items()}
    costs = Costs(step_us=0.001)
    assert predicted_us(graph, few, costs)[0] < predicted_us(graph, full, costs)[0]
    assert predicted_us(graph, few, costs)[1] == predicted_us(graph, full, costs)[1]
    gated, _ = lively({"kind": "ta", "form": "sliding", "pools": "both"})
    none = dict.fromkeys(gated.layers, 0.0)
    free = Costs(step_us=0.001, sweep=1e-9)
    assert predicted_us(gated, none, costs)[0] > predicted_us(gated, none, free)[0]


def test_auto_takes_the_engine_that_is_cheaper_on_the_packages_own_statistics(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    graph = quiet_graph()
    few = dict.fromkeys(graph.layers, 1.0)
    assert open_engine("auto", graph).name == "onnx"  # nothing is known of its spikes
    save_costs(Costs(step_us=0.001))
    assert open_engine("auto", graph, spikes=few).name == "sparse"
    save_costs(Costs(step_us=1000.0))
    assert open_engine("auto", graph, spikes=few).name == "onnx"
    windowed = Graph(
        msgspec.structs.replace(graph.document, form="window", horizon="tumbling"), graph.tensors
    )
    assert open_engine("auto", windowed, spikes=few).name == "onnx"


@pytest.mark.full
def test_a_machine_is_measured():
    costs = measure_costs()
    assert costs.machine and costs.add_ns(4) > 0 and costs.dense_ns(1.0, 1.0) > 0
