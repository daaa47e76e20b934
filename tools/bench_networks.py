"""Networks of paper width for benchmarks of a step: from the registry, with seeded weights and frames, and
thresholds set layer by layer so that every layer of weights sees the given share of its inputs firing.

    from bench_networks import NETWORKS, calibrated

    name, settings = NETWORKS["three"]
    graph, frames = calibrated(name, settings, density=0.03)
"""

import msgspec
import numpy as np
import torch

from spikeline.models import evaluate
from spikeline.models.graph import Graph, Node
from spikeline.models.neurons import neuron
from spikeline.models.registry import build
from spikeline.models.torch_arithmetic import Torch

NETWORKS = {
    "three": ("masnn3", {"attention": "no"}),
    "three-csa": ("masnn3", {"attention": "cs"}),
    "three-tcsa": ("masnn3", {"attention": "tcs", "form": "sliding"}),
    "five": ("plifnet", {}),
    "syna": ("syna-gesture", {"ma": "no", "ia": "no"}),
}
FRAMES = 8
SETTLED = 3  # steps before a layer's density is looked at


def frames_of(shape, density, count=FRAMES, seed=1):
    rng = np.random.default_rng(seed)
    frames = np.zeros((count, 1, *shape), np.uint16)
    events = rng.random(frames.shape) < density
    frames[events] = rng.integers(1, 4, events.sum())
    return frames


def with_threshold(graph, layer, threshold):
    def changed(node):
        constants = node.attrs["constants"] | {"threshold": threshold}
        return msgspec.structs.replace(node, attrs=node.attrs | {"constants": constants})

    nodes = [changed(node) if node.name == layer else node for node in graph.nodes]
    return Graph(msgspec.structs.replace(graph.document, nodes=nodes), graph.tensors)


def calibrated(name, settings, density, seed=0):
    """The network with thresholds at which every layer of weights sees this density, one after another."""
    torch.manual_seed(seed)
    graph = build(name, **settings).lower()
    frames = frames_of(graph.document.input_shape, density)
    users: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for source in node.inputs:
            users.setdefault(source, []).append(node)
    for node, _ in graph.neurons:
        currents = currents_into(graph, node, frames)
        target = density / 2 if users[node.name][0].op == "join" else density
        pool = next((u for u in users[node.name] if u.op == "pool" and u.attrs["kind"] == "max"), None)
        low, high = 1e-4, 2 * float(max(x.max() for x in currents)) + 1e-3
        for _ in range(18):
            middle = (low * high) ** 0.5
            if density_at(graph, node, currents, pool, middle) > target:
                low = middle
            else:
                high = middle
        graph = with_threshold(graph, node.name, high)
    return graph, frames


def currents_into(graph, node, frames):
    """What feeds this layer of neurons, at every frame."""
    tensors = evaluate.Tensors(graph, lambda array: torch.from_numpy(array.astype(np.float32)))
    states = {name: torch.zeros((1, *state.shape)) for name, state in graph.states.items()}
    currents = []
    with torch.inference_mode():
        for t, frame in enumerate(frames):
            counts, at = torch.from_numpy(frame.astype(np.float32)), torch.full((1,), t)
            values, states = evaluate.run_step(Torch(), graph, tensors, counts, states, at)
            currents.append(values[node.inputs[0]])
    return currents


def density_at(graph, node, currents, pool, threshold):
    own = neuron(node.attrs["kind"], **node.attrs["constants"] | {"threshold": threshold})
    h, found = torch.zeros_like(currents[0]), []
    tensors = evaluate.Tensors(graph, lambda array: torch.from_numpy(array.astype(np.float32)))
    with torch.inference_mode():
        for x in currents:
            s, h = evaluate._neuron(
                Torch(), graph, tensors, node, own, x, h
            )  # with the gates on its membrane
            if pool is not None:
                a = pool.attrs
                s = Torch().pool(s, "max", a["size"], a["stride"], a.get("padding", 0), s.shape[1:])
            found.append(float(s.mean()))
    return float(np.mean(found[SETTLED:]))
