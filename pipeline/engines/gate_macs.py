"""Multiply-accumulates of an attention gate: making its weights, then multiplying by them.

Averages and maxima add and compare, which costs none. Of a step with n = C H W values and P = H W pixels,
h hidden units, |W| the number of values of W:

    ca       2 |W0| + |W1| + n     M(avg) + M(max), where W1 acts on the sum; MA-SNN's Table 5 counts one pass
    sa       |W| P + n
    ta       window 2 |W0| + |W1| + T n, sliding 2 |W0| + h + n, prefix and static 3 h + n a step:
             only the newest step's row of W1 and, in a prefix, its column of W0; from averages alone one pass
    ia       the score it has (ta, ca or sa) + n
    gau      ta's weights + (|SCA0| + |SCA1|) P + 2 n
    eca      |W| C + n
    simam    3 n                   the square, its quotient, the product
    gc       2 n + |Q| + |V| + 2 h the map k, its product with x, two 1 x 1 convolutions, the norm
    step     |W0| + |W1| + n
    pe, affine    0 and n

A gate over the window makes its weights once for its T steps, and multiplies at each.
"""

import math

from spikeline.models.graph import Graph


def gate_macs(graph: Graph, name: str, prefix: str, attrs: dict[str, object]) -> tuple[int, int]:
    """Of the gate with this prefix of node `name`: once a window, and at each step."""
    shape = graph.shapes[name]
    n, pixels = math.prod(shape), math.prod(shape[1:])

    def size(role: str) -> int:
        return graph.tensors[f"{name}.{prefix}{role}"].size

    kind, form = attrs.get("score", attrs["kind"]), attrs["form"]
    product = 0 if kind in ("gc", "pe") else n
    weights = 0
    if kind in ("ta", "gau"):
        passes = 1 if attrs.get("pools") == "avg" else 2
        hidden = graph.tensors[f"{name}.{prefix}w0"].shape[0]
        if form == "window":
            weights = passes * size("w0") + size("w1")
        else:
            weights = passes * (size("w0") if form == "sliding" else hidden) + hidden
        if kind == "gau":
            product = (size("sca0") + size("sca1")) * pixels + 2 * n
    elif kind == "ca":
        weights = 2 * size("w0") + size("w1")
    elif kind == "sa":
        weights = size("weight") * pixels
    elif kind == "eca":
        weights = size("weight") * shape[0]
    elif kind == "simam":
        weights = 2 * n
    elif kind == "gc":
        weights = 2 * n + size("q.weight") + size("v.weight") + 2 * size("norm.scale")
    elif kind == "step":
        weights = size("w0") + size("w1")
    return (weights, product) if form == "window" else (0, weights + product)
