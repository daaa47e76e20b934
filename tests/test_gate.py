"""The frame gate: what training learnt decides in service, from frames seen so far, and is counted."""

import numpy as np
import pytest
import torch
from small_networks import counts, frames_for

from spikeline.models.gate_layer import GateLayer
from spikeline.models.registry import build
from spikeline.pipeline.events import Sensor
from spikeline.pipeline.gate import FrameGate, GateError, threshold_for
from spikeline.pipeline.package import Package
from spikeline.pipeline.run import Pipeline, PipelineError, RunConfig
from spikeline.pipeline.training.data_settings import DataConfig
from spikeline.pipeline.training.publish import gate_thresholds
from spikeline.pipeline.training.settings import GateConfig, TrainConfig

from helpers import small_manifest
from strategies import packets_of

T = 6
SMALL = {
    "channels": (4, 4, 4),
    "hidden": (8,),
    "classes": 3,
    "steps": T,
    "grid": (8, 8),
    "surrogate": "atan",
    "surrogate_width": 2.0,
}


def gated(form, seed=1):
    torch.manual_seed(seed)
    net = build("masnn3", **SMALL)
    net.add_frame_gate(form)
    with torch.no_grad():
        net.frame_gate.fill(torch.linspace(0.5, 1, T), torch.linspace(3, 4, T))
        for role in ("w0", "w1"):
            net.frame_gate.table[role].mul_(3)
    return net.eval()


@pytest.mark.parametrize("form", ["sliding", "prefix"])
def test_the_gate_serves_what_training_saw(form):
    net = gated(form)
    frames = frames_for(net, T if form == "prefix" else 2 * T, batch=1)
    with torch.no_grad():
        wanted = net.double().frame_gate.gates_over_time(net.scale(frames))[:, 0].numpy()
    run = net.lower().frame_gate_run()
    found = [run(frame[0]) for frame in counts(frames)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert np.ptp(found) > 1e-3
    run.reset()
    assert run(counts(frames)[0, 0]) == found[0]


@pytest.mark.parametrize("form", ["sliding", "prefix"])
def test_training_keeps_the_means_that_stand_for_frames_not_seen(form):
    net = gated(form).train()
    frames = frames_for(net, batch=50).float()
    for _ in range(100):
        net.choose(frames, torch.zeros(50))
    x = net.scale(frames).flatten(2)
    torch.testing.assert_close(net.frame_gate.mean_avg, x.mean((1, 2)), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(net.frame_gate.mean_max, x.amax(2).mean(1), rtol=1e-3, atol=1e-3)


def test_training_goes_through_several_windows_of_a_prefix():
    torch.manual_seed(1)
    net = build("masnn3", **SMALL, attention="t", form="prefix", t_ratio=2).train()
    outputs, spikes = net.over_time(frames_for(net, 3 * T).float())
    (outputs.sum() + sum(s.sum() for s in spikes.values())).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_a_tumbling_gate_starts_anew_with_the_network():
    run = gated("prefix").lower().frame_gate_run()
    frame = counts(frames_for(gated("prefix"), 1, batch=1))[0, 0]
    weights = [run(frame) for _ in range(2 * T)]
    assert weights[:T] == weights[T:]


def test_the_best_frames_run_and_their_weights_are_one():
    net = gated("sliding")
    frames = frames_for(net).float()
    run, weights = net.choose(frames, torch.tensor([0.0, 0.5, 0.99]))
    assert run.sum(0).tolist() == [T, T - 3, 1]
    assert torch.equal(weights, torch.ones_like(weights))
    gates = net.frame_gate.gates_over_time(net.scale(frames))
    kept = gates[:, 1][run[:, 1]].min()
    assert (gates[:, 1][~run[:, 1]] <= kept).all()
    outputs, _ = net.over_time(frames, run, weights=weights)
    outputs.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.frame_gate.parameters())


def test_the_table_skips_the_share_it_promises():
    from spikeline.pipeline.training.clips import ClipSet, packed

    net = gated("sliding")
    rng = np.random.default_rng(1)
    frames = rng.poisson(rng.uniform(0.05, 2, (40, T, 1, 1, 1)), (40, T, 2, 8, 8)).astype(np.uint8)
    flat, offsets = packed(list(frames))
    clips = ClipSet(
        about="noise",
        names=("a",),
        sensor=(8, 8),
        slice_us=50_000,
        frames=flat,
        offsets=offsets,
        labels=np.zeros(40, np.int64),
        persons=np.zeros(40, np.int64),
    )
    config = TrainConfig(data=DataConfig(steps=T, dt_us=50_000), gate=GateConfig(form="sliding"))
    graph = net.lower()
    table = gate_thresholds(graph, clips, config)
    for ratio in (0.2, 0.5, 0.63):
        gate = FrameGate(graph, threshold_for(table, ratio))
        stream = [gate(None, frame.astype(np.uint16)) == "gate" for clip in frames for frame in clip]
        assert np.mean(stream[T:]) == pytest.approx(ratio, abs=0.03)
    assert gate_thresholds(build("masnn3", **SMALL).lower(), clips, config) == {}


GRAPH = gated("sliding").lower()
PACKAGE = Package(
    small_manifest(
        GRAPH,
        labels=["a", "b", "c"],
        dt_us=1_000,
        dt_range_us=(1_000, 1_000),
        sensor=(8, 8),
        gate_thresholds={"0.25": 0.4, "0.50": 0.6},
    ),
    GRAPH,
    "0" * 64,
)


def stream(seed=3, n=3_000):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 40_000, n)).astype(np.int64)
    x, y = (rng.integers(0, 8, n).astype(np.uint16) for _ in range(2))
    return packets_of(t, x, y, rng.integers(0, 2, n).astype(np.uint8), [97, 1000], 50_000)


def run(**config):
    pipeline = Pipeline(PACKAGE, Sensor(8, 8), RunConfig(**config))
    results = list(pipeline.run(stream()))
    return pipeline, results


def test_gated_windows_idle_and_every_event_is_accounted_for():
    whole, _ = run()
    weights = []
    gate = FrameGate(GRAPH, 0.0)
    for result in Pipeline(PACKAGE, Sensor(8, 8)).run(stream()):
        gate(None, result.frame)
        weights.append(gate.weight)
    threshold = float(np.median(weights))
    pipeline, results = run(gate_threshold=threshold)
    skipped = [r.skipped == "gate" for r in results]
    assert skipped == [w < threshold for w in weights]
    assert 0.3 < np.mean(skipped) < 0.7
    a = pipeline.accounts
    assert a.windows_gated == sum(skipped) and a.windows_run == len(results) - sum(skipped)
    assert a.gated > 0 and a.processed + a.gated + a.unfinished == 3_000
    assert all(r.synops == 0 for r in results if r.skipped)
    assert pipeline.digests.input != whole.digests.input


def test_the_gate_sees_the_counts_that_the_network_sees():
    """On a sensor of more pixels a cell both are scaled alike."""
    t, x, y, p = np.arange(2_000), np.arange(2_000) % 16, np.arange(2_000) // 7 % 16, np.arange(2_000) % 2
    stream = list(packets_of(t, x.astype("u2"), y.astype("u2"), p.astype("u1"), [], 5_000))
    pipeline = Pipeline(PACKAGE, Sensor(16, 16), RunConfig(fit="scale", gate_threshold=0.0))
    run = pipeline.engine.graph.frame_gate_run()
    assert pipeline.engine.graph.nodes[0].attrs["gain"] == pytest.approx(GRAPH.nodes[0].attrs["gain"] / 4)
    for result in pipeline.run(stream):
        assert pipeline.gate.weight == run(result.frame)


def test_a_ratio_beyond_training_and_a_model_without_a_gate_are_refused():
    with pytest.raises(PipelineError, match=r"model small: skip ratio 0.7: .* trained for 0 to 0.5"):
        run(gate=0.7)
    with pytest.raises(GateError, match="has no frame gate"):
        FrameGate(build("masnn3", **SMALL).lower(), 0.5)
    with pytest.raises(GateError, match="no table of gate thresholds"):
        threshold_for({}, 0.5)


def test_thresholds_between_the_entries_are_interpolated():
    table = {"0.00": 0.1, "0.20": 0.3, "0.40": 0.5}
    found = [threshold_for(table, ratio) for ratio in (0, 0.1, 0.2, 0.3, 0.4)]
    assert found == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize("form", ["sliding", "prefix"])
def test_training_over_several_windows_of_a_tumbling_network_gates_as_service_does(form):
    torch.manual_seed(1)
    net = build("masnn3", **SMALL, attention="t", form="prefix", t_ratio=2).eval().double()
    net.add_frame_gate(form)
    with torch.no_grad():
        net.frame_gate.table["w1"].mul_(5)
    frames = frames_for(net.double(), 3 * T, batch=1)
    served = net.lower().frame_gate_run()
    order = np.argsort([served(frame[0]) for frame in counts(frames)])
    run, _ = net.choose(frames, torch.tensor([0.5]))
    assert set(torch.nonzero(~run[:, 0]).flatten().tolist()) == set(order[: 3 * T // 2].tolist())


def test_the_means_that_stand_for_steps_not_seen_are_of_steps_that_ran():
    gate = GateLayer("ta", "sliding", (2, 3, 3), T, sizes={"hidden": 2}, pools="both").train()
    x = torch.rand(T, 5, 2, 3, 3) + 1
    run = torch.rand(T, 5) < 0.5
    run[0], run[1, 0] = False, True  # nobody runs the first step
    for _ in range(200):
        gate.over_time(x * run[:, :, None, None, None], run=run)
    for t in range(1, T):
        if run[t].any():
            torch.testing.assert_close(gate.mean_avg[t], x[t, run[t]].mean(), rtol=1e-4, atol=1e-5)
            wanted = x[t, run[t]].flatten(1).amax(1).mean()
            torch.testing.assert_close(gate.mean_max[t], wanted, rtol=1e-4, atol=1e-5)
    assert gate.mean_avg[0] == 0
