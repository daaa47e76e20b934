"""What a torch network is made of: named parts, what feeds each of them, and what follows from that: the
shapes between them, whether it runs one step at a time, and the graph it is written as. network.py runs it.
"""

from typing import Any

from torch import nn

from spikeline.models.gate_layer import GateLayer
from spikeline.models.graph import FRAME_GATE, Graph, GraphDocument
from spikeline.models.lowering import Lowering
from spikeline.models.part import Part
from spikeline.models.shapes import Shape


class Wiring(nn.Module):
    """Parts in order, each fed by frames (channels, *grid) or by parts before it.

    steps: T of a sample. gain, clip: counts enter as min(gain * counts, clip).
    horizon: `endless`, or `tumbling` where everything starts anew after `steps` steps, as every network
    with a prefix gate or a gate over the window does.
    """

    frames = "input"

    def __init__(
        self,
        *,
        grid: tuple[int, int],
        steps: int,
        gain: float = 1.0,
        clip: float | None = None,
        channels: int = 2,
        horizon: str = "endless",
    ) -> None:
        super().__init__()
        self.steps, self.gain, self.clip, self.horizon = steps, gain, clip, horizon
        self.parts = nn.ModuleDict()
        self.inputs: dict[str, tuple[str, ...]] = {}
        self.shapes: dict[str, Shape] = {self.frames: (channels, *grid)}
        self.frame_gate: GateLayer | None = None

    def add(self, name: str, part: Part, *inputs: str) -> str:
        """Append a part fed by these; returns its name."""
        shape = part.shape(*(self.shapes[x] for x in inputs))
        if min(shape) < 1:
            raise ValueError(
                f"{name}: a frame of {self.shapes[self.frames]} leaves {shape}; wanted a larger one"
            )
        self.parts[name] = part
        self.inputs[name] = inputs
        self.shapes[name] = shape
        return name

    def add_frame_gate(self, form: str, ratio: int = 2) -> None:
        """Temporal attention on the frames, in a causal form, that decides which of them are run at all.

        Its statistics see every frame. A frame that it keeps enters the network as it is, with weight 1.
        """
        sizes = {"hidden": max(1, self.steps // ratio)}
        shape = self.shapes[self.frames]
        self.frame_gate = GateLayer("ta", form, shape, self.steps, sizes=sizes, pools="both")

    def part(self, name: str) -> Part:
        part = self.parts[name]
        assert isinstance(part, Part)
        return part

    @property
    def layers(self) -> list[str]:
        """The parts whose output is spikes, in order."""
        return [name for name in self.parts if self.part(name).spikes]

    @property
    def causal(self) -> bool:
        """Whether it runs one step at a time."""
        return not self.window_parts

    @property
    def window_parts(self) -> list[str]:
        """The parts that need the whole window."""
        return [name for name in self.parts if not self.part(name).causal]

    @property
    def tumbling(self) -> bool:
        """Whether everything starts anew after `steps` steps."""
        prefix = any(
            isinstance(part, GateLayer) and part.attrs["form"] == "prefix" for part in self.modules()
        )
        return self.horizon == "tumbling" or prefix or not self.causal

    def lower(self) -> Graph:
        """The graph of the network in evaluation mode (batch norm's running statistics)."""
        into = Lowering()
        attrs: dict[str, Any] = {"gain": float(self.gain)}
        if self.clip is not None:
            attrs["clip"] = float(self.clip)
        into.node(self.frames, "input", [], attrs)
        names = {self.frames: self.frames}
        for name, inputs in self.inputs.items():
            names[name] = self.part(name).lower(name, [names[x] for x in inputs], into)
        into.node("readout", "readout", [names[name]], {"kind": "mean"})
        gate = None
        if self.frame_gate is not None:
            nodes = Lowering()
            self.frame_gate.lower(FRAME_GATE, [self.frames], nodes)
            gate = nodes.nodes[0]
            into.arrays |= nodes.arrays
        form = "step" if self.causal else "window"
        horizon = "tumbling" if self.tumbling else "endless"
        shape = self.shapes[self.frames]
        document = GraphDocument(form, horizon, self.steps, shape, into.nodes, gate)  # type: ignore[arg-type]
        return Graph(document, into.arrays)
