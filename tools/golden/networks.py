"""Whole networks: MA-SNN's as released [B, T, ...], and SpikingJelly's PLIF-net [T, N, ...]."""

import torch

from golden.gates import gate_names
from golden.vector import Results, Vector, in_every_form, swap, weighted
from spikeline.models.masnn import MASNNSettings, masnn
from spikeline.models.plifnet import PLIFNetSettings, plifnet


def ma_net(v: Vector) -> Results:
    """The n-th layer's spikes are in s<n>; pools follow from their sizes, ratios from the weights."""
    config = v.config
    convs = sum(name.endswith("conv2d.weight") for name in v.weights)
    linears = sum(name.endswith("linear.weight") for name in v.weights)
    x = swap(v.tensor("x"))
    sizes = [x.shape[-1], *(v.arrays[f"s{i}"].shape[-1] for i in range(convs))]
    letters = "" if config["attention"] == "no" else config["attention"].removesuffix("A").lower()
    kernel = next((a.shape[-1] for name, a in v.weights.items() if name.endswith("sa.conv.weight")), 3)
    settings = MASNNSettings(
        classes=v.arrays["y"].shape[-1],
        steps=len(x),
        channels=tuple(v.weights[f"convAttLIF{i}.conv2d.weight"].shape[0] for i in range(convs)),
        pools=tuple(sizes[i] // sizes[i + 1] for i in range(convs)),
        hidden=tuple(v.weights[f"FC{i}.linear.weight"].shape[0] for i in range(linears - 1)),
        grid=(x.shape[-2], x.shape[-1]),
        attention=letters or "no",
        form="window",
        statistics="pooled",
        place="conv-post",
        relu=True,
        linear_attention=config.get("fc_attention", "TA") != "no",
        t_ratio=config["t_ratio"],
        c_ratio=config["c_ratio"],
        kernel=kernel,
        neuron="lif_ma",
        constants=(
            constants := {"threshold": config["Vthres"], "decay": config["alpha"], "bias": config["beta"]}
        ),
        head_constants=constants,
    )
    names: dict[str, str] = {}
    layers = [(f"conv{i + 1}", f"convAttLIF{i}", "conv2d") for i in range(convs)]
    layers += [(f"fc{i + 1}", f"FC{i}", "linear") for i in range(linears)]
    for ours, theirs, kind in layers:
        names |= weighted(f"{ours}_current", f"{theirs}.{kind}", f"{theirs}.BNLayer")
        names[f"parts.{ours}_current.weights.bias"] = f"{theirs}.{kind}.bias"
        names |= gate_names(v, f"{theirs}.attention.", ours)
    net = v.load(masnn(settings), names)
    with torch.no_grad():
        outputs, spikes = net.over_time(x)
        results = {"y": outputs.mean(0)}
        if net.causal:
            results["y@step"] = net(x).mean(0)
    return results | {f"s{i}": swap(s) for i, s in enumerate(spikes.values())}


def plif_net(v: Vector) -> Results:
    """`conv_fc` is one Sequential; the order of its weights' indices is the order of the layers."""
    indices = sorted({int(name.split(".")[1]) for name in v.weights})
    shapes = {n: v.weights[f"conv_fc.{n}.weight"].shape for n in indices if v.has(f"conv_fc.{n}.weight")}
    convs = [n for n, shape in shapes.items() if len(shape) == 4]
    norms = [n for n, shape in shapes.items() if len(shape) == 1]
    linears = [n for n, shape in shapes.items() if len(shape) == 2]
    neurons = [n for n in indices if v.has(f"conv_fc.{n}.w") and n not in shapes]
    x = v.tensor("x")
    classes = v.arrays["y"].shape[-1]
    settings = PLIFNetSettings(
        classes=classes,
        steps=len(x),
        channels=shapes[convs[0]][0],
        layers=len(convs),
        hidden=shapes[linears[0]][0],
        votes=shapes[linears[1]][0] // classes,
        grid=(x.shape[-2], x.shape[-1]),
        decay_input=v.config.get("decay_input", True),
        bias=v.has(f"conv_fc.{linears[0]}.bias"),
    )
    names: dict[str, str] = {}
    for i, (conv, norm) in enumerate(zip(convs, norms, strict=True), 1):
        names |= weighted(f"conv{i}_current", f"conv_fc.{conv}", f"conv_fc.{norm}")
    for i, linear in enumerate(linears, 1):
        kinds = ("weight", "bias") if settings.bias else ("weight",)
        names |= {f"parts.fc{i}_current.weights.{kind}": f"conv_fc.{linear}.{kind}" for kind in kinds}
    layers = [f"conv{i + 1}" for i in range(len(convs))] + [f"fc{i + 1}" for i in range(len(linears))]
    names |= {f"parts.{ours}.w": f"conv_fc.{n}.w" for ours, n in zip(layers, neurons, strict=True)}
    net = v.load(plifnet(settings), names)
    results = in_every_form(net, x)
    with torch.no_grad():
        _, spikes = net.over_time(x)
    results["layer_rate"] = torch.stack([s.mean() for s in spikes.values()])
    results["spk_last"] = spikes[layers[-1]]
    for name in v.arrays:
        if name.startswith("spk_conv"):
            results[name] = spikes[name.removeprefix("spk_")]
    return results


FAMILIES = {"ma_net": ma_net, "sj_plifnet": plif_net}
