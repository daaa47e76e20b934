"""Recomputed layers and truncated gradients: the same network, less memory."""

import copy
import subprocess
import sys

import pytest
import torch
from small_networks import BATCH, CASES, IDS, frames_for, settings_of, small_network

from spikeline.models.part import Part
from spikeline.models.recompute import groups
from spikeline.models.registry import build

SETTINGS = {
    "classes": 3,
    "steps": 8,
    "channels": (4, 6, 6),
    "hidden": (8,),
    "grid": (8, 8),
    "surrogate": "atan",
    "surrogate_width": 2.0,
}


def network(name="masnn3", **settings):
    torch.manual_seed(0)
    return build(name, **(SETTINGS | settings if name == "masnn3" else settings)).train()


def gradients(net, frames, forward):
    torch.manual_seed(1)  # dropout and TSRD draw alike
    net.zero_grad()
    output, fired = forward(net, frames)
    (output.square().mean() + sum(s.mean() for s in fired.values())).backward()
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in net.named_parameters()}
    return output.detach(), grads, {k: v.clone() for k, v in net.state_dict().items()}


def assert_equal(one, two):
    assert torch.equal(one[0], two[0])
    for a, b in zip(one[1:], two[1:], strict=True):
        assert a.keys() == b.keys()
        for name in a:
            if a[name] is None:
                assert b[name] is None, name
            else:
                assert torch.equal(a[name], b[name]), name


FEW = [case for case in CASES if case[1] == 0]


@pytest.mark.parametrize("case", FEW, ids=[name for name, _ in FEW])
def test_recomputed_layers_have_equal_gradients_and_statistics(case):
    torch.manual_seed(0)
    net = build(case[0], **settings_of(case)).train()
    other = copy.deepcopy(net)
    frames = frames_for(net).float()
    assert_equal(
        gradients(net, frames, lambda n, x: n.over_time(x)),
        gradients(other, frames, lambda n, x: n.over_time(x, recompute=True)),
    )


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_variant_recomputed(case):
    test_recomputed_layers_have_equal_gradients_and_statistics(case)


PEAK = """
import resource, sys, torch
from spikeline.models.registry import build
torch.set_num_threads(1)
torch.manual_seed(0)
net = build("masnn3", steps=20, channels=(32,) * 8, pools=(1,) * 8, hidden=(16,)).train()
frames = torch.poisson(torch.full((20, 16, 2, 32, 32), 0.1))
net.over_time(frames[:, :2])[0].sum().backward()  # compiled by now
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
output, _ = net.over_time(frames, recompute=sys.argv[1] == "yes")
output.sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.full
def test_recomputed_layers_need_less_memory():
    peaks = {}
    for which in ("no", "yes"):
        done = subprocess.run(
            [sys.executable, "-c", PEAK, which], capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
        peaks[which] = int(done.stdout)
    assert peaks["yes"] < 0.65 * peaks["no"], peaks


def test_a_group_ends_at_neurons_forks_and_joins():
    inputs = {
        "a": ("input",),
        "n": ("a",),
        "b": ("n",),
        "c": ("b",),
        "d": ("n",),
        "e": ("c", "d"),
        "f": ("e",),
    }
    assert groups(inputs, ["n"]) == [["a", "n"], ["b", "c"], ["d"], ["e", "f"]]


@pytest.mark.parametrize("variant", [0, 4])  # without attention, and with CA and SA
@pytest.mark.parametrize("skips", [False, True])
def test_stretches_one_after_another_are_the_whole_sample(variant, skips):
    net = small_network(("masnn3", variant))
    frames = frames_for(net, 8)
    run = torch.rand(8, BATCH, generator=torch.Generator().manual_seed(0)) < 0.7 if skips else None
    whole, fired = net.over_time(frames, run)
    state, outputs, spikes = None, [], []
    for start in (0, 3, 6):
        part = slice(start, start + 3)
        own = None if run is None else run[part]
        output, some, state = net.stretch(frames[part], state, own)
        outputs.append(output)
        spikes.append(some["conv2"])
    assert torch.equal(torch.cat(outputs), whole) and whole.any()
    assert torch.equal(torch.cat(spikes), fired["conv2"])


@pytest.mark.parametrize("kind", ["masnn3", "plifnet", "staa-vgg13"])
def test_a_truncated_gradient_is_that_of_detached_states(kind):
    """The fused scan between borders, against a loop over steps whose state is detached there."""
    net = copy.deepcopy(small_network((kind, 0)))
    frames = frames_for(net, 6)
    found, wanted = [], []
    state = None
    net.zero_grad()
    for start in (0, 2, 4):
        output, _, state = net.stretch(frames[start : start + 2], state)
        output.square().sum().backward()
    found = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    state = net.init_state(frames.shape[1])
    for start in (0, 2, 4):
        state = {name: _detached(s) for name, s in state.items()}
        total = 0.0
        for frame in frames[start : start + 2]:
            output, state = net.step(frame, state)
            total = total + output.square().sum()
        total.backward()
    wanted = [p.grad for p in net.parameters() if p.grad is not None]
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    assert max(b.abs().max() for b in wanted) > 0


def _detached(state):
    if isinstance(state, dict):
        return {name: _detached(value) for name, value in state.items()}
    return state.detach() if isinstance(state, torch.Tensor) else state


def test_stretches_recomputed_have_equal_gradients():
    found = []
    for recompute in (False, True):
        net = copy.deepcopy(small_network(("masnn3", 4))).float().train()
        frames, state = frames_for(net, 6).float(), None
        for start in (0, 3):
            output, _, state = net.stretch(frames[start : start + 3], state, recompute=recompute)
            output.square().sum().backward()
        found.append([p.grad for p in net.parameters()])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)
    assert max(a.abs().max() for a in found[0]) > 0


def test_a_learned_rate_starts_its_stretch_where_the_last_one_ended():
    from spikeline.models.spiking_layer import ParametricLayer

    layer = ParametricLayer(3.0, threshold=0.6).double()
    torch.manual_seed(0)
    x, start = torch.randn(5, 3, 4, dtype=torch.float64) * 2, torch.rand(3, 4, dtype=torch.float64) * 0.5
    weights = torch.randn(5, 3, 4, dtype=torch.float64)
    results = []
    for stretch in (type(layer).stretch, Part.stretch):
        layer.zero_grad()
        own = x.clone().requires_grad_()
        s, end = stretch(layer, own, state=start)
        (s * weights).sum().backward()
        results.append((s.detach(), own.grad, layer.w.grad.clone(), end.detach()))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
    assert results[0][2].abs() > 0
