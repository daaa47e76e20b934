"""What each attention gate of a lowered graph computes. Steps are x (B, C, H, W) or (B, N).

    per-step   the gate sees its own step alone (models/step_gates.py)
    window     statistics pooled over all T steps, as the papers' released code has it
    sliding    the same statistics over the last T steps, for endless streams: the newest step's gate
    prefix     over the steps since the window began; for TA, those to come stand at their training mean
    static     GAC on an image repeated T times: the whole window is known at its first step

A pooled gate carries its statistics from step to step: `avg` and `peak`, of a prefix of CA or SA the
number of steps `count`, and of an inhibition that fires in time its membrane `h`; zero at the start.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.models.arithmetic import Value
from spikeline.models.gate_scores import Setting, States, mlp_score, plane_score, pooled, unit_score
from spikeline.models.neurons import neuron
from spikeline.models.step_gates import per_step

_INHIBITOR = neuron("lif_sj")  # whose firing is SynA's IA gate


def gate_states(
    attrs: Mapping[str, Any], x: tuple[int, ...], tensors: Mapping[str, NDArray[Any]], steps: int
) -> dict[str, tuple[int, ...]]:
    """Role -> shape of what a gate on steps of shape x carries."""
    form, kind = attrs["form"], pooled(attrs)
    if form not in ("sliding", "prefix"):
        return {}
    if kind == "ta":
        shape: tuple[int, ...] = (steps,) if form == "sliding" else (tensors["w0"].shape[0],)
    else:
        statistic = (x[0],) if kind == "ca" else x[1:]
        shape = (steps, *statistic) if form == "sliding" else statistic
    states = {"avg": shape} if attrs.get("pools") == "avg" else {"avg": shape, "peak": shape}
    if form == "prefix" and kind != "ta":
        states["count"] = ()
    if attrs.get("mode") == "lif_time":
        states["h"] = ()
    return states


def rest(
    attrs: Mapping[str, Any], role: str, tensors: Mapping[str, NDArray[Any]]
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """What a skipped step makes of a gate's state. Into the ring of a sliding TA goes the training mean
    (as into a prefix, where it changes nothing); running statistics stay; an inhibitor leaks."""
    if role == "h":
        return _INHIBITOR.idle
    if attrs["form"] == "sliding" and pooled(attrs) == "ta":
        newest = tensors["mean_avg" if role == "avg" else "mean_max"][-1]
        return lambda ring: np.concatenate([ring[:, 1:], np.full_like(ring[:, :1], newest)], 1)
    return lambda statistic: statistic


def gate_step(setting: Setting, inputs: list[Value], states: States, position: Value) -> tuple[Value, States]:
    """One step through a gate of any form but window: its output, and its states after it.

    position (B,) int64: steps since the network began.
    """
    ops, attrs, x = setting.ops, setting.attrs, inputs[0]
    if attrs["form"] == "per-step":
        return per_step(setting, x, position), {}
    if setting.pooled == "ta":
        score, after = _ta_score(setting, x, states, position)
    else:
        score, after = _map_score(setting, x, states)
    if attrs["kind"] == "gau":
        return ops.sigmoid(ops.unsqueeze(score, setting.axes) * unit_score(setting, x)) * inputs[1], after
    if attrs.get("mode") == "lif_time":
        u = _INHIBITOR.integrate(states["h"], score)
        weight = ops.at_least(u, _INHIBITOR["threshold"])
        after["h"] = _INHIBITOR.carry(u, weight)
    else:
        weight = _weight(setting, score)
    if setting.pooled == "ta":
        weight = ops.unsqueeze(weight, setting.axes)
    elif setting.pooled == "ca":
        weight = ops.unsqueeze(weight, (2, 3))
    return _product(setting, x, weight), after


def temporal_gate(setting: Setting, x: Value, states: States, position: Value) -> tuple[Value, States]:
    """The gate (B,) itself of temporal attention at this step, in (0, 1): what a frame gate decides by."""
    score, after = _ta_score(setting, x, states, position)
    return setting.ops.sigmoid(score), after


def gate_window(setting: Setting, inputs: list[Value]) -> Value:
    """A whole window (T B, ...) through a gate of form window or per-step."""
    if setting.attrs["form"] == "per-step":
        return per_step(setting, inputs[0], None)
    ops, attrs, shape = setting.ops, setting.attrs, setting.shape
    x = ops.split(inputs[0], setting.steps, shape)
    axes = tuple(range(2, 2 + len(shape)))
    if setting.pooled == "ta":
        statistics = [ops.mean(x, axes)] if setting.averages_only else [ops.mean(x, axes), ops.amax(x, axes)]
        score = mlp_score(setting, [ops.transpose(s) for s in statistics])  # (B, T)
        if attrs["kind"] == "gau":
            sca = ops.split(unit_score(setting, inputs[0]), setting.steps, shape)
            gate = ops.sigmoid(ops.unsqueeze(ops.transpose(score), axes) * sca)
            return ops.merge(gate, shape) * inputs[1]
        in_time = attrs.get("mode") == "lif_time"
        weight = _fired_in_time(setting, score) if in_time else _weight(setting, score)
        weight = ops.unsqueeze(ops.transpose(weight), axes)
    elif setting.pooled == "ca":
        score = mlp_score(setting, [ops.mean(x, (0, 3, 4)), ops.amax(x, (0, 3, 4))])
        weight = ops.unsqueeze(_weight(setting, score), (0, 3, 4))
    else:
        score = plane_score(setting, ops.mean(x, (0, 2)), ops.amax(x, (0, 2)))
        weight = ops.unsqueeze(_weight(setting, score), (0,))
    return ops.merge(_product(setting, x, weight), shape)


def _ta_score(setting: Setting, x: Value, states: States, position: Value) -> tuple[Value, States]:
    """The score (B,) of the newest step, W1[t] relu(W0 s) of the statistics s that its form has."""
    ops, tensor, form = setting.ops, setting.tensor, setting.attrs["form"]
    found = {"avg": ops.mean(x, setting.axes)}
    if not setting.averages_only:
        found["peak"] = ops.amax(x, setting.axes)
    after: States = {}
    total = None
    for role, value in found.items():
        column = ops.unsqueeze(value, (1,))
        mean = "mean_avg" if role == "avg" else "mean_max"
        if form == "sliding":
            after[role] = ops.concat([ops.tail(states[role]), column])
            part = ops.linear(after[role], tensor("w0"))
        elif form == "prefix":
            expected = ops.unsqueeze(ops.rows(tensor(mean), position), (1,))
            weights = ops.rows(tensor("w0", _transposed), position)  # (B, hidden)
            after[role] = states[role] + weights * (column - expected)
            part = after[role] + ops.linear(tensor(mean, _as_row), tensor("w0"))
        else:  # static: every step of the window has this statistic
            part = column * tensor("w0", _sum_of_columns)
        hidden = ops.relu(part + tensor("b0") if setting.averages_only else part)
        total = hidden if total is None else total + hidden
    newest = form == "sliding"
    row = tensor("w1", _last_row) if newest else ops.rows(tensor("w1"), position)
    score = ops.sum(total * row, (1,))
    if setting.averages_only:
        score = score + (tensor("b1", _last_row) if newest else ops.rows(tensor("b1"), position))
    return score, after


def _map_score(setting: Setting, x: Value, states: States) -> tuple[Value, States]:
    """CA's score (B, C) or SA's (B, 1, H, W) of the statistics so far."""
    ops = setting.ops
    axes = (2, 3) if setting.pooled == "ca" else (1,)
    found = {"avg": ops.mean(x, axes), "peak": ops.amax(x, axes)}
    if setting.attrs["form"] == "sliding":
        after = {
            role: ops.concat([ops.tail(states[role]), ops.unsqueeze(value, (1,))])
            for role, value in found.items()
        }
        avg, peak = ops.mean(after["avg"], (1,)), ops.amax(after["peak"], (1,))
    else:
        count = states["count"] + 1.0
        wide = ops.unsqueeze(count, (1,) if setting.pooled == "ca" else (1, 2))
        first = ops.number(wide < 1.5)  # whose maximum is the maximum: nothing was seen before
        avg = states["avg"] + (found["avg"] - states["avg"]) / wide
        peak = first * found["peak"] + (1.0 - first) * ops.maximum(states["peak"], found["peak"])
        after = {"avg": avg, "peak": peak, "count": count}
    if setting.pooled == "ca":
        return mlp_score(setting, [avg, peak]), after
    return plane_score(setting, avg, peak), after


def _weight(setting: Setting, score: Value) -> Value:
    """What a score multiplies its input by: its sigmoid, or 0 and 1 where the gate is a hard one."""
    ops, attrs = setting.ops, setting.attrs
    if attrs["kind"] == "ia":
        return ops.at_least(_INHIBITOR.integrate(0.0, score), _INHIBITOR["threshold"])
    gate = ops.sigmoid(score)
    if "discard" in attrs:
        return ops.at_least(gate, ops.smallest(gate, int(attrs["discard"] * (setting.steps - 1))))
    return ops.at_least(gate, attrs["threshold"]) if "threshold" in attrs else gate


def _fired_in_time(setting: Setting, score: Value) -> Value:
    """SynA's inhibition as a LIF over the scores (B, T); (B, T) of 0 and 1."""
    ops = setting.ops
    h: Value = 0.0
    outputs = []
    for value in ops.parts(ops.transpose(score), setting.steps):
        u = _INHIBITOR.integrate(h, value)
        outputs.append(ops.at_least(u, _INHIBITOR["threshold"]))
        h = _INHIBITOR.carry(u, outputs[-1])
    return ops.transpose(ops.concat(outputs, 0))


def _product(setting: Setting, x: Value, weight: Value) -> Value:
    """The gated value, behind the ReLU that the released code of MA-SNN and SynA has."""
    rectified = setting.attrs.get("relu") or setting.attrs["kind"] == "ia"
    return setting.ops.relu(x * weight) if rectified else x * weight


# What is made of a tensor, a NumPy array or in training a torch one: only what both of them know.


def _transposed(array: Any) -> Any:
    return array.T


def _as_row(array: Any) -> Any:
    return array[None]


def _last_row(array: Any) -> Any:
    return array[-1:]


def _sum_of_columns(array: Any) -> Any:
    return array.sum(1)[None]
