"""SynA-ResNet: its published counts, its joins and gates by their formulas."""

import functools

import numpy as np
import pytest
import torch

from spikeline.models import reference
from spikeline.models.gate_layer import GateLayer
from spikeline.models.paper_costs import neurons, parameters
from spikeline.models.pruning import prune
from spikeline.models.registry import build

NETWORKS = ("syna-gesture", "syna-cifar10dvs", "syna-mnist")
PLAIN = {"ma": "no", "ia": "no"}
SIDES = ["block1_side", "block2_side", "block3_side"]
SMALL = PLAIN | {
    "classes": 3,
    "steps": 5,
    "grid": (12, 12),
    "channels": (4, 6, 6, 8),
    "stem": (3, 1),
    "stem_pool": False,
    "t_ratio": 2,
    "c_ratios": (2, 2, 2, 2),
}


@functools.cache
def published(name, join="or"):
    return build(name, **PLAIN, join=join).lower()


def test_published_parameters():
    """d-T on Gesture adds 8 gates of 2 x 32 x 8."""
    counts = {name: parameters(build(name, **PLAIN)) for name in NETWORKS}
    assert counts == {
        "syna-gesture": 11_179_019,
        "syna-cifar10dvs": 11_173_386,
        "syna-mnist": 11_172_810,
    }
    assert parameters(build("syna-gesture")) == 11_179_019 + 4_096
    assert parameters(build("syna-mnist")) == counts["syna-mnist"]


def test_published_neurons():
    assert sum(neurons(published("syna-gesture")).values()) == 811_008
    assert sum(neurons(published("syna-cifar10dvs")).values()) == 118_528
    sides = {layer: n for layer, n in neurons(published("syna-gesture")).items() if layer in SIDES}
    assert list(sides.values()) == [32_768, 16_384, 8_192]
    pruned = prune(published("syna-gesture"), SIDES)
    assert sum(neurons(pruned).values()) == 753_664
    assert round(608_150 / 753_664, 1) == 0.8  # "0.8 spikes per neuron" is of the pruned network


@pytest.mark.parametrize(
    ("location", "places"),
    [
        ("a", "stem2 stem4 main1 post1"),
        ("b", "stem3 stem5 main2 post2"),
        ("c", "stem2 stem4 main1"),
        ("d", "stem3 stem5 main2"),
    ],
)
def test_attention_stands_where_its_location_says(location, places):
    net = build("syna-gesture", **SMALL | {"ma": "t", "ia": "s", "location": location})
    wanted = {f"{place}_ma" for place in places.split() if place.startswith("stem")}
    for place in places.split()[2:]:
        wanted |= {f"block{i}_{place}_ma" for i in (1, 2, 3)}
    assert {name for name in net.parts if name.endswith("_ma")} == wanted
    for name in wanted:  # between batch norm and neurons
        layer = name.removesuffix("_ma")
        assert net.inputs[layer] == (name,) and net.inputs[name] == (f"{layer}_current",)
    assert [name for name in net.parts if name.endswith("_ia")] == [f"{side}_ia" for side in SIDES]


def test_gates_have_their_published_sizes():
    """5.2: T // 4 along time; 8 hidden units at every width along channels; 7 x 7 in the stem, else 3 x 3."""
    t = build("syna-cifar10dvs").part("block2_post1_ma")
    assert t.table["w0"].shape == (4, 16)
    c = build("syna-gesture", ma="c", ia="c")
    hidden = {c.part(n).table["w0"].shape[0] for n in c.parts if n.endswith(("_ma", "_ia"))}
    assert hidden == {8}
    s = build("syna-gesture", ma="s", ia="s")
    kernels = {n: s.part(n).table["weight"].shape[-1] for n in s.parts if n.endswith(("_ma", "_ia"))}
    assert {n for n, k in kernels.items() if k == 7} == {"stem3_ma", "stem5_ma"}
    assert set(kernels.values()) == {3, 7}


def values_of(**settings):
    """All values of a small network on noise, with neurons that fire."""
    torch.manual_seed(2)
    net = build("syna-gesture", **SMALL | settings)
    frames = torch.poisson(torch.full((5, 3, 2, 12, 12), 0.7))
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.weight.fill_(3.0)
                part.bias.fill_(0.8)
        for _ in range(25):
            net.over_time(frames)
        return net.eval(), net.values(frames)


JOINS = {
    "or": lambda m, s: np.maximum(m, s),
    "add": lambda m, s: m + s,
    "and": lambda m, s: np.minimum(m, s),
    "iand": lambda m, s: np.where(m == 1, 0, s),
}


@pytest.mark.parametrize("join", JOINS)
def test_joins_of_spikes_are_what_their_names_say(join):
    _, values = values_of(join=join)
    for i in (1, 2, 3):
        m, s = values[f"block{i}_main2"].numpy(), values[f"block{i}_side"].numpy()
        assert m.any() and s.any()
        np.testing.assert_array_equal(values[f"block{i}"].numpy(), JOINS[join](m, s))


def test_baselines_have_no_neurons_on_their_side_path():
    """Vanilla: neurons behind the sum, both paths fed by spikes. MS: the side path carries the current."""
    vanilla, values = values_of(join="vanilla")
    assert not any("side" in layer for layer in vanilla.lower().layers)
    total = values["block1_main2_current"] + values["block1_side_current"]
    assert torch.equal(values["block1_sum"], total)
    assert vanilla.inputs["block1_main2"] == ("block1_sum",)
    assert (
        vanilla.inputs["block2_side_current"] == vanilla.inputs["block2_main1_current"] == ("block1_post2",)
    )
    ms, _ = values_of(join="ms")
    assert ms.inputs["block2_main1_current"] == ("block1_post2",)
    assert ms.inputs["block2_side_current"] == ("block1_post2_current",)
    assert ms.lower().layers == vanilla.lower().layers


def inhibition(score, form="window", mode="heaviside", seed=0):
    torch.manual_seed(seed)
    sizes = {"kernel": 3} if score == "sa" else {"hidden": 3}
    gate = GateLayer("ia", form, (4, 5, 6), 5, sizes=sizes, score=score, mode=mode).double()
    with torch.no_grad():
        for p in gate.parameters():
            p.mul_(20 if score == "sa" else 4)
    return gate, torch.randn(5, 3, 4, 5, 6, dtype=torch.float64) + 0.3


def scores(gate, x):
    """M(avg) + M(max) of a window by hand, or the convolution of its two planes; shaped to multiply x."""
    x = x.numpy()
    tensors = {role: tensor.detach().numpy() for role, tensor in gate.roles().items()}
    score = gate.attrs["score"]
    if score == "sa":
        planes = np.stack([x.mean((0, 2)), x.max((0, 2))], 1)
        padded = np.pad(planes, ((0, 0), (0, 0), (1, 1), (1, 1)))
        out = np.zeros(planes[:, 0].shape)
        for i in range(3):
            for j in range(3):
                part = padded[:, :, i : i + out.shape[1], j : j + out.shape[2]]
                out += (part * tensors["weight"][0, :, i, j][None, :, None, None]).sum(1)
        return out[None, :, None]
    axes = (2, 3, 4) if score == "ta" else (0, 3, 4)
    rows = [np.atleast_2d(pool(axis=axes)) for pool in (x.mean, x.max)]
    rows = [row.T for row in rows] if score == "ta" else rows
    hidden = sum(np.maximum(row @ tensors["w0"].T, 0) for row in rows)
    both = hidden @ tensors["w1"].T
    return both.T[:, :, None, None, None] if score == "ta" else both[None, :, :, None, None]


@pytest.mark.parametrize("score", ["ta", "ca", "sa"])
@torch.no_grad()
def test_inhibition_opens_where_one_step_of_a_lif_fires(score):
    gate, x = inhibition(score)
    opened = (scores(gate, x) >= 2).astype(float)
    assert opened.any() and not opened.all()
    np.testing.assert_allclose(gate.over_time(x).numpy(), np.maximum(x.numpy() * opened, 0), rtol=1e-12)


@torch.no_grad()
def test_inhibition_in_time_is_a_lif_along_the_scores():
    gate, x = inhibition("ta", mode="lif_time")
    v, opened = np.zeros(3), []
    for score in scores(gate, x)[:, :, 0, 0, 0]:
        v = v + (score - v) / 2
        opened.append(v >= 1)
        v = np.where(v >= 1, 0, v)
    opened = np.array(opened, float)
    assert opened.any() and not opened.all()
    wanted = np.maximum(x.numpy() * opened[:, :, None, None, None], 0)
    np.testing.assert_allclose(gate.over_time(x).numpy(), wanted, rtol=1e-12)


@pytest.mark.parametrize("score", ["ta", "ca", "sa"])
@torch.no_grad()
def test_samples_do_not_influence_each_others_inhibition(score):
    gate, x = inhibition(score)
    alone = torch.cat([gate.over_time(x[:, i : i + 1]) for i in range(3)], 1)
    torch.testing.assert_close(alone, gate.over_time(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("score", "mode"), [("ta", "heaviside"), ("ca", "heaviside"), ("ta", "lif_time")])
def test_inhibition_learns_through_its_threshold(score, mode):
    gate, x = inhibition(score, mode=mode)
    gate.over_time(x).sum().backward()
    assert all(p.grad.abs().max() > 0 for p in gate.parameters())


@pytest.mark.parametrize("form", ["sliding", "prefix"])
@torch.no_grad()
def test_a_skipped_step_leaks_in_an_inhibition_as_its_graph_says(form):
    net = build("syna-gesture", **SMALL | {"ia": "t", "ia_mode": "lif_time", "form": form}).double().eval()
    graph = net.lower()
    frames = torch.poisson(torch.full((4, 2, 2, 12, 12), 0.7, dtype=torch.float64))
    state, states = net.init_state(2), reference.initial_states(graph, 2, np.float64)
    for t, frame in enumerate(frames):
        _, state = net.step(frame, state)
        counts = frame.numpy().astype(np.uint16)
        _, states = reference.run_step(graph, counts, states, np.full(2, 2 * t))
        state = net.idle(state)
        states = {name: graph.states[name].idle(array) for name, array in states.items()}
    gates = [name for name in graph.states if "_side_ia." in name]
    assert len(gates) == 9 and any(name.endswith(".h") for name in gates)
    for name in gates:
        part, role = name.rsplit(".", 1)
        np.testing.assert_allclose(states[name], state[part][role].numpy(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"join": "xor"}, "join must be one of or, add, and, iand, vanilla, ms, got 'xor'"),
        ({"ma": "tcs"}, "ma must be one of no, t, c, s, got 'tcs'"),
        ({"location": "e"}, "location must be one of a, b, c, d"),
        ({"ia": "t", "ia_mode": "batch_leak"}, "batch_leak, where samples of a batch change each other"),
        ({"ia": "c", "ia_mode": "lif_time"}, "ia_mode lif_time runs along time: wanted ia t, got 'c'"),
        ({"form": "running"}, "form must be one of window, sliding, prefix"),
        ({"ma": "t", "t_ratio": 9}, "ratio must be from 1 to 5, got 9"),
        ({"classes": 1}, "classes must be at least 2, got 1"),
        ({"horizon": "forever"}, "horizon must be one of endless, tumbling"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        build("syna-gesture", **SMALL | settings)
    assert "\n" not in str(caught.value)
