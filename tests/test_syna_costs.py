"""What SynA-ResNet's tables count: the MAC columns, and the energy of a row, as printed and as they are."""

import functools

import pytest

from spikeline.models.paper_costs import Cost
from spikeline.models.pruning import prune
from spikeline.models.registry import build
from spikeline.models.syna_costs import (
    syna_ac,
    syna_energy_mj,
    syna_linear_picojoules,
    syna_mac,
    syna_spikes,
)


@functools.cache
def published(name, join="or"):
    return build(name, ma="no", ia="no", join=join).lower()


@pytest.mark.parametrize(
    ("name", "join", "printed", "counted"),
    [
        ("syna-gesture", "or", 840.43, 839.647),
        ("syna-gesture", "and", 840.43, 839.647),
        ("syna-gesture", "add", 4462.48, 4461.691),
        ("syna-gesture", "vanilla", 4055.89, 839.647),
        ("syna-cifar10dvs", "or", 11.92, 11.923),
        ("syna-cifar10dvs", "add", 332.64, 332.644),
        ("syna-cifar10dvs", "vanilla", 274.68, 11.923),
        ("syna-mnist", "or", 14.10, 14.103),
        ("syna-mnist", "add", 1542.19, 1542.193),
        ("syna-mnist", "vanilla", 1323.60, 14.103),
    ],
)
def test_the_mac_columns_as_printed_and_as_they_are(name, join, printed, counted):
    """SynA-ResNet Tables III and IV, millions."""
    graph = published(name, join)
    assert round(syna_mac(graph, printed=True) / 1e6, 2) == printed
    assert round(syna_mac(graph) / 1e6, 3) == counted


# Firing rates with SA on Gesture, where the last shortcut is silent: the numbers in the paper's released
# script, in the order of its convolutions, and of the three joins.
STEM = (0.0213, 0.0445, 0.0314, 0.0164, 0.0344)
BLOCKS = (
    *(0.0453, 0.0392, 0.0001, 0.0434, 0.0530),
    *(0.0060, 0.0314, 0.0356, 0.0393, 0.0404),
    *(0.0456, 0.0497, 0.0, 0.0513, 0.0544),
)
JOINED = {"block1": 0.0392, "block2": 0.0398, "block3": 0.0497}


def test_the_energy_of_a_published_row():
    """The S row of Table III, 4.627 mJ; the script that it comes from gives 4.626."""
    graph = published("syna-gesture")
    rates = dict(zip(graph.layers, (*STEM, *BLOCKS), strict=True)) | JOINED
    pruned = prune(graph, ["block3_side"])
    rates["block3"] = rates["block3_main2"]  # what is left of the join
    printed = Cost(syna_mac(pruned, printed=True), syna_ac(pruned, rates, printed=True))
    assert printed.mac == 840_171_520 and printed.ac == pytest.approx(837_032_922, rel=1e-8)
    assert round(syna_energy_mj(pruned, printed), 3) == 4.626
    own = Cost(syna_mac(pruned), syna_ac(pruned, rates))
    assert own.mac == 839_385_088 and own.ac == pytest.approx(672_941_054, rel=1e-8)
    assert syna_spikes(pruned, rates) == pytest.approx(766_928.5, abs=0.1)


def test_energies_follow_from_their_columns():
    """E = 4.6 MAC + 0.9 AC + the linear layer's 8.22 uJ: each MAC of AC's price is one, in millijoules."""
    graph = published("syna-gesture")
    assert round(syna_linear_picojoules(graph) / 1e6, 2) == 8.22
    base = syna_energy_mj(graph, Cost(0, 0))
    assert base == pytest.approx(0.0082166, abs=1e-7)
    assert syna_energy_mj(graph, Cost(840.43e6, 1e9)) == pytest.approx(3.865978 + 0.9 + base, abs=1e-6)
