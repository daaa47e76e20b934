"""The attention gates longhand: every output of a window, each computed anew from the frames it may see."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def slow_gate(attrs, tensors, xs, missing=None):
    """Inputs [(T, B, ...), ...] of a gate with these tensors by role -> its outputs (T, B, ...).

    missing: what stands in TA's statistics for a frame that is not a number, by the role of its mean.
    """
    tensors = tensors | {f"missing.{role}": np.asarray(mean) for role, mean in (missing or {}).items()}
    streams = [
        one_stream(attrs, tensors, [x[:, b].astype(np.float64) for x in xs]) for b in range(xs[0].shape[1])
    ]
    return np.stack(streams, 1)


def one_stream(attrs, w, xs):
    x = xs[0]
    kind, form, T = attrs["kind"], attrs["form"], len(x)
    if form == "per-step":
        y = np.stack([STEP[kind](attrs, w, x[t], t) for t in range(T)])
    elif kind == "gau":
        score = ta_scores(attrs, w, x)
        spatial = [correlate(np.maximum(correlate(f, w["sca0"]), 0), w["sca1"]) for f in x]
        y = np.stack([sigmoid(score[t] * spatial[t]) * xs[1][t] for t in range(T)])
    else:
        weights = hard_or_soft(attrs, scores(attrs, w, x))
        y = np.stack([x[t] * weights[t] for t in range(T)])
        if kind == "ia":
            y = np.maximum(y, 0)
    return np.maximum(y, 0) if attrs.get("relu") else y


def hard_or_soft(attrs, score):
    if attrs["kind"] == "ia" and attrs["mode"] == "lif_time":
        v, fired = 0.0, []
        for z in score:
            v = v + (z - v) / 2
            fired.append(float(v >= 1))
            v = 0.0 if v >= 1 else v
        return fired
    if attrs["kind"] == "ia":
        return [(z >= 2).astype(float) for z in score]
    gates = [sigmoid(z) for z in score]
    if "discard" in attrs:
        gates = [float(g >= np.quantile(gates, attrs["discard"], method="lower")) for g in gates]
    if "threshold" in attrs:
        gates = [float(g >= attrs["threshold"]) for g in gates]
    return gates


def scores(attrs, w, x):
    """What the gate of each step is made of: a number, (C, 1, 1) or (1, H, W)."""
    kind = attrs.get("score", attrs["kind"])
    if kind == "ta":
        return ta_scores(attrs, w, x)
    T = len(x)
    score = []
    for t in range(T):
        if attrs["form"] == "window":
            seen = x
        elif attrs["form"] == "prefix":
            seen = x[: t + 1]
        else:  # the last T steps; before the first one there were zeros
            seen = np.concatenate([np.zeros((T - t - 1, *x.shape[1:])), x[: t + 1]])
        if kind == "ca":
            score.append(mlp(w, seen.mean((0, 2, 3)), seen.max((0, 2, 3)))[:, None, None])
        else:
            score.append(correlate(np.stack([seen.mean((0, 1)), seen.max((0, 1))]), w["weight"]))
    return score


def ta_scores(attrs, w, x):
    T = len(x)
    avg = np.array([frame.mean() for frame in x])
    peak = np.array([frame.max() for frame in x])
    for statistic, mean in ((avg, "mean_avg"), (peak, "mean_max")):
        if f"missing.{mean}" in w:
            statistic[np.isnan(statistic)] = w[f"missing.{mean}"]
    score = []
    for t in range(T):
        if attrs["form"] == "window":
            a, m, row = avg, peak, t
        elif attrs["form"] == "prefix":
            a = np.concatenate([avg[: t + 1], w["mean_avg"][t + 1 :]])
            m = np.concatenate([peak[: t + 1], w.get("mean_max", peak)[t + 1 :]])
            row = t
        elif attrs["form"] == "static":
            a, m, row = np.full(T, avg[t]), np.full(T, peak[t]), t
        else:
            blank = np.zeros(T - t - 1)
            a, m, row = np.concatenate([blank, avg[: t + 1]]), np.concatenate([blank, peak[: t + 1]]), T - 1
        if attrs.get("pools") == "avg":
            score.append((w["w1"] @ np.maximum(w["w0"] @ a + w["b0"], 0) + w["b1"])[row])
        else:
            score.append(mlp(w, a, m)[row])
    return score


def mlp(w, avg, peak):
    return w["w1"] @ np.maximum(w["w0"] @ avg, 0) + w["w1"] @ np.maximum(w["w0"] @ peak, 0)


def correlate(x, kernel):
    """x (C, H, W) with kernel (out, C, k, k), same size; an even one reaches one further down and right."""
    out, _, k, _ = kernel.shape
    _, H, W = x.shape
    before = (k - 1) // 2
    y = np.zeros((out, H, W))
    for i in range(H):
        for j in range(W):
            for a in range(k):
                for b in range(k):
                    p, q = i + a - before, j + b - before
                    if 0 <= p < H and 0 <= q < W:
                        y[:, i, j] += kernel[:, :, a, b].astype(np.float64) @ x[:, p, q]
    return y


def ca(attrs, w, x, t):
    return x * sigmoid(mlp(w, x.mean((1, 2)), x.max((1, 2))))[:, None, None]


def sa(attrs, w, x, t):
    return x * sigmoid(correlate(np.stack([x.mean(0), x.max(0)]), w["weight"]))


def eca(attrs, w, x, t):
    average = x.mean((1, 2))
    side = len(w["weight"]) // 2
    padded = np.pad(average, side)
    along = [padded[c : c + len(w["weight"])] @ w["weight"].astype(np.float64) for c in range(len(x))]
    return x * sigmoid(np.array(along))[:, None, None]


def simam(attrs, w, x, t):
    mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), ddof=1, keepdims=True)
    return x * sigmoid((x - mean) ** 2 / (4 * (var + attrs["lam"])) + 0.5)


def gc(attrs, w, x, t):
    w = {role: array.astype(np.float64) for role, array in w.items()}
    attention = sigmoid(np.einsum("c,chw->hw", w["k.weight"][0], x) + w["k.bias"][0])
    context = (x * attention).sum((1, 2))
    if attrs["context"] == "mean":
        context = context / attention.size
    q = w["q.weight"] @ context + w["q.bias"]
    q = (q - q.mean()) / np.sqrt(q.var() + attrs["eps"]) * w["norm.scale"] + w["norm.shift"]
    return x + (w["v.weight"] @ np.maximum(q, 0) + w["v.bias"])[:, None, None]


def pe(attrs, w, x, t):
    return x + w["pos"][min(t, len(w["pos"]) - 1)].astype(np.float64)[:, None, None]


def step(attrs, w, x, t):
    pooled = x.mean((1, 2)) if attrs["scope"] == "channel" else np.array([x.mean()])
    hidden = np.maximum(w["w0"] @ (attrs["alpha"] * pooled) + w["b0"], 0)
    return x * sigmoid(w["w1"] @ hidden + w["b1"])[:, None, None]


def affine(attrs, w, x, t):
    shape = (-1, *(1,) * (x.ndim - 1))
    return w["scale"].astype(np.float64).reshape(shape) * x + w["shift"].astype(np.float64).reshape(shape)


STEP = {"ca": ca, "sa": sa, "eca": eca, "simam": simam, "gc": gc, "pe": pe, "step": step, "affine": affine}
