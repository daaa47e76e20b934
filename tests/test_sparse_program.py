"""The spike-driven engine's program: a walk that Python steps into, and one without the compiler."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.models.graph import Graph, GraphDocument, Node
from spikeline.pipeline.agreement import compare
from spikeline.pipeline.engines import open_engine
from spikeline.pipeline.engines.sparse.costs import Costs
from spikeline.pipeline.engines.sparse.engine import SparseEngine
from spikeline.pipeline.engines.sparse.program import NEVER
from spikeline.pipeline.events import EventPacket

CHEAP_ADDS = Costs(add=1e-6)
FORMS = pytest.mark.parametrize("form", ["float32", "int16"])


def winding_graph(join="add", channels=10):
    """Every kind of line: counts, max pool, joins, an average pool, a linear layer, values, a current.

    Weights are eighths and membranes are halved at each step: sums are exact for some steps, in any order.
    """
    rng = np.random.default_rng(7)
    tensors = {}

    def weights(name, *shape):
        reach = 12 / int(np.prod(shape[1:])) ** 0.5
        tensors[f"{name}.weight"] = np.rint(rng.normal(0, reach, shape) * 8).astype(np.float32) / 8
        tensors[f"{name}.bias"] = np.zeros(shape[0], np.float32)

    def neurons(name, source, threshold=1.0):
        return Node(name, "neuron", [source], {"kind": "lif_sj", "constants": {"threshold": threshold}})

    def conv(name, source, stride=1, padding=1):
        return Node(name, "conv", [source], {"stride": stride, "padding": padding, "groups": 1})

    C = channels
    for name, *shape in (
        ("c1", C, 2, 3, 3),
        ("c2", C, C, 3, 3),
        ("c3", 70, C, 3, 3),
        ("f1", 5, 280),
        ("f2", 3, 5),
    ):
        weights(name, *shape)
    nodes = [
        Node("input", "input", [], {"gain": 0.5, "clip": 2.0}),
        conv("c1", "input"),
        neurons("n1", "c1"),
        Node("p1", "pool", ["n1"], {"kind": "max", "size": 2, "stride": 2, "padding": 0}),
        conv("c2", "p1"),
        neurons("n2", "c2"),
        Node("j", "join", ["p1", "n2"], {"kind": join}),
        conv("c3", "j"),
        Node("c3.pool", "pool", ["c3"], {"kind": "avg", "size": 2, "stride": 2}),
        neurons("n3", "c3.pool", 0.5),
        Node("f1", "linear", ["n3"], {}),
        neurons("n4", "f1"),
        Node("f2", "linear", ["n4"], {}),
        Node("readout", "readout", ["f2"], {"kind": "mean"}),
    ]
    return Graph(GraphDocument("step", "endless", 4, (2, 9, 10), nodes), tensors)


def frames_of(steps, batch, seed, shape=(2, 9, 10)):
    """Steps with few events, many, and none, different in each stream."""
    rng = np.random.default_rng(seed)
    frames = rng.poisson(0.8, (steps, batch, *shape)).astype(np.uint16)
    return frames * rng.integers(0, 2, (steps, batch, 1, 1, 1), dtype=np.uint16)


def packet_of(frame):
    """A frame's events, in the order of its cells."""
    p, y, x = (np.repeat(axis, frame[frame > 0]) for axis in np.nonzero(frame))
    columns = [a.astype(t) for a, t in ((x, np.uint16), (y, np.uint16), (p, np.uint8))]
    return EventPacket(np.zeros(len(p), np.int64), *columns, 1, 0, None)


@pytest.mark.parametrize("join", ["or", "and", "iand", "add"])
def test_a_network_of_every_kind_of_line_agrees_with_the_reference(join):
    graph = winding_graph(join)
    found = compare(open_engine("torch", graph), SparseEngine(graph, costs=CHEAP_ADDS), frames_of(12, 1, 3))
    assert found.differing == 0 and found.agrees and found.spikes > 1500


@FORMS
@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_a_walk_goes_on_where_python_has_stepped_in(form, seed):
    """Layers of some streams densely, or on threads, at any line, also of events that came early: the same
    bits. Whole numbers, and floats that are exact, have one sum in any order."""
    graph = winding_graph()
    engine, other = (SparseEngine(graph, costs=CHEAP_ADDS, form=form, threads=n) for n in (1, 3))
    plain, stopped = engine.init_state(3), other.init_state(3)
    own = other._rooms(stopped)
    rng = np.random.default_rng(seed)
    lines = other.plan.layers
    assert [line._dense is not None for line in lines] == [form == "float32", True, True, False]
    for frames in frames_of(8, 3, seed):
        for line in lines:
            for b in range(3):
                way = rng.integers(0, 3)
                dense = way == 1 and line._dense is not None
                own.program["dense_from"][line.index, b] = 1 if dense else NEVER
                own.program["threads_from"][line.index, b] = 0 if way == 2 else NEVER
        run, early = rng.random(3) < 0.8, rng.random() < 0.5
        for b in range(3 if early else 0):
            packet = packet_of(frames[b])
            other.add(packet, 0, len(packet), stopped, b)
        a, b_ = engine.step(frames, plain, run), other.step(None if early else frames, stopped, run)
        np.testing.assert_array_equal(a.activity.spikes, b_.activity.spikes)
        np.testing.assert_array_equal(a.activity.synops, b_.activity.synops)
        np.testing.assert_array_equal(a.activity.clipped, b_.activity.clipped)
        np.testing.assert_array_equal(a.scores, b_.scores)
    for name, array in engine.snapshot(plain).items():
        np.testing.assert_array_equal(other.snapshot(stopped)[name], array)


def steps_digest(form):
    """All that some steps give, with silence, idling, events that come early and layers done by Python."""
    digest = hashlib.sha256()
    engine = SparseEngine(winding_graph(), costs=CHEAP_ADDS, form=form, threads=2)
    state = engine.init_state(2)
    rooms, fired = engine._rooms(state), np.zeros(4, np.int64)
    for i, frames in enumerate(frames_of(8, 2, 5)):
        rooms.program["dense_from"][1] = 3 if i == 4 else NEVER
        rooms.program["threads_from"][2] = 5 if i % 3 == 0 else NEVER
        if i == 3:
            for b in range(2):
                packet = packet_of(frames[b])
                engine.add(packet, 0, len(packet), state, b)
        result = engine.step(None if i == 3 else frames, state, [True, i != 2])
        fired += result.activity.spikes.sum(0)
        for array in (result.scores, result.activity.spikes, result.activity.synops, result.activity.clipped):
            digest.update(array.tobytes())
    assert fired.all()
    for _, array in sorted(engine.snapshot(state).items()):
        digest.update(array.tobytes())
    return digest.hexdigest()


@FORMS
def test_an_engine_without_the_compiler_gives_the_same_bits(form):
    wrap = "ignore:overflow encountered in scalar"  # words and sums do, as they are meant to
    code = f"import test_sparse_program as t; print(t.steps_digest({form!r}))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", wrap, "-c", code],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == [steps_digest(form)]
