"""Networks from and to other software are the same networks, or are refused by name."""

import numpy as np
import pytest
import torch
from small_networks import CASES, IDS, counts, small_network
from torch import nn

from spikeline.models import reference
from spikeline.models.neurons import neuron
from spikeline.models.registry import build
from spikeline.models.spiking_layer import SpikingLayer
from spikeline.pipeline.commands import run
from spikeline.pipeline.engines.onnx_engine import OnnxEngine
from spikeline.pipeline.exchange import ExchangeError
from spikeline.pipeline.exchange.described import described, read_weights
from spikeline.pipeline.exchange.graph_file import read_graph, write_graph
from spikeline.pipeline.exchange.nir_reader import from_nir, read_nir
from spikeline.pipeline.exchange.nir_writer import inexpressible, to_nir, write_nir
from spikeline.pipeline.exchange.proof import prove, random_frames
from spikeline.pipeline.package import load_package, save_package

from helpers import small_graph, small_manifest

nir = pytest.importorskip("nir")
EXPRESSIBLE = {
    "lif_ms": {"threshold": 0.05},
    "lif_gac": {"threshold": 0.05},
    "lif_sj": {"threshold": 0.05, "v_reset": -0.1},
    "lif_sj_full": {"threshold": 0.05, "v_reset": 0.02},
    "lif_ma_paper": {"threshold": 0.05},
    "if": {"threshold": 0.3},
}
SIZES = {"steps": 4, "channels": (4, 4, 4), "hidden": (8,), "classes": 3, "grid": (8, 8), "votes": 2}


def with_neurons(kind):
    torch.manual_seed(1)
    constants = EXPRESSIBLE[kind]
    net = build("masnn3", neuron=kind, constants=constants, head_constants=constants, gain=0.5, **SIZES)
    return net.eval().lower()


@pytest.mark.parametrize("kind", EXPRESSIBLE)
def test_nir_gives_back_the_network_it_was_given(kind, tmp_path):
    graph = with_neurons(kind)
    write_nir(tmp_path / "net.nir", graph, dt_us=12_500)
    again = read_nir(tmp_path / "net.nir")
    proof = prove(OnnxEngine(graph), OnnxEngine(again), random_frames(graph) * 4)
    assert proof.equal and proof.spikes > 50
    assert again.steps == graph.steps and again.layers == graph.layers


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_nir_expresses_a_network_or_names_what_it_cannot(case, tmp_path):
    graph = small_network(case).float().lower()
    unable = inexpressible(graph)
    if unable:
        with pytest.raises(ExchangeError) as error:
            to_nir(graph, dt_us=1_000)
        assert all(part in str(error.value) for part in unable)
    else:
        again = from_nir(to_nir(graph, dt_us=1_000))
        assert prove(OnnxEngine(graph), OnnxEngine(again), random_frames(graph)).equal
    small_network(case).double()  # which is shared


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_bare_graph_comes_back_to_the_bit(case, tmp_path):
    graph = small_network(case).lower()
    write_graph(tmp_path / "net.graph.safetensors", graph)
    again = read_graph(tmp_path / "net.graph.safetensors")
    assert again.document == graph.document
    assert again.tensors.keys() == graph.tensors.keys()
    assert all(np.array_equal(again.tensors[name], array) for name, array in graph.tensors.items())


def test_what_nir_says_and_we_have_no_word_for_is_named():
    ones = np.ones(3)
    shape = np.array([3, 1, 1])
    parts = {"input": nir.Input({"input": shape}), "output": nir.Output({"output": shape})}
    edges = [("input", "x"), ("x", "output")]

    def graph(part):
        return nir.NIRGraph(parts | {"x": part}, edges, metadata={"dt_us": 1_000}, type_check=False)

    with pytest.raises(ExchangeError, match=r"no operation for x \(CubaLIF\); known: Conv2d, "):
        from_nir(graph(nir.CubaLIF(ones, ones, ones, ones, ones)))
    with pytest.raises(ExchangeError, match="x: v_threshold from 1 to 2; wanted one for the layer"):
        from_nir(graph(nir.LIF(ones, ones, 0 * ones, np.array([1.0, 2, 1]), 0 * ones)))
    with pytest.raises(ExchangeError, match=r"x: v_leak 0\.5, v_reset 0; wanted them equal"):
        from_nir(graph(nir.LIF(ones, ones, 0.5 * ones, ones, 0 * ones)))
    loop = nir.NIRGraph(
        parts | {"x": nir.IF(ones, ones)},
        [("input", "x"), ("x", "x"), ("x", "output")],
        metadata={"dt_us": 1},
        type_check=False,
    )
    with pytest.raises(ExchangeError, match="a loop through output, x"):
        from_nir(loop)
    without = nir.NIRGraph(parts | {"x": nir.IF(ones, ones)}, edges, type_check=False)
    with pytest.raises(ExchangeError, match="says no time step; give --dt-us"):
        from_nir(without)


def test_a_scale_is_the_inputs_gain_only_where_nothing_else_takes_the_input():
    """input -> scale by 3 and input -> output, whose sum is 4 times the input."""
    shape = np.array([3, 1, 1])
    parts = {"input": nir.Input({"input": shape}), "output": nir.Output({"output": np.array([3])})}
    parts |= {"scale": nir.Scale(np.full(shape, 3.0)), "sum": nir.Linear(np.eye(3))}
    edges = [("input", "scale"), ("scale", "sum"), ("input", "sum"), ("sum", "output")]
    graph = from_nir(nir.NIRGraph(parts, edges, metadata={"dt_us": 1_000}, type_check=False))
    frame = np.array([1, 2, 5], np.uint16).reshape(1, 3, 1, 1)
    values, _ = reference.run_step(graph, frame, {})
    np.testing.assert_array_equal(values["readout"], [[4, 8, 20]])


def test_a_padding_of_the_same_size_needs_an_odd_kernel():
    def read(kernel):
        weight = np.ones((2, 3, kernel, kernel))
        conv = nir.Conv2d((5, 5), weight, 1, "same", 1, 1, np.zeros(2))
        parts = {
            "input": nir.Input({"input": np.array([3, 5, 5])}),
            "conv": conv,
            "linear": nir.Linear(np.ones((2, 50))),
            "output": nir.Output({"output": np.array([2])}),
        }
        edges = [("input", "conv"), ("conv", "linear"), ("linear", "output")]
        return from_nir(nir.NIRGraph(parts, edges, metadata={"dt_us": 1_000}, type_check=False))

    assert read(3).shapes["conv"] == (2, 5, 5)
    with pytest.raises(ExchangeError, match="conv: padding same of a kernel of 4; wanted an odd size"):
        read(4)


def weights_of(net):
    return {name: tensor.numpy() for name, tensor in net.state_dict().items()}


LAYERS = [
    {"conv": "0", "padding": 1, "norm": "1"},
    {"neuron": "FIRST"},
    {"pool": "max", "size": 2},
    {"conv": "2", "stride": 2},
    {"neuron": "FIRST"},
    {"linear": "3"},
    {"neuron": "FIRST"},
]


def plain_net():
    torch.manual_seed(5)
    convs = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3, 2)
    net = nn.Sequential(*convs, nn.Linear(8 * 9, 5))
    with torch.no_grad():  # so that every layer fires
        net[1].weight.fill_(3.0)
        net[2].weight.mul_(10)
        net[3].weight.mul_(10)
    net.train()
    for _ in range(5):
        net[1](torch.randn(8, 6, 4, 4) * 2 + 1)
    return net.eval()


def run_plain(net, fire, frames):
    """The network by hand: `fire(layer, current) -> spikes`, which remembers its membranes itself."""
    outputs = []
    with torch.no_grad():
        for frame in frames:
            x = fire(0, net[1](net[0](frame)))
            x = fire(1, net[2](nn.functional.max_pool2d(x, 2)))
            outputs.append(fire(2, net[3](x.flatten(1))))
    return torch.stack(outputs)


def noise(steps=30):
    return torch.poisson(torch.full((steps, 1, 2, 14, 14), 1.5), generator=torch.Generator().manual_seed(2))


def compare(graph, wanted, frames):
    engine = OnnxEngine(graph)
    state = engine.init_state()
    spikes = [engine.step(frame, state).activity.spikes[0, -1] for frame in counts(frames)]
    np.testing.assert_array_equal(spikes, wanted.sum((1, 2)).numpy())
    assert 5 < wanted.sum() < wanted.numel() - 5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"beta": 0.8}, {"beta": 0.8}),
        ({"beta": 0.8, "threshold": 0.3}, {"beta": 0.8, "threshold": 0.3}),
        ({"beta": 0.5, "reset_mechanism": "zero"}, {"beta": 0.5, "reset": "zero"}),
        (
            {"beta": 0.5, "reset_delay": False, "reset_mechanism": "zero"},
            {"beta": 0.5, "reset_delay": False, "reset": "zero"},
        ),
    ],
)
def test_a_network_of_snntorch_spikes_as_in_snntorch(settings, said):
    snn = pytest.importorskip("snntorch")
    net, frames = plain_net(), noise()
    cells = [snn.Leaky(**settings) for _ in range(3)]
    membranes = [cell.init_leaky() for cell in cells]

    def fire(i, current):
        spikes, membranes[i] = cells[i](current, membranes[i])
        return spikes

    layers = [layer | (said | {"neuron": "Leaky"} if "neuron" in layer else {}) for layer in LAYERS]
    table = {"framework": "snntorch", "input": [2, 14, 14], "steps": 5, "layer": layers}
    compare(described(weights_of(net), table, "net.toml"), run_plain(net, fire, frames), frames)


@pytest.mark.parametrize(
    ("said", "kind", "constants"),
    [
        ({"neuron": "LIFNode", "tau": 2.0}, "lif_sj", {}),
        ({"neuron": "LIFNode", "tau": 4.0, "decay_input": False}, "lif_sj_full", {"rate": 0.25}),
        ({"neuron": "LIFNode", "v_reset": "none"}, "lif_sj_soft", {}),
        ({"neuron": "IFNode"}, "if", {}),
        ({"neuron": "ParametricLIFNode", "name": "4"}, "lif_sj", {"rate": 1 / (1 + np.exp(-0.3))}),
    ],
)
def test_a_network_of_spikingjelly_has_its_neurons(said, kind, constants):
    """The neurons themselves are held to SpikingJelly's by the authors' vectors."""
    net, frames = plain_net(), noise()
    cell = SpikingLayer(neuron(kind, **constants))
    membranes = [torch.zeros(()) for _ in range(3)]

    def fire(i, current):
        spikes, membranes[i] = cell.step(current, membranes[i])
        return spikes

    layers = [layer | (said if "neuron" in layer else {}) for layer in LAYERS]
    for i, layer in enumerate(layers):
        if "name" in layer:
            layer["name"] = f"{i}" if i != 1 else "4"
    weights = weights_of(net) | {f"{name}.w": np.float32(0.3) for name in ("4", "6")}
    if said["neuron"] == "ParametricLIFNode":
        weights |= {"4.w": np.float32(0.3)}
        layers[4]["name"] = "5"
        weights["5.w"] = np.float32(0.3)
    table = {"framework": "spikingjelly", "input": [2, 14, 14], "layer": layers}
    compare(described(weights, table, "net.toml"), run_plain(net, fire, frames), frames)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"framework": "norse"}, "net.toml: framework 'norse'; wanted one of snntorch, spikingjelly"),
        ({"input": [2, 14]}, r"net.toml: input \[2, 14\]; wanted \[channels, height, width\]"),
        ({"layer": [{"conv": "9"}]}, "layer 1: the state_dict has no '9.weight'; it has 0.weight"),
        ({"layer": [{"conv": "0", "dilation": 2}]}, "layer 1: conv has no setting 'dilation'"),
        ({"layer": [{"gru": "0"}]}, "layer 1: found gru; wanted one of conv, linear, pool, neuron"),
        ({"layer": [{"neuron": "Synaptic"}]}, "neuron 'Synaptic' is not supported; known are Leaky"),
        ({"layer": [{"neuron": "Leaky", "beta": 0.9, "reset_delay": False}]}, "reset_delay false is not"),
        ({"layer": [{"neuron": "Leaky"}]}, "layer 1: Leaky has no beta; wanted the number it was made with"),
        ({"layer": [{"neuron": "Leaky", "beta": "x"}]}, "layer 1: Leaky: could not convert string to float"),
        (
            {"layer": [{"neuron": "Leaky", "tau": 2.0}]},
            "Leaky has no setting 'tau'; it has beta, name, reset",
        ),
        (
            {"framework": "spikingjelly", "layer": [{"neuron": "LIFNode", "beta": 0.5}]},
            "LIFNode has no setting",
        ),
        ({"framework": "spikingjelly", "layer": [{"neuron": "LIFNode", "tau": 0}]}, "LIFNode: .*zero"),
        ({"framework": ["snntorch"]}, r"framework \['snntorch'\]; wanted one of"),
        ({"stepz": 3}, "net.toml: unknown setting 'stepz'; choose from framework, input, steps, layer"),
        ({"steps": "x"}, "net.toml: steps 'x'; wanted a whole number"),
        ({"layer": []}, r"found no \[\[layer\]\] tables"),
        ({"layer": [3]}, r"found no \[\[layer\]\] tables"),
        ({"layer": [{"conv": "3"}]}, r"layer 1: 3.weight has shape \(5, 72\); no conv has that"),
        ({"layer": [{"conv": "2", "norm": "1"}]}, "layer 1: 1 is of 6 channels; the layer has 8"),
        ({"layer": [{"conv": "0", "norm": "1", "eps": "x"}]}, "layer 1: eps 'x'; wanted a number"),
        (
            {"layer": [{"conv": "0", "padding": 1}]},
            r"no layer uses 1.weight, 1.bias, .*3.bias of the state_dict",
        ),
        (
            {"layer": [*LAYERS[2:4], *LAYERS[5:6], LAYERS[0]]},
            "conv2.weight: found .* wanted 2 input channels",
        ),
    ],
)
def test_descriptions_that_do_not_fit_are_refused_in_one_line(change, message):
    table = {"framework": "snntorch", "input": [2, 14, 14], "layer": [{"conv": "0"}]} | change
    with pytest.raises(ExchangeError, match=message) as error:
        described(weights_of(plain_net()), table, "net.toml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("said", "update"),
    [
        ({"neuron": "IFNode"}, lambda v, x, reset: v + x),
        ({"neuron": "LIFNode", "tau": 4.0}, lambda v, x, reset: v + (x - (v - reset)) / 4),
        (
            {"neuron": "LIFNode", "tau": 4.0, "decay_input": False},
            lambda v, x, reset: v - (v - reset) / 4 + x,
        ),
    ],
)
@pytest.mark.parametrize("reset", [-0.75, 0.25])
def test_a_membrane_of_spikingjelly_starts_at_its_reset(said, update, reset):
    layers = [{"linear": "0"}, said | {"v_reset": reset}]
    weights = {"0.weight": np.eye(2, 4, dtype=np.float32) * 0.5}
    table = {"framework": "spikingjelly", "input": [1, 2, 2], "layer": layers}
    graph = described(weights, table, "net.toml")
    states = reference.initial_states(graph, 1, np.float64)
    v, total = np.full(2, reset), 0
    for frame in np.random.default_rng(1).poisson(4, (40, 1, 1, 2, 2)).astype(np.uint16):
        values, states = reference.run_step(graph, frame, states)
        v = update(v, 0.5 * frame.ravel()[:2], reset)
        s = v >= 1
        v = np.where(s, reset, v)
        np.testing.assert_array_equal(values["readout"][0], s)
        total += s.sum()
    assert 2 < total < 80


def test_batch_norm_is_folded_with_its_own_eps():
    weights = weights_of(plain_net())
    layers = [layer | ({"neuron": "Leaky", "beta": 0.8} if "neuron" in layer else {}) for layer in LAYERS]
    layers[0] = layers[0] | {"eps": 0.5}
    table = {"framework": "snntorch", "input": [2, 14, 14], "layer": layers}
    found = described(weights, table, "net.toml").tensors["conv1.weight"]
    scale = weights["1.weight"] / np.sqrt(weights["1.running_var"] + 0.5)
    np.testing.assert_allclose(found, weights["0.weight"] * scale[:, None, None, None], rtol=1e-6)


class Trap:
    def __reduce__(self):
        return print, ("a pickle was run",)


def test_nothing_in_a_file_is_run(tmp_path, capsys):
    torch.save({"x": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(ExchangeError, match=r"trap.pt: not a state_dict that can be read: it holds more"):
        read_weights(tmp_path / "trap.pt")
    assert capsys.readouterr().out == ""


def test_the_commands_import_what_they_export(tmp_path, capsys):
    graph = small_graph(1, kind="lif_gac", size=16)
    nodes = [*graph.nodes]
    document = graph.document
    unclipped = type(nodes[0])("input", "input", [], {"gain": 0.5})
    import msgspec

    from spikeline.models.graph import Graph

    graph = Graph(msgspec.structs.replace(document, nodes=[unclipped, *nodes[1:]]), graph.tensors)
    save_package(tmp_path / "small.safetensors", small_manifest(graph), graph)
    for form in ("onnx", "nir", "graph"):
        out = tmp_path / f"out.{form}"
        command = ["export", str(tmp_path / "small.safetensors"), "--to", form, "--out", str(out)]
        assert run([*command, "--source", "clip(stop=1)+sim:gesture?seed=1"]) == 2  # not 64x64
        assert "sensor" in capsys.readouterr().err
        out.unlink(missing_ok=True)
    big = small_manifest(graph, sensor=(128, 128))
    save_package(tmp_path / "big.safetensors", big, graph)
    for form in ("onnx", "nir", "graph"):
        out = tmp_path / f"out.{form}"
        command = ["export", str(tmp_path / "big.safetensors"), "--to", form, "--out", str(out)]
        assert run([*command, "--source", "clip(stop=1)+sim:gesture?seed=1"]) == 0
        assert "equal on random: 12 steps" in capsys.readouterr().out
        assert run(command) == 2 and "exists already" in capsys.readouterr().err
    command = ["import", str(tmp_path / "out.nir"), str(tmp_path / "back.safetensors"), "--dt-us", "10000"]
    assert run([*command, "--labels", "left,right,none", "--sensor", "128x128"]) == 0
    assert "steps a sample     4" in capsys.readouterr().out
    back = load_package(tmp_path / "back.safetensors")
    assert prove(OnnxEngine(graph), OnnxEngine(back.graph), random_frames(graph)).equal
    assert run([*command, "--labels", "a,b"]) == 2
    assert run(["export", "gesture", "--to", "nir", "--out", str(tmp_path / "g.nir")]) == 2
    assert "NIR cannot express" in capsys.readouterr().err and not (tmp_path / "g.nir").exists()
