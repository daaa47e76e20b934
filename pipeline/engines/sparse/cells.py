"""The papers' neurons as six numbers, which is what a kernel wants.

Every neuron of models/neurons.py is linear between spikes: u = a h + b x + c, then h' = p0 u + q0 without a
spike and p1 u + q1 after one. Weights are scaled by b / a, so that spikes can be added to h itself:

    g = h + (b / a) W s        u = a g + drive, drive = b bias + c

The state is h as every engine has it, and a step without input is a g + drive at g = h.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cell:
    """numbers (6,) float32: a, threshold, p0, q0, p1, q1; it fires at u >= threshold, whatever its kind."""

    a: float
    b: float
    c: float
    numbers: Float32

    @property
    def ratio(self) -> float:
        return self.b / self.a

    def drive(self, bias: NDArray[Any]) -> Float32:
        return (self.b * bias.astype(np.float64) + self.c).astype(np.float32)

    def rests(self, drive: Float32) -> bool:
        """Whether a neuron that did not fire can never fire without input, to the last bit.

        A step is monotonic in u where a and p0 are not negative, also rounded: so it is enough that the
        largest u below the threshold stays below it.
        """
        a, threshold, p0, q0 = self.numbers[:4]
        if a < 0 or p0 < 0:
            return False
        below = np.nextafter(threshold, np.float32(-np.inf))
        with np.errstate(over="ignore"):
            again = a * (p0 * below + q0) + drive
        return bool((again < threshold).all() and (drive < threshold).all())


def cell(neuron: Any) -> Cell | None:
    """The numbers of a models.neurons.Neuron, read off its formulas; None where the state does not enter."""
    c = neuron.integrate(0.0, 0.0)
    a, b = neuron.integrate(1.0, 0.0) - c, neuron.integrate(0.0, 1.0) - c
    q0, q1 = neuron.carry(0.0, 0.0), neuron.carry(0.0, 1.0)
    p0, p1 = neuron.carry(1.0, 0.0) - q0, neuron.carry(1.0, 1.0) - q1
    if abs(a) < 1e-6:
        return None
    threshold = np.float32(neuron["threshold"])
    if neuron.strict:
        threshold = np.nextafter(threshold, np.float32(np.inf))
    numbers = np.array([a, threshold, p0, q0, p1, q1], np.float32)
    return Cell(a, b, c, numbers)
