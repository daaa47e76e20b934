"""Shortcuts that never fire: which they are, what is left without them, and the command that proves it."""

import json

import msgspec
import numpy as np
import pytest
import torch

from spikeline.drivers.recording import write_npz
from spikeline.models import reference
from spikeline.models.graph import GraphError
from spikeline.models.pruning import prune, shortcuts
from spikeline.models.registry import build
from spikeline.pipeline.commands import run
from spikeline.pipeline.events import EventPacket, Sensor
from spikeline.pipeline.package import Range, Statistics, load_package, save_package

from helpers import frames_of_noise, small_manifest

SMALL = {
    "classes": 3,
    "steps": 5,
    "grid": (16, 16),
    "channels": (4, 6, 6, 8),
    "stem": (3, 1),
    "stem_pool": False,
    "t_ratio": 2,
    "c_ratios": (2, 2, 2, 2),
}
SIDES = ["block1_side", "block2_side", "block3_side"]


def network(*silenced, **settings):
    """A small SynA network, of whose side paths these cannot fire."""
    torch.manual_seed(1)
    net = build("syna-gesture", **(SMALL | {"ma": "no", "ia": "no"} | settings))
    norms = {name: part for name, part in net.named_modules() if isinstance(part, torch.nn.BatchNorm2d)}
    frames = torch.poisson(torch.full((5, 4, 2, 16, 16), 0.7))
    with torch.no_grad():
        for norm in norms.values():
            norm.weight.fill_(3.0)
            norm.bias.fill_(0.8)
        for _ in range(25):
            net.over_time(frames)
        for side in silenced:
            norms[f"parts.{side}_current.norm"].bias.fill_(-100.0)
    return net.eval()


def outputs(graph, frames):
    """Readout and spikes of every layer, step by step."""
    states = reference.initial_states(graph, frames.shape[1])
    steps = []
    for t, frame in enumerate(frames):
        values, states = reference.run_step(graph, frame, states, np.full(len(frame), t))
        steps.append({name: values[name] for name in ("readout", *graph.layers)})
    return steps


def noise(graph, seed=3):
    return frames_of_noise(np.random.default_rng(seed), graph.steps, 2, graph)


@pytest.mark.parametrize("join", ["or", "add"])
@pytest.mark.parametrize("silent", [["block2_side"], ["block3_side", "block1_side"], SIDES])
def test_without_its_silent_shortcuts_a_network_gives_the_same_to_the_bit(join, silent):
    graph = network(*silent, join=join).lower()
    smaller = prune(graph, silent)
    assert smaller.layers == [layer for layer in graph.layers if layer not in silent]
    before, after = outputs(graph, noise(graph)), outputs(smaller, noise(graph))
    assert any(step["block3_post2"].any() for step in before)
    for a, b in zip(before, after, strict=True):
        for name in b:
            np.testing.assert_array_equal(a[name], b[name])


def test_what_only_fed_a_shortcut_goes_with_it_and_nothing_else():
    graph = network(ia="c", form="sliding").lower()
    smaller = prune(graph, ["block1_side"])
    gone = {node.name for node in graph.nodes} - {node.name for node in smaller.nodes}
    assert gone == {"block1_side_current", "block1_side_ia", "block1_side", "block1"}
    assert {name.rpartition(".")[0] for name in set(graph.tensors) - set(smaller.tensors)} == {
        "block1_side_current",
        "block1_side_ia",
    }
    assert not any(name.startswith("block1_side") for name in smaller.states)
    post = next(node for node in smaller.nodes if node.name == "block1_post1_current")
    assert post.inputs == ["block1_main2"]


def test_pruning_twice_is_pruning_both():
    graph = network().lower()
    both = prune(graph, SIDES[:2])
    assert prune(prune(graph, SIDES[:1]), SIDES[1:2]).document == both.document
    assert prune(graph, []).document == graph.document


def test_a_shortcut_that_fires_is_not_the_same_without_it():
    graph = network().lower()
    frames = noise(graph)
    before, after = outputs(graph, frames), outputs(prune(graph, SIDES), frames)
    assert any(step["block1_side"].any() for step in before)
    assert not all(np.array_equal(a["readout"], b["readout"]) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("join", ["and", "iand"])
def test_a_join_that_would_be_zero_is_refused_by_name(join):
    graph = network(join=join).lower()
    assert list(shortcuts(graph)) == SIDES
    with pytest.raises(
        GraphError, match=f"layer block2_side: join block2 is {join}, 0 without it; wanted or, add"
    ):
        prune(graph, ["block2_side"])


def test_only_shortcuts_can_be_pruned():
    with pytest.raises(GraphError, match="layer stem2: is no shortcut; found block1_side, block2_side"):
        prune(network().lower(), ["stem2"])
    assert not shortcuts(network(join="ms").lower()) and not shortcuts(network(join="vanilla").lower())
    shared = network().lower()  # where a side's spikes go on elsewhere too, it cannot be taken out
    nodes = [
        msgspec.structs.replace(node, inputs=["block1_side"]) if node.name == "block1_post1_current" else node
        for node in shared.nodes
    ]
    document = msgspec.structs.replace(shared.document, nodes=nodes)
    assert list(shortcuts(type(shared)(document, shared.tensors))) == SIDES[1:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Packages with two, with no, and with an AND's silent shortcuts; one of form window; two recordings."""
    folder = tmp_path_factory.mktemp("prune")
    figures = Range(1.0, 0.5, 2.0)
    packages = {
        "silent": network(*SIDES[1:]),
        "firing": network(),
        "zero": network("block2_side", join="and"),
        "window": network("block3_side", ma="t", form="window"),
    }
    for name, net in packages.items():
        graph = net.lower()
        spikes = dict.fromkeys(graph.layers, figures)
        statistics = Statistics(event_rate=figures, on_share=figures, occupied=figures, spikes=spikes)
        manifest = small_manifest(graph, name=name, skip=None, statistics=statistics, note="a note")
        save_package(folder / f"{name}.safetensors", manifest, graph)
    rng = np.random.default_rng(5)
    for name, duration_us in (("a", 150_000), ("b", 90_000), ("short", 30_000)):
        t = np.sort(rng.integers(0, duration_us, 9_000)).astype(np.int64)
        x, y = rng.integers(0, 64, (2, 9_000)).astype(np.uint16)
        packet = EventPacket(t, x, y, rng.integers(0, 2, 9_000).astype(np.uint8), duration_us, 0, 0)
        write_npz(folder / f"{name}.npz", [packet], Sensor(64, 64))
    return folder


def call(capsys, *argv):
    code = run([str(a) for a in argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_writes_the_smaller_model_and_says_what_it_saves(folder, capsys):
    model, out = folder / "silent.safetensors", folder / "pruned.safetensors"
    data = ("--data", folder / "a.npz", "--data", folder / "b.npz")
    code, text, err = call(capsys, "prune", model, *data, "--out", out, "--json")
    assert code == 0, err
    facts = json.loads(text)
    assert facts["removed"] == SIDES[1:] and facts["windows"] == 24 and facts["equal"]
    assert facts["shortcuts"]["block1_side"] > 0
    assert facts["before"]["neurons"] - facts["after"]["neurons"] == 6 * 16 + 8 * 4
    assert facts["before"]["spikes"] == facts["after"]["spikes"] > 0
    assert facts["before"]["synops"] > facts["after"]["synops"] > 0
    assert facts["before"]["parameters"] > facts["after"]["parameters"]
    smaller = load_package(out)
    assert smaller.digest == facts["digest"]
    assert set(smaller.manifest.statistics.spikes) == set(smaller.graph.layers)
    assert smaller.manifest.note == "a note; without block2_side, block3_side, silent in 24 windows"
    code, text, _ = call(capsys, "replay", folder / "a.npz", "--model", out, "--json")
    _, wanted, _ = call(capsys, "replay", folder / "a.npz", "--model", model, "--json")
    for a, b in zip(text.splitlines()[:-1], wanted.splitlines()[:-1], strict=True):
        assert json.loads(a)["scores"] == json.loads(b)["scores"]


def test_a_network_of_form_window_is_pruned_too_and_a_person_is_told(folder, capsys):
    out = folder / "window-pruned.safetensors"
    model = folder / "window.safetensors"
    code, text, err = call(capsys, "prune", model, "--data", folder / "a.npz", "--out", out)
    assert code == 0, err
    assert "15 windows" in text and "the same, to the bit" in text and "block3_side" in text
    assert "block3_side" not in load_package(out).graph.layers


@pytest.mark.parametrize(
    ("model", "data", "out", "words"),
    [
        ("firing", "a.npz", "x.safetensors", "every one of its 3 shortcuts fires on this data"),
        (
            "zero",
            "a.npz",
            "x.safetensors",
            "layer block2_side: join block2 is and, 0 without it; wanted or, add",
        ),
        ("window", "short.npz", "x.safetensors", "too short; wanted 5 whole windows of 10 ms"),
        ("silent", "a.npz", "silent.safetensors", "exists already"),
        ("silent", "a.npz", "x.npz", "wanted a name ending in .safetensors"),
        ("silent", "none.npz", "x.safetensors", "no such file"),
    ],
)
def test_what_cannot_be_pruned_is_said_in_one_line(folder, capsys, model, data, out, words):
    arguments = (folder / f"{model}.safetensors", "--data", folder / data, "--out", folder / out)
    code, text, err = call(capsys, "prune", *arguments)
    assert code == 2 and text == ""
    assert words in err and err.count("\n") == 1
    assert not (folder / "x.safetensors").exists()


def test_a_model_without_shortcuts_is_refused(capsys, tmp_path):
    code, _, err = call(
        capsys, "prune", "gesture", "--data", "sim:gesture", "--out", tmp_path / "x.safetensors"
    )
    assert code == 2 and "has no shortcut, a layer of neurons that only feeds a join" in err
