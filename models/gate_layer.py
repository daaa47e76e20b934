"""An attention gate as a part of a torch network: models/gates.py with weights that learn."""

from typing import Any

import torch
from torch import Tensor, nn

from spikeline.models.gate_scores import Change, Setting
from spikeline.models.gates import gate_states, gate_step, gate_window, rest, temporal_gate
from spikeline.models.lowering import Lowering
from spikeline.models.operations import GATES, gate_tensors
from spikeline.models.part import Part
from spikeline.models.shapes import Shape
from spikeline.models.torch_arithmetic import Torch

MEANS = ("mean_avg", "mean_max")
MOMENTUM = 0.1  # of the running means of statistics, as batch norm has it


class GateLayer(Part):
    """A gate of a kind and form of operations.GATES, on steps of `shape`, with its own weights.

    sizes: what the shapes of its tensors are made from: `hidden` units of the MLP (ta, ca, gc, step, and
    gau's ta), `kernel` (sa, eca, gau), `between` channels (gau). attrs: further attributes.
    relu: the ReLU that the released code of MA-SNN and SynA has behind a cascade.
    """

    def __init__(
        self,
        kind: str,
        form: str,
        shape: Shape,
        steps: int,
        *,
        sizes: dict[str, int] | None = None,
        relu: bool = False,
        **attrs: Any,
    ) -> None:
        super().__init__()
        if kind not in GATES or form not in GATES[kind].forms:
            known = ", ".join(GATES[kind].forms) if kind in GATES else ""
            wanted = known or f"one of {', '.join(GATES)}"
            raise ValueError(f"gate {kind} has no form {form!r}; wanted {wanted}")
        self.attrs: dict[str, Any] = {"kind": kind, "form": form} | attrs | ({"relu": True} if relu else {})
        self.steps = steps
        self.input_shape = shape
        self.table = nn.ParameterDict()
        shapes = _tensor_shapes(attrs.get("score", kind), shape, steps, sizes or {})
        for role in gate_tensors(self.attrs):
            if role in MEANS:
                self.register_buffer(role, torch.zeros(steps))
            else:
                self.table[role.replace(".", "_")] = nn.Parameter(_initial(role, shapes))
        self._setting = Setting(Torch(), self.attrs, _Roles(self), shape, steps)

    @property
    def causal(self) -> bool:
        return self.attrs["form"] != "window"

    def fill(self, mean_avg: Tensor, mean_max: Tensor | None = None) -> None:
        """The training set's statistics of each step (T,), which stand for steps not seen."""
        self.mean_avg.copy_(mean_avg)
        if mean_max is not None:
            self.mean_max.copy_(mean_max)

    def _track(self, x: Tensor, run: Tensor | None = None) -> None:
        """In training, keep running means of the statistics of a window's last T steps, of those that ran."""
        if not self.training or not hasattr(self, "mean_avg"):
            return
        with torch.no_grad():
            last = x[-self.steps :].flatten(2)
            ran = torch.ones_like(last[..., 0]) if run is None else run[-self.steps :].to(last.dtype)
            first = self.steps - len(last) if self.attrs["form"] == "sliding" else 0
            at = first + ran.sum(1).nonzero()[:, 0]  # a step that no sample ran says nothing
            found = {"mean_avg": last.mean(2), "mean_max": last.amax(2)}
            for name, each in found.items():
                if hasattr(self, name):  # a new tensor: the old one may be in a graph of gradients
                    mean = ((each * ran).sum(1) / ran.sum(1).clamp(min=1))[at - first]
                    after = getattr(self, name).clone()
                    after[at] = after[at].lerp(mean.to(after.dtype), MOMENTUM)
                    setattr(self, name, after)

    def roles(self) -> dict[str, Tensor]:
        """Tensors by role, as the lowered graph has them."""
        return {role: self.role(role) for role in gate_tensors(self.attrs)}

    def role(self, role: str) -> Tensor:
        return getattr(self, role) if role in MEANS else self.table[role.replace(".", "_")]

    def init_state(self, batch: int, shape: Shape, like: Tensor) -> dict[str, Tensor]:
        shapes = gate_states(self.attrs, shape, self.roles(), self.steps)
        state = {role: like.new_zeros((batch, *s)) for role, s in shapes.items()}
        return state | {"position": torch.zeros(batch, dtype=torch.int64, device=like.device)}

    def step(self, *inputs_and_state: Any) -> tuple[Tensor, dict[str, Tensor]]:
        *xs, state = inputs_and_state
        if not self.causal:
            raise ValueError(f"gate {self.attrs['kind']} of form window needs all {self.steps} steps")
        position = state["position"]
        y, after = gate_step(self._setting, list(xs), state, position)
        return y, after | {"position": position + 1}

    def alone(self, x: Tensor) -> Tensor:
        """A gate that sees one step alone, on that step (B, ...)."""
        position = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return gate_step(self._setting, [x], {}, position)[0]

    def gates_over_time(self, x: Tensor) -> Tensor:
        """The gates (T, B) themselves of temporal attention in a causal form, every step seen."""
        self._track(x)
        state = self.init_state(x.shape[1], self.input_shape, x)
        gates = []
        for frame in x.unbind():
            gate, after = temporal_gate(self._setting, frame, state, state["position"])
            state = after | {"position": state["position"] + 1}
            gates.append(gate)
        return torch.stack(gates)

    def idle(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        after = state | {"position": state["position"] + 1}
        if "h" in state:
            after["h"] = rest(self.attrs, "h", {})(state["h"])
        if self.attrs["form"] == "sliding" and self._setting.pooled == "ta":
            for role, mean in (("avg", "mean_avg"), ("peak", "mean_max")):
                if role in state:
                    newest = self.role(mean)[-1].expand(len(state[role]), 1)
                    after[role] = torch.cat([state[role][:, 1:], newest], 1)
        return after

    def over_time(self, *inputs: Tensor, run: Tensor | None = None) -> Tensor:
        if self.causal:
            self._track(inputs[0], run)
            return super().over_time(*inputs, run=run)
        if run is not None:
            raise ValueError(f"gate {self.attrs['kind']} of form window takes every step of its window")
        merged = gate_window(self._setting, [x.flatten(0, 1) for x in inputs])
        return merged.unflatten(0, inputs[0].shape[:2])

    def lower(self, name: str, inputs: list[str], into: Lowering) -> str:
        into.tensors(name, self.roles())
        return into.node(name, "gate", inputs, self.attrs)


class _Roles:
    """The gate's parameters, as models/gates.py asks for them."""

    def __init__(self, layer: GateLayer) -> None:
        self._layer = [layer]  # in a list: else the module would hold itself

    def __call__(self, role: str, change: Change | None = None, *numbers: int) -> Tensor:
        tensor = self._layer[0].role(role)
        return tensor if change is None else change(tensor, *numbers)

    def shape(self, role: str) -> tuple[int, ...]:
        return tuple(self._layer[0].role(role).shape)


def _tensor_shapes(kind: str, x: Shape, steps: int, sizes: dict[str, int]) -> dict[str, Shape]:
    C = x[0]
    hidden = sizes.get("hidden", 0)
    if kind in ("ta", "gau", "ca"):
        n = C if kind == "ca" else steps
        shapes: dict[str, Shape] = {"w0": (hidden, n), "w1": (n, hidden), "b0": (hidden,), "b1": (n,)}
        if kind == "gau":
            between, k = sizes["between"], sizes["kernel"]
            shapes |= {"sca0": (between, C, k, k), "sca1": (C, between, k, k)}
        return shapes
    if kind == "sa":
        return {"weight": (1, 2, sizes["kernel"], sizes["kernel"])}
    if kind == "eca":
        return {"weight": (sizes["kernel"],)}
    if kind == "gc":
        return {
            "k.weight": (1, C),
            "k.bias": (1,),
            "q.weight": (hidden, C),
            "q.bias": (hidden,),
            "norm.scale": (hidden,),
            "norm.shift": (hidden,),
            "v.weight": (C, hidden),
            "v.bias": (C,),
        }
    if kind == "step":
        size = sizes.get("size", 1)
        return {"w0": (hidden, size), "b0": (hidden,), "w1": (size, hidden), "b1": (size,)}
    return {"pos": (steps, C), "scale": (C,), "shift": (C,)}


def _initial(role: str, shapes: dict[str, Shape]) -> Tensor:
    """torch's own start for weights and their biases; positions and shifts 0, scales 1."""
    tensor = torch.zeros(shapes[role])
    if role in ("pos", "shift", "norm.shift"):
        return tensor
    if role in ("scale", "norm.scale"):
        return tensor + 1
    weight = {"b0": "w0", "b1": "w1"}.get(role, role.replace("bias", "weight"))
    fan_in = max(1, torch.Size(shapes[weight][1:]).numel()) if len(shapes[weight]) > 1 else shapes[weight][0]
    return nn.init.uniform_(tensor, -(fan_in**-0.5), fan_in**-0.5)
