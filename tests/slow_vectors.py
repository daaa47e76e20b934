"""Golden vectors of any size, written from the formulas in plain NumPy: each function gives a file's arrays.

Names and layouts are those of the originals: [B, T, C, H, W] for MA-SNN, TA-SNN and GAC, [T, B, C, H, W]
for the others; weights under `sd/`.
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def mlp(rng, size, hidden, name):
    """M(v) = W1 relu(W0 v), and its weights."""
    w0, w1 = rng.normal(0, 1, (hidden, size)), rng.normal(0, 1, (size, hidden))
    return lambda v: w1 @ relu(w0 @ v), {f"sd/{name}.0.weight": w0, f"sd/{name}.2.weight": w1}


def correlate(x, kernel, before, after, stride=1):
    """x (C, H, W), kernel (O, C, k, k), zeros around x."""
    outputs, _, k, _ = kernel.shape
    x = np.pad(x, ((0, 0), (before, after), (before, after)))
    rows, columns = ((n - k) // stride + 1 for n in x.shape[1:])
    y = np.empty((outputs, rows, columns))
    for i in range(rows):
        for j in range(columns):
            patch = x[:, i * stride : i * stride + k, j * stride : j * stride + k]
            y[:, i, j] = (kernel * patch).sum((1, 2, 3))
    return y


def ma_tcsa(seed, B=2, T=7, C=9, H=5, W=4, t_hidden=3, c_hidden=4, kernel=5):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (B, T, C, H, W))
    time, weights = mlp(rng, T, t_hidden, "ta.sharedMLP")
    channel, more = mlp(rng, C, c_hidden, "ca.sharedMLP")
    plane = rng.normal(0, 1, (1, 2, kernel, kernel))
    weights |= more | {"sd/sa.conv.weight": plane}
    scores = {
        "ta": np.empty((B, T, 1, 1, 1)),
        "ca": np.empty((B, 1, C, 1, 1)),
        "sa": np.empty((B, 1, 1, H, W)),
    }
    y = np.empty_like(x)
    for b in range(B):
        v = x[b]
        scores["ta"][b, :, 0, 0, 0] = sigmoid(time(v.mean((1, 2, 3))) + time(v.max((1, 2, 3))))
        v = v * scores["ta"][b]
        scores["ca"][b, 0, :, 0, 0] = sigmoid(channel(v.mean((0, 2, 3))) + channel(v.max((0, 2, 3))))
        v = v * scores["ca"][b]
        planes = np.stack([v.mean((0, 1)), v.max((0, 1))])
        scores["sa"][b, 0] = sigmoid(correlate(planes, plane, kernel // 2, kernel // 2))
        y[b] = relu(v * scores["sa"][b])
    return weights | {"x": x, "y": y} | {f"score_{kind}": s for kind, s in scores.items()}


def tasnn_tlayer(seed, B=3, T=5, hidden=2, shape=(2, 4, 3)):
    rng = np.random.default_rng(seed)
    x = rng.normal(0.2, 1, (B, T, *shape))
    w0, b0, w1, b1 = (rng.normal(0, 1, s) for s in ((hidden, T), (hidden,), (T, hidden), (T,)))
    score = np.stack([sigmoid(w1 @ relu(w0 @ v.mean((1, 2, 3)) + b0) + b1) for v in x])
    names = ("0.weight", "0.bias", "2.weight", "2.bias")
    weights = {f"sd/temporal_excitation.{n}": a for n, a in zip(names, (w0, b0, w1, b1), strict=True)}
    masks = {"mask_0p4": score >= 0.4, "mask_med": score >= np.median(score, 1, keepdims=True)}
    return (
        weights
        | {"x": x, "y": x * score[:, :, None, None, None], "score": score}
        | {name: mask.astype(np.uint8) for name, mask in masks.items()}
    )


def ta_prefix(seed, T=5, B=2, hidden=3, shape=(3, 4, 2)):
    """Future statistics stand at their mean: the MLP on (s_1, ..., s_t, mean_t+1, ..., mean_T)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.5, 1, (T, B, *shape))
    means = rng.normal(0, 1, (2, T))
    time, weights = mlp(rng, T, hidden, "mlp")
    gate = np.empty((T, B))
    for t in range(T):
        for b in range(B):
            seen = np.stack([x[:, b].mean((1, 2, 3)), x[:, b].max((1, 2, 3))])
            known = np.where(np.arange(T) <= t, seen, means)
            gate[t, b] = sigmoid(time(known[0]) + time(known[1]))[t]
    return weights | {
        "x": x,
        "y": x * gate[:, :, None, None, None],
        "gate": gate,
        "mean_avg": means[0],
        "mean_max": means[1],
    }


def gac_gau(seed, B=2, T=5, C=6, between=3, kernel=3, H=5, W=4, hidden=2):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (B, T, C, H, W))
    spikes = rng.integers(0, 2, x.shape).astype(np.uint8)
    time, weights = mlp(rng, T, hidden, "TA.sharedMLP")
    first, second = (rng.normal(0, 0.3, (o, i, kernel, kernel)) for o, i in ((between, C), (C, between)))
    weights |= {"sd/SCA.sharedMLP.0.weight": first, "sd/SCA.sharedMLP.2.weight": second}
    side = (kernel - 1) // 2, kernel // 2
    ta = np.stack([time(v.mean((1, 2, 3))) + time(v.max((1, 2, 3))) for v in x])[:, :, None, None, None]
    sca = np.empty_like(x)
    for b in range(B):
        for t in range(T):
            sca[b, t] = correlate(relu(correlate(x[b, t], first, *side)), second, *side)
    return weights | {"x": x, "spikes": spikes, "ta": ta, "sca": sca, "y": sigmoid(ta * sca) * spikes}


def ms_block(seed, T=5, B=2, inputs=3, channels=5, stride=2, H=6, W=8):
    """With a strided 1 x 1 convolution beside it."""
    rng = np.random.default_rng(seed)
    weights = {}

    def conv_bn(x, conv, norm, outputs, kernel, stride):
        w = rng.normal(0, 0.5, (outputs, x.shape[2], kernel, kernel))
        scale, shift, mean, var = rng.uniform(0.5, 1, (4, outputs))
        names = ("weight", "bias", "running_mean", "running_var")
        weights.update({f"sd/{conv}.weight": w})
        weights.update({f"sd/{norm}.{n}": a for n, a in zip(names, (scale, shift, mean, var), strict=True)})
        y = np.stack([[correlate(v, w, kernel // 2, kernel // 2, stride) for v in step] for step in x])
        scale = scale / np.sqrt(var + 1e-5)
        return (y - mean[:, None, None]) * scale[:, None, None] + shift[:, None, None]

    def lif(x):
        u, s, out = np.zeros_like(x[0]), np.zeros_like(x[0]), []
        for current in x:
            u = 0.25 * u * (1 - s) + current
            s = (u > 0.5).astype(float)
            out.append(s)
        return np.stack(out)

    x = rng.normal(0, 1, (T, B, inputs, H, W))
    y = conv_bn(lif(x), "residual_function.1", "residual_function.2.bn", channels, 3, stride)
    y = conv_bn(lif(y), "residual_function.4", "residual_function.5.bn", channels, 3, 1)
    if stride != 1 or inputs != channels:
        x_side = conv_bn(x, "shortcut.0", "shortcut.1.bn", channels, 1, stride)
    else:
        x_side = x
    return weights | {"x": x, "y": y + x_side}
