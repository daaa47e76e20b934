"""PLIF-net and MA-SNN's five-layer network."""

import math

import pytest
import torch

from spikeline.models.paper_costs import neurons, parameters
from spikeline.models.registry import build
from spikeline.models.spiking_layer import ParametricLayer

SMALL = {"classes": 3, "steps": 5, "channels": 6, "layers": 2, "hidden": 10, "votes": 2, "grid": (8, 12)}


def small(name="plifnet", **settings):
    torch.manual_seed(1)
    return build(name, **SMALL | {"t_ratio": 2, "c_ratio": 2, "kernel": 3} | settings).double()


def frames():
    generator = torch.Generator().manual_seed(4)
    return torch.poisson(torch.full((5, 3, 2, 8, 12), 0.8, dtype=torch.float64), generator=generator)


@pytest.mark.parametrize(
    ("settings", "count"),
    [({}, 1_698_933), ({"bias": False}, 1_698_311)],
)
def test_published_parameters(settings, count):
    with torch.device("meta"):
        net = build("plifnet", **settings)
        assert parameters(net) == parameters(build("masnn5", attention="no", **settings)) == count
    rates = [p for name, p in net.named_parameters() if name.endswith(".w")]
    assert len(rates) == 7 and count - len(rates) in (1_698_304, 1_698_926)


def test_ma_snn_counts_the_neurons_of_the_conv_layers():
    layers = neurons(build("plifnet").lower())
    assert sum(count for name, count in layers.items() if name.startswith("conv")) == 2_793_472
    assert layers["fc1"] == 512 and layers["fc2"] == 110


@torch.no_grad()
def test_a_step_votes_by_the_mean_of_each_classes_neurons():
    net = small().eval()
    for name in ("fc1", "fc2"):
        net.part(f"{name}_current").weights.bias.uniform_(-1, 4)
    values = net.values(frames())
    assert 0 < values["fc2"].mean() < 1
    wanted = torch.stack([values["fc2"][..., :2], values["fc2"][..., 2:4], values["fc2"][..., 4:]], 2).mean(3)
    assert torch.equal(values["vote"], wanted)


def test_dropout_draws_one_mask_a_sample_and_window():
    net = small(dropout=0.5).train()
    values = net.values(frames().clamp(min=1))
    kept = values["dropout1"] != 0
    fired = values["pool2"] != 0
    ever = fired.any(0)
    for b in range(3):
        open_places = kept[:, b].any(0)
        assert torch.equal(kept[:, b], fired[:, b] & open_places)
        assert 0.2 < open_places[ever[b]].double().mean() < 0.8
    assert not torch.equal(kept[:, 0].any(0), kept[:, 1].any(0))


@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize("tau", [2.0, 4.0])
def test_every_layer_starts_at_tau_and_learns_its_own(decay_input, tau):
    net = small(tau=tau, decay_input=decay_input).train()
    layers = [part for part in net.modules() if isinstance(part, ParametricLayer)]
    assert len(layers) == 4
    assert all(part.cell["rate"].item() == pytest.approx(1 / tau) for part in layers)
    assert {part.cell.kind for part in layers} == {"lif_sj" if decay_input else "lif_sj_full"}
    outputs, spikes = net.over_time(frames())
    (outputs.sum() + sum(s.sum() for s in spikes.values())).backward()
    assert all(part.w.grad.abs() > 0 for part in layers[:2])
    rates = {part.w.grad.item() for part in layers}
    assert len(rates) > 1


def test_a_learned_rate_is_lowered_as_it_is():
    net = small()
    with torch.no_grad():
        net.part("conv2").w.fill_(0.3)
    (node,) = [n for n in net.lower().nodes if n.name == "conv2"]
    assert node.attrs["constants"]["rate"] == pytest.approx(1 / (1 + math.exp(-0.3)))


def test_attention_stands_between_batch_norm_and_neurons():
    net = small("masnn5", attention="tcs", place="conv-post")
    assert net.inputs["conv1"] == ("conv1_sa",) and net.inputs["conv1_ta"] == ("conv1_current",)
    assert net.inputs["fc1"] == ("fc1_ta",)
    on_membrane = small("masnn5")
    assert on_membrane.inputs["conv1"] == ("conv1_ta",)
    assert [gate.attrs["kind"] for gate in on_membrane.part("conv1").refine] == ["ca", "sa"]
    assert small("masnn5", linear_attention=False).inputs["fc1"] == ("fc1_current",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": (98, 128)}, r"grid must be a multiple of 4 both ways, got \(98, 128\)"),
        ({"tau": 1.0}, "tau must be more than 1, got 1.0"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1, got 1.0"),
        ({"votes": 0}, "wanted steps, votes and layers >= 1, classes >= 2, got 5, 0, 2, 3"),
        ({"attention": "x"}, "attention must be one of no, t, c, s"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        small(**settings)
