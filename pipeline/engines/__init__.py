"""One network graph, several ways to run it, one contract (base.py)."""

from importlib.util import find_spec

from spikeline.models.graph import Graph
from spikeline.pipeline.engines.base import Engine
from spikeline.pipeline.engines.state import EngineError, EngineState, StepResult

ENGINES = ("onnx", "torch", "sparse")
__all__ = ["ENGINES", "Engine", "EngineError", "EngineState", "StepResult", "open_engine"]


class MissingExtraError(EngineError):
    """Something that needs an optional part of the installation."""


def open_engine(name: str, graph: Graph, readout: str = "sliding") -> Engine:
    """The engine called `name` on `graph`; `auto` is the fastest that gives exact results: onnx."""
    if name in ("auto", "onnx"):
        from spikeline.pipeline.engines.onnx_engine import OnnxEngine

        return OnnxEngine(graph, readout)
    if name == "sparse":
        from spikeline.pipeline.engines.sparse.engine import SparseEngine

        return SparseEngine(graph, readout)
    if name == "torch":
        if find_spec("torch") is None:
            raise MissingExtraError("engine torch: torch is not installed; pip install 'spikeline[train]'")
        from spikeline.pipeline.engines.torch_engine import TorchEngine

        return TorchEngine(graph, readout)
    raise EngineError(f"engine {name!r}: wanted one of auto, {', '.join(ENGINES)}")
