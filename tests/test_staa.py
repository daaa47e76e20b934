"""STAA-SNN: its published counts, its neurons by their formulas in NumPy, what training drops."""

import functools

import numpy as np
import pytest
import torch

from spikeline.models import reference
from spikeline.models.paper_costs import Cost, neurons, parameters
from spikeline.models.registry import build
from spikeline.models.staa_layer import ScaledLayer, STAALayer

T, B, SHAPE = 6, 3, (8, 4, 5)
SMALL = {"classes": 3, "steps": 5, "grid": (8, 8), "inputs": 2, "ratio": 2, "hidden": 4}
SMALL_VGG = SMALL | {"channels": ((4,), (6,))}


@pytest.mark.parametrize(
    ("name", "settings", "count", "printed"),
    [
        ("staa-resnet20", {}, 12_692_147, "12.69"),
        ("staa-resnet20", {"classes": 1000, "grid": (224, 224)}, 13_200_017, "13.20"),
        ("staa-vgg13", {}, 10_665_096, "10.67"),
        ("staa-vgg13", {"classes": 1000, "grid": (224, 224)}, 11_172_966, "11.17"),
    ],
)
def test_published_parameters(name, settings, count, printed):
    """Table 7, T = 4."""
    net = build(name, **settings)
    assert net.steps == 4 and parameters(net) == count
    assert f"{count / 1e6:.2f}" == printed


@functools.cache
def resnet20():
    return build("staa-resnet20", adaptive_mode="no").lower()


def test_the_backbones_work():
    """ResNet-20 at 32 x 32: 215.7 M multiply-accumulates a step, 0.863 G at T = 4 (Table 7: 0.87)."""
    assert parameters(build("staa-resnet20", adaptive_mode="no")) == 11_247_946
    assert round(sum(resnet20().dense_macs.values()) / 1e6, 1) == 215.7
    assert round(4 * sum(resnet20().dense_macs.values()) / 1e9, 3) == 0.863
    assert len(resnet20().layers) == 19


def test_the_energy_of_table_7():
    """0.06 G MAC and 0.10 G AC are 0.366 mJ: E = 4.6 pJ MAC + 0.9 pJ AC."""
    assert Cost(mac=0.06e9, ac=0.10e9).picojoules * 1e-9 == pytest.approx(0.366)


@pytest.mark.parametrize(
    ("name", "layers", "last"),
    [
        ("staa-vgg13", 10, (512, 2, 2)),
        ("staa-resnet20", 19, (512, 2, 2)),
        ("staa-resnet19", 17, (512, 8, 8)),
        ("staa-resnet18", 17, (512, 7, 7)),
        ("staa-resnet34", 33, (512, 7, 7)),
    ],
)
def test_depths_are_their_names(name, layers, last):
    """A layer of neurons behind every convolution but the shortcuts'."""
    net = build(name, adaptive_mode="no")
    found = [layer for layer in net.parts if net.part(layer).spikes]
    assert len(found) == layers and net.shapes[found[-1]] == last
    assert net.shapes[net.frames][0] == 3


def test_what_attention_costs():
    """A global context has C^2 / 2 + 2.75 C + 1 numbers at ratio 4, the step attention 49, a position C."""
    layer = STAALayer((64, 4, 4), 4)
    assert parameters(layer.context) == parameters(layer.recall[0]) == 64**2 // 2 + 2.75 * 64 + 1
    assert parameters(layer.refine[0]) == 49
    assert parameters(layer.place) == 4 * 64
    channel = STAALayer((64, 4, 4), 4, scope="channel", hidden=None)
    assert parameters(channel.refine[0]) == 2 * 64 * 16 + 16 + 64


def test_neurons_fire_behind_the_addition():
    net = build("staa-resnet19", **SMALL | {"channels": (4, 6), "blocks": (1, 2)})
    assert net.inputs["stage1_0_lif2_current"] == ("stage1_0_conv2", "stem1")
    assert net.inputs["stage2_0_lif2_current"] == ("stage2_0_conv2", "stage2_0_shortcut")
    assert net.inputs["stage2_1_lif1_current"] == ("stage2_0_lif2",)
    assert net.part("stage2_0_shortcut").before == 1
    pooled = build("staa-resnet20", **SMALL | {"channels": (4, 6), "blocks": (1, 2)})
    assert pooled.part("stage2_0_shortcut").before == 2
    graph = build("staa-vgg13", **SMALL_VGG).lower()
    assert sum(neurons(graph).values()) == 4 * 64 + 6 * 16


def seeded(layer):
    """In float64, evaluating, with positions, norms and weights that matter."""
    generator = torch.Generator().manual_seed(4)
    layer = layer.double().eval()
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) * 0.6)
        if isinstance(layer, ScaledLayer):
            layer.norm.running_mean.normal_(0, 0.3, generator=generator)
            layer.norm.running_var.uniform_(0.5, 1.5, generator=generator)
    return layer


def currents(steps=T, seed=6):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((steps, B, *SHAPE), generator=generator, dtype=torch.float64) + 0.8


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def context_by_hand(gate, z, how):
    """z + v relu(LN(q ctx)), position by position."""
    w = {role: tensor.detach().numpy() for role, tensor in gate.roles().items()}
    out = np.empty_like(z)
    for b in range(len(z)):
        total = np.zeros(z.shape[1])
        for i in range(z.shape[2]):
            for j in range(z.shape[3]):
                column = z[b, :, i, j]
                total += column * sigmoid(w["k.weight"][0] @ column + w["k.bias"][0])
        total = total / (z.shape[2] * z.shape[3]) if how == "mean" else total
        q = w["q.weight"] @ total + w["q.bias"]
        normal = (q - q.mean()) / np.sqrt(q.var() + 1e-5) * w["norm.scale"] + w["norm.shift"]
        out[b] = z[b] + (w["v.weight"] @ np.maximum(normal, 0) + w["v.bias"])[:, None, None]
    return out


def step_by_hand(gate, u, scope, alpha):
    w = {role: tensor.detach().numpy() for role, tensor in gate.roles().items()}
    pooled = u.mean((2, 3)) if scope == "channel" else u.mean((1, 2, 3))[:, None]
    hidden = np.maximum(alpha * pooled @ w["w0"].T + w["b0"], 0)
    return u * sigmoid(hidden @ w["w1"].T + w["b1"])[:, :, None, None]


@pytest.mark.parametrize("context", ["mean", "sum"])
@pytest.mark.parametrize(("scope", "alpha"), [("step", 2.0), ("channel", 0.7)])
@torch.no_grad()
def test_the_neurons_are_their_formulas(context, scope, alpha):
    layer = seeded(STAALayer(SHAPE, 4, context=context, scope=scope, ratio=2, hidden=5, alpha=alpha))
    x = currents()
    pos = layer.place.role("pos").numpy()
    h, wanted = np.zeros((B, *SHAPE)), []
    for t, current in enumerate(x.numpy()):
        placed = current + pos[min(t, 3)][:, None, None]  # past T the last position stays
        u = context_by_hand(layer.context, placed, context) + context_by_hand(layer.recall[0], h, context)
        v = step_by_hand(layer.refine[0], u, scope, alpha)
        wanted.append(v >= 1)
        h = np.where(v >= 1, 0, v)
    found = layer.over_time(x).numpy()
    assert 0.02 < found.mean() < 0.98
    np.testing.assert_array_equal(found, np.array(wanted, float))


@torch.no_grad()
def test_the_forerunners_neurons_are_their_formula():
    layer = seeded(ScaledLayer(SHAPE))
    m, n = (np.tanh(layer.scales[key].item()) for key in "mn")
    norm = layer.norm
    h, wanted, x = np.zeros((B, *SHAPE)), [], currents()
    for current in x.numpy():
        v = torch.from_numpy(m * h + n * current)
        std = (norm.running_var + norm.eps).sqrt()[:, None, None]
        v = (v - norm.running_mean[:, None, None]) / std * norm.weight[:, None, None]
        v = (v + norm.bias[:, None, None]).numpy()
        wanted.append(v >= 1)
        h = np.where(v >= 1, 0, v)
    found = layer.over_time(x).numpy()
    assert found.any() and not found.all()
    np.testing.assert_array_equal(found, np.array(wanted, float))


def test_two_numbers_a_layer_or_for_all_of_them():
    plain = parameters(build("staa-vgg13", **SMALL_VGG, adaptive_mode="no"))
    own = build("staa-vgg13", **SMALL_VGG, adaptive_mode="mn")
    shared = build("staa-vgg13", **SMALL_VGG, adaptive_mode="mn-shared")
    norms = 2 * (4 + 6)
    assert parameters(own) == plain + norms + 2 * 2
    assert parameters(shared) == plain + norms + 2
    assert shared.part("conv1_1").scales is shared.part("conv2_1").scales


def test_training_drops_whole_steps_of_attention_at_its_rate():
    """TSRD: V = I + H, one draw a layer and step; never at inference."""
    layer, x = seeded(STAALayer(SHAPE, T, drop=0.25)), currents()[0]
    state = layer.init_state(B, SHAPE, x) | {"h": torch.ones_like(x) * 0.3}
    with torch.no_grad():
        served = layer.potential(x, state)
        layer.train()
        torch.manual_seed(0)
        plain = [torch.equal(layer.potential(x, state), x + state["h"]) for _ in range(400)]
        assert 0.19 < np.mean(plain) < 0.31
        layer.eval()
        assert all(torch.equal(layer.potential(x, state), served) for _ in range(50))


def test_training_reaches_attention_through_the_membrane():
    layer = seeded(STAALayer(SHAPE, T)).train()
    layer.over_time(currents())[-1].sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    assert layer.recall[0].role("v.weight").grad.abs().max() > 0


@torch.no_grad()
def test_sum_and_mean_differ_only_before_the_norm():
    """With q's bias 0 the layer norm takes the factor between them out, but for its epsilon."""
    a, b = (seeded(STAALayer(SHAPE, T, context=how)).context for how in ("mean", "sum"))
    for gate in (a, b):
        gate.role("q.bias").zero_()
    x = currents()[0] * 50
    torch.testing.assert_close(a.alone(x), b.alone(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rule", ["leak", "membrane"])
@torch.no_grad()
def test_a_skipped_step_holds_the_membrane_or_takes_it_through_its_gates(rule):
    torch.manual_seed(1)
    net = build("staa-vgg13", **SMALL_VGG, idle=rule).double().eval()
    graph = net.lower()
    frames = torch.poisson(torch.full((4, 2, 2, 8, 8), 0.7, dtype=torch.float64))
    state, states = net.init_state(2), reference.initial_states(graph, 2, np.float64)
    for t, frame in enumerate(frames):
        _, state = net.step(frame, state)
        _, states = reference.run_step(graph, frame.numpy().astype(np.uint16), states, 3 * t)
        for _ in range(2):
            before, state = state, net.idle(state)
            states = {name: graph.states[name].idle(array) for name, array in states.items()}
        for name in ("conv1_1", "conv2_1"):
            h = state[name]["h"].numpy()
            assert np.array_equal(h, before[name]["h"]) == (rule == "leak")
            np.testing.assert_allclose(states[f"{name}.h"], h, rtol=1e-5, atol=1e-6)
            assert state[name]["position"].tolist() == [3 * (t + 1)] * 2


@torch.no_grad()
def test_a_tumbling_network_begins_anew_and_an_endless_one_does_not():
    frames = torch.poisson(torch.full((5, 2, 2, 8, 8), 0.7, dtype=torch.float64)).repeat(2, 1, 1, 1, 1)
    for horizon in ("tumbling", "endless"):
        torch.manual_seed(2)
        net = build("staa-vgg13", **SMALL_VGG, horizon=horizon, threshold=0.3).double().eval()
        for name in ("conv1_1", "conv2_1"):
            net.part(name).place.role("pos").normal_()
        y = net(frames)
        assert torch.equal(y[:5], y[5:]) == (horizon == "tumbling")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("staa-vgg13", {"context": "max"}, "context must be one of mean, sum, got 'max'"),
        ("staa-vgg13", {"scope": "pixel"}, "scope must be one of step, channel"),
        ("staa-vgg13", {"adaptive_mode": "nm"}, "adaptive_mode must be one of attention, mn, mn-shared, no"),
        ("staa-vgg13", {"drop": 1.0}, "drop must be at least 0 and less than 1, got 1.0"),
        ("staa-vgg13", {"pool": "global"}, "pool must be one of avg, max"),
        ("staa-vgg13", {"ratio": 5}, "ratio must be from 1 to 4, got 5"),
        ("staa-vgg13", {"hidden": 0}, "hidden must be at least 1, got 0"),
        ("staa-vgg13", {"idle": "zero"}, "idle must be one of leak, membrane"),
        ("staa-resnet20", {"shortcut": "none"}, "shortcut must be one of pool, conv"),
        ("staa-resnet20", {"blocks": (1, 1)}, "wanted blocks for each of 4 stages"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(name, settings, message):
    small = SMALL_VGG if name == "staa-vgg13" else SMALL
    with pytest.raises(ValueError, match=message) as caught:
        build(name, **small | settings)
    assert "\n" not in str(caught.value)
