"""STAA-SNN's layers of neurons, and the learned numbers its forerunner has in their place.

    X = I + pos[t]                  position, learned per step and channel
    U = GC1(X) + GC2(H)             global context of the current and of the membrane of the step before
    V = U sigmoid(W1 relu(W0 alpha avg U + b0) + b1)     step attention
    s = [V >= 1]     H' = V (1 - s)

This instantiates STAA-SNN Eq. 6, V = M H + N I. It sees nothing of a later step, so it runs one step at a
time as published. No leak is printed: a skipped step leaves the membrane as it is (`leak`), or by choice
takes it through GC2 and the step attention, without input and spike (`membrane`).
"""

from typing import Any

import torch
from torch import Tensor, nn

from spikeline.models.gate_layer import GateLayer
from spikeline.models.lowering import Lowering
from spikeline.models.neurons import FLUSH, neuron
from spikeline.models.operations import IDLES
from spikeline.models.part import Part
from spikeline.models.shapes import Shape
from spikeline.models.spiking_layer import SpikingLayer

CONTEXTS = ("mean", "sum")
SCOPES = ("step", "channel")

State = dict[str, Tensor]  # h: the membrane (B, C, H, W); position (B,): steps seen


class STAALayer(SpikingLayer):
    """Neurons on currents of `shape` (C, H, W), with `steps` positions; past the last the position stays.

    drop: TSRD, in training the share of steps at which the layer adds plainly, V = I + H; one draw a step.
    hidden: units of the step attention; None: C // ratio, as its scope `channel` has them.
    """

    def __init__(
        self,
        shape: Shape,
        steps: int,
        *,
        context: str = "mean",
        scope: str = "step",
        ratio: int = 4,
        hidden: int | None = 16,
        alpha: float = 2.0,
        drop: float = 0.0,
        threshold: float = 1.0,
        idle: str = "leak",
    ) -> None:
        choices = (("context", context, CONTEXTS), ("scope", scope, SCOPES), ("idle", idle, IDLES))
        for name, value, allowed in choices:
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        channels = shape[0]
        if not 1 <= ratio <= channels:
            raise ValueError(f"attention: ratio must be from 1 to {channels}, got {ratio}")
        inner = {"hidden": channels // ratio}
        sizes = {
            "hidden": inner["hidden"] if hidden is None else hidden,
            "size": channels if scope == "channel" else 1,
        }

        def gate(kind: str, sizes: dict[str, int], **attrs: Any) -> GateLayer:
            return GateLayer(kind, "per-step", shape, steps, sizes=sizes, **attrs)

        super().__init__(
            neuron("if", threshold=threshold),
            [gate("step", sizes, scope=scope, alpha=alpha)],
            recall=[gate("gc", inner, context=context, eps=1e-5)],
            surrogate="rect",
            width=0.5,
        )
        self.place = gate("pe", {})
        self.context = gate("gc", inner, context=context, eps=1e-5)
        self.drop, self.idle_rule = drop, idle

    def init_state(self, batch: int, shape: Shape, like: Tensor) -> State:
        position = torch.zeros(batch, dtype=torch.int64, device=like.device)
        return {"h": super().init_state(batch, shape, like), "position": position}

    def potential(self, x: Tensor, state: State) -> Tensor:
        """V of a current x (B, C, H, W), before it is thresholded."""
        if self.training and self.drop > 0 and torch.rand(()) < self.drop:
            return x + state["h"]
        placed, _ = self.place.step(x, {"position": state["position"]})
        (recall,), (refine,) = self.recall, self.refine
        return refine.alone(self.cell.integrate(recall.alone(state["h"]), self.context.alone(placed)))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        s, h = self.fire(self.potential(x, state))
        return s, {"h": h, "position": state["position"] + 1}

    def idle(self, state: State) -> State:
        (recall,), (refine,) = self.recall, self.refine
        h = state["h"]
        if self.idle_rule == "leak":
            h = self.cell.idle(h)
        else:
            h = refine.alone(self.cell.idle(recall.alone(h)))
            h = h * (h.abs() >= FLUSH)
        return {"h": h, "position": state["position"] + 1}

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        placed = self.place.lower(f"{name}_pe", inputs, into)
        node = super().lower(name, [self.context.lower(f"{name}_gc", [placed], into)], into)
        if self.idle_rule != "leak":
            into.nodes[-1].attrs["idle"] = self.idle_rule
        return node


class ScaledLayer(SpikingLayer):
    """V = BN(tanh(m) H + tanh(n) I), with m and n numbers of the layer, or of all layers that share them."""

    def __init__(
        self, shape: Shape, shared: nn.ParameterDict | None = None, *, threshold: float = 1.0
    ) -> None:
        super().__init__(neuron("if", threshold=threshold), surrogate="rect", width=0.5)
        self.scales = scales() if shared is None else shared
        self.norm = nn.BatchNorm2d(shape[0])

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        m, n = self.scales["m"].tanh(), self.scales["n"].tanh()
        return self.fire(self.norm(self.cell.integrate(m * h, n * x)))

    def stretch(self, *inputs: Tensor, state: Any, run: Tensor | None = None) -> tuple[Tensor, Any]:
        return Part.stretch(self, *inputs, state=state, run=run)  # there is no fused form of it

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        scale = (self.norm.weight.double() / (self.norm.running_var.double() + self.norm.eps).sqrt()).detach()
        shift = self.norm.bias.detach().double() - self.norm.running_mean.double() * scale
        zero = torch.zeros_like(shift)
        m, n = (self.scales[key].detach().double().tanh() for key in "mn")
        into.tensors(f"{name}_input", {"scale": zero + n, "shift": zero})
        into.tensors(f"{name}.recall.affine", {"scale": zero + m, "shift": zero})
        into.tensors(f"{name}.refine.affine", {"scale": scale, "shift": shift})
        gates = [{"kind": "affine", "form": "per-step"}]
        constants = {key: float(value) for key, value in self.cell.constants}
        attrs = {"kind": self.cell.kind, "constants": constants, "recall": gates, "refine": gates}
        return into.node(name, "neuron", [into.node(f"{name}_input", "affine", inputs, {})], attrs)


def scales() -> nn.ParameterDict:
    """m and n, each drawn from a normal distribution."""
    return nn.ParameterDict({key: nn.Parameter(torch.randn(())) for key in "mn"})
