"""Temporal attention on a current: a factor of it, for neurons that take it in."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models.graph import Graph, Node
from spikeline.pipeline.engines.sparse import kernels_gates
from spikeline.pipeline.engines.sparse.attention import NONE, filled_row, held
from spikeline.pipeline.engines.sparse.program import lanes_of, padded
from spikeline.pipeline.engines.sparse.stages import Stage, Step

Array = NDArray[Any]


class TimeGate(Stage):
    """Temporal attention on a current that a line has left: one look at it, and a factor of it."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.name, self._source = node.name, node.inputs[0]
        attrs, C = node.attrs, graph.shapes[node.name][0]
        self._form = kernels_gates.FORMS.index(attrs["form"])
        self._channels, self._lanes = C, lanes_of(C)
        self._absent = filled_row(np.zeros(C, np.float32), padded(C), -np.inf)
        self._least = 0.0 if attrs.get("relu") else -np.inf
        self._hard, self._threshold = "threshold" in attrs, np.float32(attrs.get("threshold", 0))
        prefix = f"{node.name}."
        own = {
            name.removeprefix(prefix): np.ascontiguousarray(array)
            for name, array in graph.tensors.items()
            if name.startswith(prefix)
        }
        w0, w1 = own["w0"], own["w1"]
        hidden, T = w0.shape
        no_bias = np.zeros(hidden, np.float32), np.zeros(T, np.float32)
        self._weights = (w0, w1, own.get("b0", no_bias[0]), own.get("b1", no_bias[1]))
        self._hidden = np.zeros(hidden, np.float32)
        self._means = {}
        for role, name in (("avg", "mean_avg"), ("peak", "mean_max")):
            mean = own.get(name, np.zeros(T, np.float32))
            base = w0.astype(np.float64) * (mean if attrs["form"] == "prefix" else 1)
            self._means[role] = mean, base.sum(1).astype(np.float32)
        self._averages_only = attrs.get("pools") == "avg"

    def run(self, step: Step) -> None:
        target = held(step.rooms, self._source)
        assert target is not None
        factors = np.zeros(len(step.streams), np.float32)
        average, peak = (step.states.get(f"{self.name}.{role}") for role in ("avg", "peak"))
        for i, b in enumerate(step.streams):
            own = (NONE if average is None else average[b], *self._means["avg"])
            other = (NONE if peak is None else peak[b], *self._means["peak"])
            if self._averages_only:
                other = (NONE, NONE, NONE)
            factors[i] = kernels_gates.time_gate(
                self._lanes, target[b].reshape(-1), self._channels, self._absent, self._form,
                int(step.positions[b]), own, other, self._weights, self._hard, self._threshold, self._hidden,
            )  # fmt: skip
        step.scaled[self.name] = (self._source, factors, self._least)


def times_only(node: Node) -> bool:
    """Whether a gate is temporal attention that multiplies its input by one number."""
    return (
        node.attrs["kind"] == "ta"
        and node.attrs["form"] in kernels_gates.FORMS
        and "discard" not in node.attrs
    )
