"""The parts of torch networks: one step, a window, the shape they announce and the graph they write."""

import numpy as np
import pytest
import torch
from torch import nn

from spikeline.models import reference
from spikeline.models.network import Network
from spikeline.models.neurons import CONSTANTS, neuron
from spikeline.models.operations import OUTPUTS
from spikeline.models.spiking_layer import ParametricLayer, SpikingLayer, paper_layer
from spikeline.models.stateless import Join, Pool, Vote, Weighted

T, B = 5, 2
VOLUME, VECTOR = (4, 7, 10), (12,)

PARTS = {
    "conv": (VOLUME, lambda: Weighted.conv(4, 6, 3)),
    "strided conv": (VOLUME, lambda: Weighted.conv(4, 6, 5, 2, bias=True)),
    "conv, average behind": (VOLUME, lambda: Weighted.conv(4, 6, 3, pool=2)),
    "conv, average before": (VOLUME, lambda: Weighted.conv(4, 6, 1, before=2)),
    "conv without batch norm": (VOLUME, lambda: Weighted(nn.Conv2d(4, 6, 3, padding=1))),
    "linear on a volume": (VOLUME, lambda: Weighted(nn.Linear(280, 5))),
    "linear, batch norm": (VECTOR, lambda: Weighted(nn.Linear(12, 5, bias=False), nn.BatchNorm1d(5))),
    "average pool": (VOLUME, lambda: Pool("avg", 2)),
    "overlapping average pool": (VOLUME, lambda: Pool("avg", 3, 2)),
    "max pool": (VOLUME, lambda: Pool("max", 2)),
    "padded max pool": (VOLUME, lambda: Pool("max", 3, 2, 1)),
    "global pool": (VOLUME, lambda: Pool("global")),
    "adaptive pool": (VOLUME, lambda: Pool("adaptive", 3)),
    "vote": (VECTOR, lambda: Vote(3)),
    **{f"neurons {kind}": (VOLUME, lambda kind=kind: SpikingLayer(neuron(kind))) for kind in CONSTANTS},
    "PLIF": (VOLUME, lambda: ParametricLayer(3.0, threshold=0.7)),
    **{f"LIAF {o}": (VECTOR, lambda o=o: SpikingLayer(neuron("lif_ma"), output=o)) for o in OUTPUTS[1:]},
}


def seeded(build):
    """In float64, evaluating, with seeded weights and batch norm statistics."""
    torch.manual_seed(3)
    part = build()
    for name, tensor in part.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            tensor.normal_(0, 0.3)
    return part.double().eval()


def counts(shape):
    generator = torch.Generator().manual_seed(5)
    return torch.poisson(torch.full((T, B, *shape), 0.8, dtype=torch.float64), generator=generator)


@pytest.mark.parametrize(("shape", "build"), PARTS.values(), ids=PARTS)
@torch.no_grad()
def test_a_part_does_the_same_in_every_form(shape, build):
    part, x = seeded(build), counts(shape)
    state = part.init_state(B, shape, x)
    stepped = []
    for frame in x:
        y, state = part.step(frame, state)
        stepped.append(y)
    window = part.over_time(x)
    torch.testing.assert_close(window, torch.stack(stepped), rtol=1e-12, atol=1e-12)
    assert window.std() > 0 and tuple(window.shape[2:]) == part.shape(shape)


@pytest.mark.parametrize(("shape", "build"), PARTS.values(), ids=PARTS)
@torch.no_grad()
def test_a_part_is_what_it_writes_into_the_graph(shape, build):
    torch.manual_seed(3)
    net = Network(grid=(7, 10), steps=T, channels=4)
    x = net.frames
    if shape == VECTOR:
        x = net.add("wide", Weighted(nn.Linear(280, 12)), x)
    x = net.add("part", seeded(build), x)
    if len(net.shapes[x]) > 1:
        x = net.add("average", Pool("global"), x)
    net.add("fc", Weighted(nn.Linear(net.shapes[x][0], 3)), x)
    net.double().eval()
    frames = counts(VOLUME)
    graph = net.lower()
    states = reference.initial_states(graph, B, np.float64)
    outputs = []
    for t, frame in enumerate(frames.numpy().astype(np.uint16)):
        values, states = reference.run_step(graph, frame, states, np.full(B, t, np.int64))
        outputs.append(values["readout"])
    np.testing.assert_allclose(np.stack(outputs), net(frames).numpy(), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_analog_outputs_leave_the_state_to_the_spikes():
    x = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    h = torch.zeros_like(x)
    cell = neuron("lif_ma")
    found = {output: SpikingLayer(cell, output=output).step(x, h) for output in OUTPUTS}
    assert torch.equal(found["membrane"][0], x.clamp(min=0))
    assert torch.equal(found["excess"][0], (x - 0.3).clamp(min=0))
    assert all(torch.equal(carried, found["spikes"][1]) for _, carried in found.values())


def test_a_skipped_step_passes_the_gradient_of_the_leak_on():
    """Also where the membrane is 0 after a hard reset, and flushed."""
    layer = paper_layer("gac")
    x = torch.tensor([[1.5], [0.0], [1.2]], dtype=torch.float64)[:, None].requires_grad_(True)
    run = torch.tensor([[True], [False], [True]])
    layer.over_time(x, run=run)[2].sum().backward()
    # the third step: slope 0.8 at 1.2; 0.5 of integrating, 0.5 of the leak, the first step's -1.5 * 0.5
    assert x.grad.flatten().tolist() == pytest.approx([0.8 * 0.5 * 0.5 * (-1.5 * 0.5), 0.0, 0.8])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: paper_layer("snn"), "paper must be one of ma, ms, gac, sj, got 'snn'"),
        (lambda: paper_layer("ms", leak=1.0), "neuron lif_ms has no constant 'leak'"),
        (lambda: SpikingLayer(neuron("lif_ma"), output="volts"), "output must be one of spikes"),
        (lambda: ParametricLayer(1.0), "tau must be more than 1, got 1.0"),
        (lambda: Join("or").shape((2, 3, 4), (2, 4, 4)), r"join or: found \(2, 3, 4\) and \(2, 4, 4\)"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
