"""The torch networks: steps, samples and the lowered graph are one and the same."""

import numpy as np
import pytest
import torch

from spikeline.models import reference
from spikeline.models.fused import coefficients, spikes_over_time
from spikeline.models.layers import SpikingLayer
from spikeline.models.lowering import lower
from spikeline.models.masnn import ThreeLayer, ThreeLayerConfig
from spikeline.models.neurons import CONSTANTS, neuron
from spikeline.models.surrogate import WIDTHS

SMALL = {
    "classes": 5,
    "steps": 7,
    "channels": (6, 8, 8),
    "hidden": 12,
    "grid": (8, 12),
    "ratio": 2,
    "kernel": 3,
}


def network(attention="none", kind="lif_ma", **changes):
    torch.manual_seed(3)
    net = ThreeLayer(ThreeLayerConfig(**(SMALL | {"attention": attention, "neuron": kind} | changes)))
    for weighted in net.weights.values():
        torch.nn.init.constant_(weighted.norm.weight, 12.0 if attention != "none" else 1.5)
    net.train()
    for _ in range(10):  # running statistics that differ from those of a fresh batch norm
        net.over_time(torch.poisson(torch.full((7, 4, 2, 8, 12), 0.5)))
    return net.eval().double()


def sample(steps=7, batch=3):
    return torch.poisson(torch.full((steps, batch, 2, 8, 12), 0.6, dtype=torch.float64))


@pytest.mark.parametrize("attention", ["none", "ca", "sa", "csa"])
@pytest.mark.parametrize("kind", CONSTANTS)
def test_the_training_form_equals_forward_and_a_loop_of_steps(attention, kind):
    net, frames = network(attention, kind), sample()
    with torch.no_grad():
        whole = net(frames)
        layered, spikes = net.over_time(frames)
        state = net.init_state(3)
        for frame, output in zip(frames, whole, strict=True):
            stepped, state = net.step(frame, state)
            assert torch.equal(stepped, output)
    assert torch.equal(layered, whole)
    assert 0.02 < float(spikes["conv1"].mean()) < 0.98


@pytest.mark.parametrize("attention", ["none", "csa"])
def test_random_skips_equal_steps_that_idle(attention):
    net, frames = network(attention), sample()
    run = torch.rand(7, 3, generator=torch.Generator().manual_seed(1)) < 0.6
    with torch.no_grad():
        layered, _ = net.over_time(frames, run)
        for b in range(3):
            state = net.init_state(1)
            for t in range(7):
                if run[t, b]:
                    output, state = net.step(frames[t, b : b + 1], state)
                    assert torch.equal(layered[t, b : b + 1], output)
                else:
                    state = {k: net.neurons[k[:-2]].neuron.idle(h) for k, h in state.items()}
                    assert not layered[t, b].any()


@pytest.mark.parametrize("attention", ["none", "ca", "sa", "csa"])
@pytest.mark.parametrize("kind", ["lif_ma", "lif_sj"])
def test_the_lowered_graph_gives_the_same_spikes(attention, kind):
    """In float64, weights rounded to float32 on both sides."""
    net, frames = network(attention, kind).float(), sample().float()
    graph = lower(net)
    membranes = {name: np.zeros((3, *shape), np.float32) for name, shape in graph.membranes.items()}
    with torch.no_grad():
        outputs, spikes = net.over_time(frames)
    for t, frame in enumerate(frames):
        values, membranes = reference.run_step(graph, frame.numpy().astype(np.uint16), membranes)
        np.testing.assert_array_equal(values["readout"], outputs[t].numpy())
        for name, fired in spikes.items():
            np.testing.assert_array_equal(values[name], fired[t].numpy())


def test_published_sizes():
    """MA-SNN Table 1: neurons; its released code: parameters, for 11, 20 and 21 classes."""
    for classes, parameters in ((11, 2_324_065), (20, 2_326_396), (21, 2_326_655)):
        net = ThreeLayer(ThreeLayerConfig(classes=classes))
        assert sum(p.numel() for p in net.parameters()) == parameters
        assert sum(int(np.prod(shape)) for shape in net.shapes.values()) == 106_752 + classes
    plain = sum(p.numel() for p in ThreeLayer(ThreeLayerConfig()).parameters())
    channel = sum(p.numel() for p in ThreeLayer(ThreeLayerConfig(attention="ca")).parameters())
    assert channel - plain == 4_608  # Table 5, ratio 16


def test_a_causal_network_ignores_later_frames():
    net, frames = network("csa"), sample()
    changed = frames.clone()
    changed[4:] = changed[4:].flip(-1) * 3
    with torch.no_grad():
        a, b = net(frames), net(changed)
    assert torch.equal(a[:4], b[:4])
    assert not torch.equal(a[4:], b[4:])


@pytest.mark.parametrize("kind", CONSTANTS)
@pytest.mark.parametrize("surrogate", WIDTHS)
@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("shape", [(5,), (3, 2, 4)])
def test_the_fused_layer_has_the_gradients_of_the_plain_one(kind, surrogate, skips, shape):
    generator = torch.Generator().manual_seed(5)
    layer = SpikingLayer(neuron(kind), surrogate=surrogate)
    x = torch.randn(6, 3, *shape, dtype=torch.float64, generator=generator)
    run = torch.rand(6, 3, generator=generator) < 0.7 if skips else None
    weights = torch.randn(6, 3, *shape, dtype=torch.float64, generator=generator)
    grads, outputs = [], []
    for fused in (True, False):
        current = x.clone().requires_grad_(True)
        if fused:
            s = spikes_over_time(current, run, layer.neuron, surrogate, layer.width)
        else:
            s = layer.plain(current, run)
        (s * weights).sum().backward()
        outputs.append(s.detach())
        grads.append(current.grad)
    assert torch.equal(outputs[0], outputs[1]) and outputs[0].any()
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-6, atol=1e-9)
    assert grads[0].abs().max() > 0


@pytest.mark.parametrize("kind", CONSTANTS)
def test_coefficients_are_the_formulas(kind):
    rng = np.random.default_rng(0)
    cell, k = neuron(kind), coefficients(neuron(kind))
    for h, x in rng.normal(0, 1, (20, 2)):
        u = cell.integrate(h, x)
        assert u == pytest.approx(k.a * h + k.b * x + k.c)
        assert cell.carry(u, 0.0) == pytest.approx(k.p0 * u + k.q0)
        assert cell.carry(u, 1.0) == pytest.approx(k.p1 * u + k.q1)
        assert cell.leak(h) == pytest.approx(k.d * h + k.e)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": "ta"}, "attention must be one of none, ca, sa, csa, got 'ta'"),
        ({"grid": (30, 32)}, "grid must be a multiple of 4"),
        ({"neuron": "brian"}, "neuron kind 'brian' is not known"),
        ({"constants": {"leak": 1.0}}, "neuron lif_ma has no constant 'leak'"),
        ({"attention": "ca", "ratio": 64}, "ratio 64 leaves no hidden unit of 6 channels"),
        ({"attention": "sa", "kernel": 4}, "kernel must be odd, got 4"),
    ],
)
def test_settings_that_cannot_be_name_the_value(changes, message):
    with pytest.raises(ValueError, match=message):
        ThreeLayer(ThreeLayerConfig(**(SMALL | changes)))
