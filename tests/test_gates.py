"""Every attention gate in every form: equal to its formula longhand, in every engine, and what it may see."""

import msgspec
import numpy as np
import pytest
from gate_cases import CASES, STATEFUL_CASES, STEP_CASES, B, T, case_name, lively, noise, outputs
from slow_gates import slow_gate

from spikeline.models import reference
from spikeline.models.graph import Graph
from spikeline.models.operations import GATES
from spikeline.pipeline.engines import ENGINES, open_engine

every_gate = pytest.mark.parametrize("attrs", CASES, ids=case_name)
every_causal_gate = pytest.mark.parametrize("attrs", STEP_CASES, ids=case_name)
engines = pytest.mark.parametrize("name", ENGINES)


def test_every_kind_of_gate_is_here_in_every_form():
    assert {(a["kind"], a["form"]) for a in CASES} == {(k, f) for k, g in GATES.items() for f in g.forms}


VECTORS = [(attrs, False) for attrs in CASES if attrs.get("score", attrs["kind"]) in ("ta", "affine")]


@pytest.mark.parametrize(
    ("attrs", "volume"),
    [*((attrs, True) for attrs in CASES), *VECTORS],
    ids=lambda v: case_name(v) if isinstance(v, dict) else "volume" if v else "vector",
)
def test_a_gate_is_its_formula_longhand(attrs, volume):
    """Weights float32 on both sides; all else float64."""
    graph, own = lively(attrs, volume)
    values = outputs(graph, noise(graph))
    xs = [values[name] for name in graph.nodes[-6].inputs]
    assert graph.nodes[-6].op == "gate" and (xs[0] < 0).any()
    expected = slow_gate(attrs, own, xs)
    np.testing.assert_allclose(values["gate"], expected, rtol=1e-10, atol=1e-10)
    assert not np.allclose(values["gate"], xs[0])


@engines
@every_gate
def test_engines_agree_with_the_reference(attrs, name):
    """Spikes equal, values and statistics within 1e-4, each step from the reference's state."""
    graph, _ = lively(attrs)
    engine = open_engine(name, graph, "sliding")
    frames = noise(graph)
    values = outputs(graph, frames)
    fired = np.stack([(values[layer] != 0).reshape(T, B, -1).sum(2) for layer in graph.layers], 2)
    assert (fired.sum((0, 1)) > 0).all()
    if graph.document.form == "window":
        state = engine.init_state(B)
        results = [engine.step(frame, state) for frame in frames]
        np.testing.assert_allclose(results[-1].scores, values["readout"].mean(0), atol=1e-4)
        np.testing.assert_array_equal(results[-1].activity.spikes, fired.sum(0))
        return
    states = reference.initial_states(graph, B, np.float64)
    for t, frame in enumerate(frames):
        blank = engine.snapshot(engine.init_state(B))
        given = {key: array.astype(np.float32) for key, array in states.items()}
        state = engine.restore(blank | given | {"steps": np.full(B, t)})
        result = engine.step(frame, state)
        found, states = reference.run_step(graph, frame, states, t)
        np.testing.assert_array_equal(result.activity.spikes, fired[t])
        np.testing.assert_allclose(result.scores, found["readout"], rtol=1e-4, atol=1e-4)
        for key, array in states.items():
            np.testing.assert_allclose(engine.snapshot(state)[key], array, rtol=1e-4, atol=1e-4, err_msg=key)


@every_causal_gate
def test_a_causal_gate_does_not_see_later_frames(attrs):
    graph, _ = lively(attrs)
    frames = noise(graph)
    other = frames.copy()
    other[3:] = noise(graph, seed=1)[3:] * 2
    a, b = outputs(graph, frames)["gate"], outputs(graph, other)["gate"]
    np.testing.assert_array_equal(a[:3], b[:3])
    assert not np.array_equal(a[3:], b[3:])


# An inhibitor in time goes by the score of each step, and discarding by all of them: only a window has those.
WINDOWED = [a for a in CASES if a["form"] == "window" and "discard" not in a and a.get("mode") != "lif_time"]


@pytest.mark.parametrize("form", ["sliding", "prefix"])
@pytest.mark.parametrize("attrs", WINDOWED, ids=case_name)
def test_a_causal_gate_ends_at_the_gate_of_the_window(attrs, form):
    """With the same weights: a prefix's at the window's last step, a sliding one's at any, of the T that end
    there."""
    graph, own = lively(attrs | {"form": form})
    values = outputs(graph, noise(graph, 2 * T if form == "sliding" else T, seed=3))
    xs = [values[name][-T:] for name in graph.nodes[-6].inputs]
    expected = slow_gate(attrs, own, xs)
    np.testing.assert_allclose(values["gate"][-1], expected[-1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("attrs", [a for a in CASES if a["form"] == "per-step"], ids=case_name)
def test_in_a_window_a_gate_of_one_step_does_what_it_does_alone(attrs):
    graph, _ = lively(attrs)
    document = msgspec.structs.replace(graph.document, form="window", horizon="tumbling")
    window = Graph(document, graph.tensors)
    frames = noise(graph)
    step_by_step, at_once = outputs(graph, frames), outputs(window, frames)
    for name, values in step_by_step.items():
        np.testing.assert_allclose(at_once[name], values, rtol=1e-12, atol=1e-12, err_msg=name)


def run_with_skips(graph, frames, run):
    """Outputs of the gate at each step that ran, and the states, in float64; the others idle."""
    states = reference.initial_states(graph, B, np.float64)
    found = {}
    for t, frame in enumerate(frames):
        if run[t]:
            values, states = reference.run_step(graph, frame, states, t)
            found[t] = values
        else:
            states = {name: graph.states[name].idle(array) for name, array in states.items()}
    return found, states


RUN = [True, True, False, True, True]
POOLED = [a for a in STATEFUL_CASES if a["kind"] in ("ca", "sa", "ta", "ia") and a.get("mode") != "lif_time"]


@pytest.mark.parametrize("attrs", POOLED, ids=case_name)
def test_a_skipped_frame_enters_ta_as_the_training_mean_and_ca_and_sa_not_at_all(attrs):
    """A sliding ring of CA and SA keeps the last T frames that were run."""
    graph, own = lively(attrs)
    found, _ = run_with_skips(graph, noise(graph), RUN)
    x = np.stack([found[t]["x"] if t in found else np.full_like(found[0]["x"], np.nan) for t in range(T)])
    last = T - 1
    if attrs.get("score", attrs["kind"]) == "ta":
        means = {role: own[role] for role in own if role.startswith("mean")}
        at = -1 if attrs["form"] == "sliding" else 2
        expected = slow_gate(attrs, own, [x], missing={role: mean[at] for role, mean in means.items()})[last]
    else:
        ran = x[RUN]
        blank = np.zeros((T - len(ran), *x.shape[1:])) if attrs["form"] == "sliding" else x[:0]
        expected = slow_gate(attrs, own, [np.concatenate([blank, ran])])[-1]
    np.testing.assert_allclose(found[last]["gate"], expected, rtol=1e-10, atol=1e-10)


def test_an_inhibitor_in_time_leaks_while_it_is_skipped():
    for form in ("sliding", "prefix"):
        graph, _ = lively({"kind": "ia", "form": form, "score": "ta", "mode": "lif_time"})
        idle = graph.states["gate.h"].idle
        np.testing.assert_array_equal(idle(np.array([0.8, -0.5, 0], np.float32)), np.float32([0.4, -0.25, 0]))
