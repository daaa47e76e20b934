"""The papers' arithmetic: the numbers they print, and small counts by hand."""

import pytest

from spikeline.models.attention_settings import eca_kernel
from spikeline.models.paper_costs import (
    Cost,
    GateCost,
    attention_macs,
    energy_gain,
    gac_cost,
    masnn_cost,
    nasar,
    neurons,
    nsar,
    parameters,
    spikes_per_sample,
    with_attention,
)
from spikeline.models.registry import build

THREE_LAYER_NEURONS = 106_763
FIVE_LAYER_NEURONS = 2_793_472


@pytest.mark.parametrize(
    ("classes", "count", "learned"),
    [(11, THREE_LAYER_NEURONS, 2_324_065), (20, 106_772, 2_326_396), (21, 106_773, 2_326_655)],
)
def test_ma_snn_three_layers(classes, count, learned):
    net = build("masnn3", classes=classes)
    assert sum(neurons(net.lower()).values()) == count
    assert parameters(net) == parameters(build("masnn3-released", attention="no", classes=classes)) == learned


def test_ma_snn_five_layers_as_released():
    """32 to 512 channels, other than the network of the paper's table."""
    for classes, learned in ((21, 2_100_767), (10, 2_097_918)):
        net = build("masnn5-released", attention="no", classes=classes)
        assert parameters(net) == learned
        assert sum(neurons(net.lower()).values()) == 248_064 + classes


def test_released_attention_adds_its_parameters():
    attended, plain = (build("masnn3-released", attention=letters) for letters in ("tcs", "no"))
    assert parameters(attended) - parameters(plain) == 16_470


@pytest.mark.parametrize(
    ("settings", "learned", "macs"),
    [
        ({"channel": "ca"}, 4_608, 276_480),
        ({"channel": "simam"}, 0, 25_559_043),
        ({"channel": "eca"}, 13, 88_320),  # printed as 48 and 76,800, which its rule does not give
    ],
)
def test_ma_snn_table_5(settings, learned, macs):
    plain, attended = build("masnn3"), build("masnn3", attention="c", **settings)
    assert parameters(attended) - parameters(plain) == learned
    costs = attention_macs(attended.lower())
    assert sum(cost.generate for cost in costs.values()) == macs
    assert sum(cost.multiply for cost in costs.values()) == 106_496 * 60
    assert [eca_kernel(c) for c in (64, 128, 128)] == [3, 5, 5]


@pytest.mark.parametrize(
    ("average", "count", "steps", "printed"),
    [  # MA-SNN Table 1, millions of spikes per sample
        (0.173, THREE_LAYER_NEURONS, 60, 1.108),
        (0.026, THREE_LAYER_NEURONS, 60, 0.167),
        (0.245, 106_772, 60, 1.570),
        (0.045, 106_772, 60, 0.288),
        (0.074, FIVE_LAYER_NEURONS, 20, 4.134),
        (0.011, FIVE_LAYER_NEURONS, 20, 0.615),
        (0.051, FIVE_LAYER_NEURONS, 20, 2.849),
        (0.013, FIVE_LAYER_NEURONS, 20, 0.726),
    ],
)
def test_ma_snn_table_1_spikes(average, count, steps, printed):
    assert spikes_per_sample(average, count, steps) / 1e6 == pytest.approx(printed, abs=6e-4)


def test_average_rates_count_skipped_steps_as_silent_or_not_at_all():
    assert nsar(30, 120) == 0.25
    spikes = [30, 60]  # of the two steps of four that ran
    assert nasar(spikes, 120, 4) == pytest.approx(0.1875)
    assert nasar(spikes, 120, len(spikes)) == pytest.approx(0.375)
    assert spikes_per_sample(nasar(spikes, 120, 4), 120, 4) == 90


def test_energy_is_that_of_45_nm():
    assert Cost(1000, 0).picojoules == pytest.approx(4600)
    assert Cost(0, 1000).picojoules == pytest.approx(900)
    base = Cost(100, 1000)
    attended = with_attention(base, 20, 800)
    assert attended == Cost(120, 200)
    assert energy_gain(base, attended) == pytest.approx((460 + 900) / (552 + 180))


def test_a_small_three_layer_network_by_hand():
    graph = build(
        "masnn3", channels=(4, 6, 8), hidden=(5,), classes=3, grid=(8, 8), steps=10, pools=(1, 2, 2)
    ).lower()
    macs = graph.dense_macs
    assert macs == {
        "conv1_current": 2 * 9 * 4 * 64,
        "conv2_current": 4 * 9 * 6 * 64,
        "conv3_current": 6 * 9 * 8 * 16,
        "fc1_current": 8 * 2 * 2 * 5,
        "fc2_current": 5 * 3,
    }
    rates = {"conv1": 0.1, "conv2": 0.2, "conv3": 0.3, "fc1": 0.4}
    found = masnn_cost(graph, rates)
    assert found.mac == 10 * macs["conv1_current"]
    fed = zip(("conv2_current", "conv3_current", "fc1_current", "fc2_current"), rates.values(), strict=True)
    assert found.ac == pytest.approx(10 * sum(macs[name] * rate for name, rate in fed))
    with pytest.raises(ValueError, match="wanted that of conv2 too"):
        masnn_cost(graph, {"conv1": 0.1})


def test_a_small_residual_network_by_hand():
    """Its shortcut multiplies; an average over neurons counts as they do; GAC's image is convolved once."""
    graph = build(
        "gac-resnet18-cifar",
        grid=(8, 8),
        steps=4,
        stem_width=4,
        widths=(6,),
        blocks=(1,),
        strides=(2,),
        classes=3,
    ).lower()
    macs = graph.dense_macs
    spiking = {"stage1_0_lif2_current": "stage1_0_lif1", "stage1_0_residual": "stage1_0_lif2", "fc": "lif"}
    assert set(macs) == {"encoder_current", "stage1_0_shortcut", *spiking}
    rates = {"stage1_0_lif1": 0.1, "stage1_0_lif2": 0.2, "lif": 0.3}
    found = gac_cost(graph, rates)
    assert found.mac == macs["encoder_current"] + 4 * macs["stage1_0_shortcut"]
    assert found.ac == pytest.approx(4 * sum(macs[name] * rates[layer] for name, layer in spiking.items()))
    assert masnn_cost(graph, rates).mac == found.mac + 3 * macs["encoder_current"]


def test_what_gates_cost_by_hand():
    """In a window once, one step after another at every step; a static image's unit once."""
    small = {"channels": (4, 6, 8), "hidden": (5,), "grid": (8, 8), "steps": 10, "pools": (1, 2, 2)}
    ratios = {"t_ratio": 5, "c_ratio": 2, "kernel": 3, "attention": "tcs"}
    costs = attention_macs(build("masnn3", **small, **ratios).lower())
    assert costs["conv2_ta"] == GateCost(2 * 2 * 10, 10 * 6 * 16)
    assert costs["conv2.refine.ca"] == GateCost(10 * 2 * 3 * 6, 10 * 6 * 16)
    assert costs["conv2.refine.sa"] == GateCost(10 * 2 * 9 * 16, 10 * 6 * 16)
    assert costs["fc1_ta"] == GateCost(2 * 2 * 10, 10 * 5)
    sliding = attention_macs(build("masnn3", **small, **ratios, form="sliding").lower())
    assert sliding["conv2_ta"] == GateCost(10 * 2 * 2 * 10, 10 * 6 * 16)
    for name, times in (("gac-resnet18-cifar", 1), ("gac-resnet18-events", 4)):
        graph = build(
            name, grid=(16, 16), steps=4, stem="conv3", stem_width=4, widths=(6,), blocks=(1,), strides=(2,)
        )
        unit = attention_macs(graph.lower())["encoder_gate"]
        assert unit == GateCost(2 * 2 * 4 + times * 2 * 4 * 4 * 16 * 256, 4 * 4 * 256)
