"""The contract of every registered network, in every variant it lists: adding one adds no line here.

Steps, samples and the lowered graph are one and the same; nothing of a later frame enters a causal
network's output; one that needs the window says so.
"""

import numpy as np
import pytest
import torch
from small_networks import BATCH, CASES, IDS, counts, frames_for, settings_of, small_network

from spikeline.models import reference
from spikeline.models.gate_layer import GateLayer
from spikeline.models.registry import build, networks
from spikeline.pipeline.agreement import compare
from spikeline.pipeline.engines import ENGINES, open_engine

every_network = pytest.mark.parametrize("case", CASES, ids=IDS)


def longer(net):
    """More steps than T where the network takes them."""
    return net.steps if net.tumbling else net.steps + 3


@every_network
def test_a_loop_of_steps_forward_and_the_training_form_are_the_same(case):
    net = small_network(case)
    frames = frames_for(net, longer(net))
    with torch.no_grad():
        whole = net(frames)
        layered, spikes = net.over_time(frames)
        torch.testing.assert_close(layered, whole, rtol=1e-10, atol=1e-12)
        assert float(whole.std()) > 0
        assert all(0.001 < float(s.mean()) < 0.999 for s in spikes.values()), "a layer is silent or always on"
        if not net.causal:
            return
        state = net.init_state(BATCH)
        for frame, output in zip(frames, whole, strict=True):
            stepped, state = net.step(frame, state)
            assert torch.equal(stepped, output)


@every_network
def test_what_comes_later_changes_nothing(case):
    net = small_network(case)
    frames = frames_for(net)
    half = len(frames) // 2
    other = torch.cat([frames[:half], frames_for(net, len(frames) - half, seed=7) * 3])
    with torch.no_grad():
        a, b = net.values(frames), net.values(other)
    if net.causal:
        assert all(torch.equal(a[name][:half], b[name][:half]) for name in a)
        assert any(not torch.equal(a[name][half:], b[name][half:]) for name in net.layers or net.parts)
    else:
        with pytest.raises(ValueError, match=r"needs all \d+ steps .* causal forms are .*(prefix|sliding)"):
            net.step(frames[0], net.init_state(BATCH))


@every_network
def test_skipped_steps_idle_in_training_as_in_service(case):
    net = small_network(case)
    frames = frames_for(net, longer(net))
    run = torch.rand(len(frames), BATCH, generator=torch.Generator().manual_seed(1)) < 0.6
    with torch.no_grad():
        layered, _ = net.over_time(frames, run)
        if not net.causal:  # its window has a frame without events there, and its output is left out
            whole = net(frames * run[:, :, None, None, None])
            assert torch.equal(layered, whole * run[:, :, None])
            return
        for b in range(BATCH):
            state = net.init_state(1)
            for t, frame in enumerate(frames[:, b : b + 1]):
                if run[t, b]:
                    output, state = net.step(frame, state)
                    torch.testing.assert_close(layered[t, b : b + 1], output, rtol=1e-10, atol=1e-12)
                else:
                    state = net.idle(state)


@every_network
def test_the_lowered_graph_is_the_network(case):
    net = small_network(case)
    graph = net.lower()
    assert (graph.document.form == "step") == net.causal
    frames = frames_for(net, longer(net))
    with torch.no_grad():
        wanted = net(frames).numpy()
    if net.causal:
        states = reference.initial_states(graph, BATCH, np.float64)
        outputs = []
        for t, frame in enumerate(counts(frames)):
            position = np.full(BATCH, t, np.int64)
            values, states = reference.run_step(graph, frame, states, position)
            outputs.append(values["readout"])
    else:
        outputs = reference.run_window(graph, counts(frames), np.float64)["readout"]
    np.testing.assert_allclose(np.stack(outputs), wanted, rtol=1e-4, atol=1e-5)


@every_network
def test_the_engines_agree(case):
    net = small_network(case)
    graph = net.lower()
    reference_engine = open_engine("torch", graph)
    for name in ENGINES:
        if name != "torch":
            frames = counts(frames_for(net, 3 * net.steps, batch=1))
            found = compare(reference_engine, open_engine(name, graph), frames)
            assert found.agrees and found.spikes > 0, name
            assert found.differing == 0, f"{name}: {found.per_million:.2f} differing spikes per million"


@every_network
def test_training_reaches_every_weight(case):
    net = build(case[0], **settings_of(case)).train()
    outputs, spikes = net.over_time(frames_for(net).float())
    (outputs.sum() + sum(s.sum() for s in spikes.values())).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None]
    assert not without


def test_forms_share_their_weights():
    """So that one set of weights can be served, and fine-tuned, in another form."""
    window = build("masnn3", **networks()["masnn3"].variants[0] | {"attention": "tcs", "form": "window"})
    for form in ("sliding", "prefix"):
        other = build("masnn3", **networks()["masnn3"].variants[0] | {"attention": "tcs", "form": form})
        missing, unexpected = other.load_state_dict(window.state_dict(), strict=False)
        assert not unexpected
        assert all(name.endswith(("mean_avg", "mean_max")) for name in missing)


@pytest.mark.parametrize("place", ["conv-pre", "conv-post", "activate-pre"])
@pytest.mark.parametrize("name", ["masnn3", "masnn5"])
def test_attention_has_every_place_at_its_published_size(name, place):
    """Behind the frames of two channels, channel attention has one hidden unit."""
    with torch.device("meta"):
        net = build(name, attention="tcs", place=place)
    if place == "conv-pre":
        assert net.inputs["conv1_current"] == ("conv1_sa",)
        assert net.part("conv1_ca").table["w0"].shape == (1, 2)
        assert net.part("conv2_ca").table["w0"].shape[0] == net.shapes["conv1"][0] // 16


def test_wrong_names_and_settings_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"network 'masnn9' is not known; choose from .*masnn3"):
        build("masnn9")
    with pytest.raises(ValueError, match="network masnn3 has no setting 'chanels'"):
        build("masnn3", chanels=3)
    with pytest.raises(ValueError, match="attention must be one of no, t"):
        build("masnn3", attention="xyz")
    for settings, message in (
        ({"channels": 5}, r"network masnn3: channels must be tuple\[int, \.\.\.\], got 5"),
        ({"channels": [4, 4.5, 4]}, "channels must be tuple"),
        ({"grid": [32]}, r"grid must be tuple\[int, int\], got \(32,\)"),
        ({"steps": "x"}, "steps must be int, got 'x'"),
        ({"steps": True}, "steps must be int, got True"),
        ({"clip": "x"}, r"clip must be float \| None, got 'x'"),
        ({"constants": {"decay": "x"}}, r"constants must be dict\[str, float\]"),
        ({"surrogate": "tanh"}, "surrogate must be one of rect, triangle, atan, sigmoid, got 'tanh'"),
        ({"attention": "cs", "kernel": 4}, "kernel must be a positive odd number, got 4"),
    ):
        with pytest.raises(ValueError, match=message):
            build("masnn3", **settings)
    with pytest.raises(ValueError, match=r"pool4: a frame of \(3, 8, 8\) leaves \(512, 0, 0\)"):
        build("staa-vgg13", grid=(8, 8))
    with pytest.raises(ValueError, match="gate simam has no form 'window'; wanted per-step"):
        GateLayer("simam", "window", (2, 4, 4), 5, lam=1e-4)
