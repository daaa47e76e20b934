"""GAC: its encoder longhand, on a repeated image and on event frames, and its published sizes."""

import pytest
import torch
import torch.nn.functional as F

from spikeline.models.gac import GACSettings, encode
from spikeline.models.network import Network
from spikeline.models.paper_costs import parameters
from spikeline.models.registry import build
from spikeline.models.spiking_layer import PAPERS
from spikeline.models.stateless import Weighted

T, B, C, H, W = 4, 2, 6, 7, 9
SMALL = {
    "classes": 3,
    "steps": T,
    "grid": (12, 12),
    "widths": (6, 8),
    "blocks": (1, 1),
    "strides": (1, 2),
    "stem_width": 4,
}


def encoder(form, **settings):
    net = Network(grid=(H, W), steps=T, channels=3, horizon="tumbling")
    torch.manual_seed(5)
    current = net.add("current", Weighted.conv(3, C, 3), net.frames)
    encode(net, GACSettings(form=form, t_ratio=2, **settings), current)
    net.part("current").norm.weight.data.fill_(2.0)
    return net.double().eval()


def images(steps=1):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(steps, B, 3, H, W, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize(("kernel", "c_ratio"), [(4, 1), (3, 2)])
@torch.no_grad()
def test_the_encoder_is_its_formula(kernel, c_ratio):
    net = encoder("window", kernel=kernel, c_ratio=c_ratio)
    x = images(T)
    found = net.values(x)
    f, table = found["current"], net.part("encoder_gate").table
    side = ((kernel - 1) // 2, kernel // 2) * 2  # an even kernel reaches one further right and down
    for b in range(B):
        ta = sum(
            table["w1"] @ torch.relu(table["w0"] @ v)
            for v in (f[:, b].mean((1, 2, 3)), f[:, b].amax((1, 2, 3)))
        )
        m, fired = torch.zeros_like(f[0, b]), []
        for t in range(T):
            m = 0.5 * m + f[t, b]
            fired.append((m > 1).double())
            m = m * (1 - fired[-1])
            sca = F.conv2d(F.pad(f[t, b], side)[None], table["sca0"])
            sca = F.conv2d(F.pad(torch.relu(sca), side), table["sca1"])[0]
            wanted = torch.sigmoid(ta[t] * sca) * fired[t]
            torch.testing.assert_close(found["encoder_gate"][t, b], wanted, rtol=1e-10, atol=1e-14)
        assert 0.02 < torch.stack(fired).mean() < 0.98


@torch.no_grad()
def test_on_a_static_image_every_step_has_the_gate_of_the_window():
    window, static = encoder("window"), encoder("static")
    static.load_state_dict(window.state_dict())
    x = images().expand(T, -1, -1, -1, -1)
    found = static(x)
    torch.testing.assert_close(found, window.over_time(x)[0], rtol=1e-12, atol=1e-14)
    assert ((found >= 0) & (found < 1)).all() and len({float(y.max()) for y in found}) > 1


@torch.no_grad()
def test_the_next_image_begins_after_t_steps():
    net = encoder("static")
    x = images().expand(2 * T, -1, -1, -1, -1)
    found = net(x)
    assert torch.equal(found[:T], found[T:]) and not torch.equal(found[0], found[1])
    assert build("gac-resnet18-cifar", **SMALL).tumbling


@pytest.mark.parametrize(
    ("name", "changes", "count"),
    [
        ("gac-resnet18-cifar", {"gated": False}, 12_502_090),
        ("gac-resnet18-cifar", {"gated": False, "classes": 100}, 12_548_260),
        ("gac-resnet18-cifar", {}, 12_633_198),
        ("gac-resnet18-cifar", {"classes": 100}, 12_679_368),
        ("gac-resnet18", {"gated": False}, 11_693_736),
        ("gac-resnet18", {}, 11_824_844),
        ("gac-resnet34", {"gated": False}, 21_801_896),
        ("gac-resnet34", {}, 21_933_004),
    ],
)
def test_published_parameters(name, changes, count):
    with torch.device("meta"):
        assert parameters(build(name, **changes)) == count


@pytest.mark.parametrize(
    ("name", "paper", "threshold", "decay"),
    [("gac-resnet18-cifar", "gac", 1.0, 0.5), ("gac-resnet18", "ms", 0.5, 0.25)],
)
def test_neurons_differ_by_data_set_and_the_other_reading_has_a_name(name, paper, threshold, decay):
    def constants(**settings):
        net = build(name, **SMALL | settings)
        layers = [part for part in net.modules() if hasattr(part, "surrogate")]
        assert len(layers) == 6
        kind, surrogate, width, _ = PAPERS[settings.get("neurons", paper)]
        assert all((p.neuron.kind, p.surrogate, p.width) == (kind, surrogate, width) for p in layers)
        return {(p.neuron["threshold"], p.neuron["decay"]) for p in layers}

    assert constants() == {(threshold, decay)}
    other = "ms" if paper == "gac" else "gac"
    assert constants(neurons=other) != constants()
    assert constants(constants={"threshold": 0.7}) == {(0.7, decay)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "running"}, "form must be one of window, sliding, prefix, static, got 'running'"),
        ({"kernel": 0}, "kernel must be positive, got 0"),
        ({"t_ratio": 9}, "ratio must be from 1 to 4, got 9"),
        ({"c_ratio": 5}, "ratio must be from 1 to 4, got 5"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build("gac-resnet18-cifar", **SMALL | settings)
