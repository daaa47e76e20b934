"""A whole sample through a layer in one pass is the layer's own loop of steps, gradients included."""

import numpy as np
import pytest
import torch
from torch import nn

from spikeline.models.fused import coefficients, spikes_over_time
from spikeline.models.fused_norm import norm_pool
from spikeline.models.neurons import CONSTANTS, neuron
from spikeline.models.part import Part
from spikeline.models.spiking_layer import ParametricLayer, SpikingLayer
from spikeline.models.surrogate import WIDTHS

T, B = 6, 3


def window(shape, seed=5, dtype=torch.float64):
    return torch.randn(T, B, *shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def some_steps(skips):
    return torch.rand(T, B, generator=torch.Generator().manual_seed(2)) < 0.7 if skips else None


def outcome(layer, x, run, forward):
    """Spikes, and the gradients of their weighted sum by the currents and the layer's parameters."""
    layer.zero_grad()
    x = x.clone().requires_grad_(True)
    s = forward(layer, x, run=run)
    (s * window(x.shape[2:], seed=8, dtype=x.dtype)).sum().backward()
    return s.detach(), x.grad, [p.grad.clone() for p in layer.parameters()]


def assert_the_same(layer, x, run):
    fused, plain = (outcome(layer, x, run, f) for f in (SpikingLayer.over_time, Part.over_time))
    assert torch.equal(fused[0], plain[0]) and fused[0].any()
    torch.testing.assert_close(fused[1], plain[1], rtol=1e-6, atol=1e-9)
    assert fused[1].abs().max() > 0
    for found, wanted in zip(fused[2], plain[2], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)
        assert wanted.abs() > 0


@pytest.mark.parametrize("kind", CONSTANTS)
@pytest.mark.parametrize("surrogate", WIDTHS)
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize(("shape", "skips"), [((5,), False), ((5,), True), ((3, 2, 4), True)])
def test_every_neuron_and_surrogate(kind, surrogate, detach, shape, skips):
    layer = SpikingLayer(neuron(kind), surrogate=surrogate, detach=detach)
    assert_the_same(layer, window(shape), some_steps(skips))


@pytest.mark.parametrize("decay_input", [False, True])
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize(("shape", "skips"), [((5,), False), ((3, 2, 4), True)])
@pytest.mark.parametrize("tau", [1.3, 2.0, 7.0])
def test_a_learned_rate(decay_input, detach, shape, skips, tau):
    layer = ParametricLayer(tau, decay_input=decay_input, detach=detach, threshold=0.6, v_reset=0.1).double()
    assert_the_same(layer, window(shape) * 2, some_steps(skips))


def test_a_detached_reset_changes_the_gradient_and_nothing_else():
    x = window((5,))
    found = [
        outcome(SpikingLayer(neuron("lif_ms"), detach=detach), x, None, SpikingLayer.over_time)
        for detach in (False, True)
    ]
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.allclose(found[0][1], found[1][1])


def test_float32_stays_float32():
    layer = ParametricLayer()
    s, by_x, (by_w,) = outcome(layer, window((4,), dtype=torch.float32) * 3, None, SpikingLayer.over_time)
    assert s.dtype == by_x.dtype == by_w.dtype == torch.float32
    assert by_w.shape == layer.w.shape


def test_currents_may_lie_in_memory_in_any_order():
    layer = SpikingLayer(neuron("lif_ms"), detach=True)
    x = window((3, 2, 4))
    last = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (T, B))
    assert not last.is_contiguous()
    found = [spikes_over_time(v, None, layer.neuron, "rect", 0.25)[0] for v in (x, last)]
    assert torch.equal(*found)


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


@pytest.mark.parametrize("shape", [(5,), (3, 4, 4)])
def test_threads_share_the_samples_and_change_nothing(shape):
    """Neurons, and where there are pixels the batch norm in front of them."""
    layers = [ParametricLayer(), SpikingLayer(neuron("lif_ma"))]
    norm = nn.BatchNorm2d(3)
    x = window(shape, dtype=torch.float32) * 2
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            some = [*(outcome(layer, x, some_steps(True), SpikingLayer.over_time) for layer in layers)]
            if len(shape) == 3:
                flat = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
                some.append((norm_pool(norm, flat, 2).detach(),))
            found.append([part for each in some for part in each if isinstance(part, torch.Tensor)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
