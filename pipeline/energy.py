"""Energy in three columns that are never merged: what papers compute, what an engine ran, what a meter read.

    paper      4.6 pJ x MAC + 0.9 pJ x AC: the operations that spikes ask for, on 45 nm figures (MA-SNN, SynA
               and GAC use them)
    ran        the operations the engine did execute, spikes or not, every neuron's update, and every byte of
               weights, states and values moved, on the same 45 nm figures
    measured   joules from the processor's own counters, where this machine lets us read them, or absent

The first two are arithmetic: they say nothing about this machine. The third is the whole processor's,
whatever else it does at the time.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spikeline.models.graph import Graph

MAC_PJ = 4.6  # a 32-bit multiplication and addition: 3.7 + 0.9
AC_PJ = 0.9
BYTE_PJ = 12.5  # 100 pJ for 64 bits from a cache of 1 MB; all four from Horowitz, ISSCC 2014
RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Ran:
    """What an engine executed in a step: an update is one multiplication and addition of a membrane."""

    mac: float = 0.0
    ac: float = 0.0
    updates: float = 0.0
    bytes: float = 0.0

    @property
    def picojoules(self) -> float:
        return MAC_PJ * (self.mac + self.updates) + AC_PJ * self.ac + BYTE_PJ * self.bytes

    def scaled(self, share: float) -> "Ran":
        return Ran(self.mac * share, self.ac * share, self.updates * share, self.bytes * share)


def dense_step(graph: Graph, gate_mac: int = 0) -> Ran:
    """A step of an engine that computes everything: every weight is read once, every state and every value
    between two layers written and read."""
    updates = sum(int(np.prod(graph.shapes[name])) for name in graph.layers)
    weights = sum(array.nbytes for array in graph.tensors.values())
    states = sum(4 * int(np.prod(state.shape)) for state in graph.states.values())
    values = sum(4 * int(np.prod(shape)) for shape in graph.shapes.values())
    return Ran(sum(graph.dense_macs.values()) + gate_mac, 0, updates, weights + 2 * (states + values))


def paper_pj(mac: float, ac: float) -> float:
    return MAC_PJ * mac + AC_PJ * ac


class PowerMeter:
    """The processor's energy counters: packages of all sockets, by the Linux kernel's powercap.

    Reading them often needs the rights of an administrator, and virtual machines seldom have them.
    """

    def __init__(self, root: Path = RAPL) -> None:
        self._counters = [path for path in sorted(root.glob("intel-rapl:*")) if path.name.count(":") == 1]
        self._start = self._read()

    def joules(self) -> float | None:
        """Since the meter was made, or since the last call; None where the counters cannot be read."""
        now = self._read()
        if now is None or self._start is None:
            return None
        total = 0.0
        for path, a, b in zip(self._counters, self._start, now, strict=True):
            wraps_at = int((path / "max_energy_range_uj").read_text())
            total += (b - a if b >= a else b - a + wraps_at) * 1e-6
        self._start = now
        return total

    def _read(self) -> list[int] | None:
        try:
            return [int((path / "energy_uj").read_text()) for path in self._counters] or None
        except (OSError, ValueError):
            return None
