"""One network graph, several ways to run it, one contract (base.py)."""

from collections.abc import Mapping
from importlib.util import find_spec

from spikeline.models.graph import Graph
from spikeline.pipeline.engines.base import Engine
from spikeline.pipeline.engines.state import EngineError, EngineState, StepResult

ENGINES = ("onnx", "torch", "sparse")  # which agree with each other
INT16 = "sparse-int16"  # an approximation: membranes and weights in whole numbers
__all__ = ["ENGINES", "INT16", "Engine", "EngineError", "EngineState", "StepResult", "open_engine"]


class MissingExtraError(EngineError):
    """Something that needs an optional part of the installation."""


def open_engine(
    name: str,
    graph: Graph,
    readout: str = "sliding",
    *,
    spikes: Mapping[str, float] | None = None,
    threads: int = 1,
) -> Engine:
    """The engine called `name` on `graph`; threads: of the sparse one, others have one.

    `auto`: sparse where it is at least as fast as onnx by this machine's costs, at so many `spikes` of each
    layer in a step; else, and where they are not known, onnx.
    """
    if name == "auto":
        name = _faster(graph, spikes)
    if name == "onnx":
        from spikeline.pipeline.engines.onnx_engine import OnnxEngine

        return OnnxEngine(graph, readout)
    if name in ("sparse", INT16):
        from spikeline.pipeline.engines.sparse.engine import SparseEngine

        return SparseEngine(graph, readout, form="int16" if name == INT16 else "float32", threads=threads)
    if name == "torch":
        if find_spec("torch") is None:
            raise MissingExtraError("engine torch: torch is not installed; pip install 'spikeline[train]'")
        from spikeline.pipeline.engines.torch_engine import TorchEngine

        return TorchEngine(graph, readout)
    raise EngineError(f"engine {name!r}: wanted one of auto, {', '.join(ENGINES)}, {INT16}")


def _faster(graph: Graph, spikes: Mapping[str, float] | None) -> str:
    if spikes is None or graph.document.form == "window":
        return "onnx"
    from spikeline.pipeline.engines.sparse.costs import load_costs, predicted_us

    sparse, onnx = predicted_us(graph, spikes, load_costs())
    return "sparse" if sparse <= onnx else "onnx"
