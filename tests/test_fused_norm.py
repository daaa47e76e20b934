"""Batch norm and pool in one pass are torch's two layers, more exactly summed."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikeline.models.fused_norm import norm_pool
from spikeline.models.stateless import Weighted


def norm_of(channels, dtype=torch.float64):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(channels).to(dtype)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm.train()


def values(shape, dtype=torch.float64, mean=0.5):
    torch.manual_seed(1)
    x = torch.randn(shape, dtype=dtype) + mean
    return x.contiguous(memory_format=torch.channels_last)


def outcome(forward, norm, x):
    """Output, gradients by values, scale and shift, and the running statistics."""
    x = x.detach().requires_grad_()
    norm.zero_grad()
    z = forward(norm, x)
    torch.manual_seed(2)
    (z * torch.randn_like(z)).sum().backward()
    return [z.detach(), x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]


def two_layers(pool):
    return lambda norm, x: F.avg_pool2d(norm(x), pool) if pool > 1 else norm(x)


@pytest.mark.parametrize("pool", [1, 2, 3])
@pytest.mark.parametrize("shape", [(3, 5, 6, 6), (2, 4, 7, 9), (1, 1, 3, 3)])
def test_it_is_batch_norm_and_a_pool(shape, pool):
    found = outcome(lambda norm, x: norm_pool(norm, x, pool), norm_of(shape[1]), values(shape))
    wanted = outcome(two_layers(pool), norm_of(shape[1]), values(shape))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_a_scale_of_zero_learns():
    norm = norm_of(3)
    nn.init.zeros_(norm.weight)
    found = outcome(lambda norm, x: norm_pool(norm, x, 2), norm, values((2, 3, 4, 4)))
    other = norm_of(3)
    nn.init.zeros_(other.weight)
    wanted = outcome(two_layers(2), other, values((2, 3, 4, 4)))
    torch.testing.assert_close(found[2], wanted[2])
    assert wanted[2].abs().min() > 0


def test_many_values_are_summed_exactly_enough():
    """Where torch's float32 sum over channels-last values is off in the fourth digit, this one is not."""
    x, norm = values((64, 8, 64, 64), torch.float32, mean=2.0), norm_of(8, torch.float32)
    exact = F.batch_norm(x.double(), None, None, norm.weight.double(), norm.bias.double(), training=True)
    with torch.no_grad():
        assert (norm_pool(norm, x) - exact).abs().max() < 1e-5


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_move_as_torch_moves_them(momentum):
    ours, theirs = norm_of(4), norm_of(4)
    ours.momentum = theirs.momentum = momentum
    for seed in range(3):
        torch.manual_seed(seed)
        x = torch.randn(2, 4, 5, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
        norm_pool(ours, x)
        theirs(x)
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name])


def test_a_layer_of_weights_uses_it_in_training_and_torch_in_evaluation():
    layer = Weighted(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), pool=2)
    x = values((3, 2, 8, 8), torch.float32)
    trained = layer(x)
    wanted = F.avg_pool2d(
        F.batch_norm(layer.weights(x), None, None, layer.norm.weight, layer.norm.bias, training=True), 2
    )
    torch.testing.assert_close(trained, wanted, rtol=1e-5, atol=1e-5)
    assert "NormPool" in type(trained.grad_fn).__name__
    assert "NormPool" not in type(layer.eval()(x).grad_fn).__name__
