"""How a package is served: the settings of a run, and what of them does not go together.

    RunConfig -> served_engine, frame_gate, check_early

Each of these gives what was asked for, or raises PipelineError.
"""

from dataclasses import dataclass

from spikeline.models.graph import Graph
from spikeline.pipeline.engines import INT16, Engine, open_engine
from spikeline.pipeline.gate import FrameGate, GateError, threshold_for
from spikeline.pipeline.package import Package

SHARES_LAYERS = ("sparse", INT16)  # the engines that have threads


class PipelineError(ValueError):
    """Settings that do not go together: one line naming what was found and wanted."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How a package is served. Empty or None means: as the package says."""

    engine: str = "auto"
    fit: str = ""
    readout: str = ""
    threshold: float | None = None
    hold_us: int | None = None
    hop_us: int = 0
    gate: float = 0.0  # the share of windows that the model's frame gate is to skip, on its training data
    gate_threshold: float | None = None  # or its threshold itself
    threads: int = 1  # of the sparse engine, in layers that are large enough
    early: bool = False  # give events to the network's first layer as they arrive, not all at once
    clean: str = ""  # "A,B" clean-up instead of the model's, "+A,B" before it, "none"


def served_engine(package: Package, graph: Graph, readout: str, config: RunConfig) -> Engine:
    """The engine that is asked for, on the package's graph as it is served. Threads that would have nothing
    to do are refused: who asks for them expects a gain."""
    if config.threads < 1:
        raise PipelineError(f"threads: found {config.threads}; wanted 1 or more")
    engine = open_engine(config.engine, graph, readout, spikes=package.spikes, threads=config.threads)
    if config.threads > 1 and (engine.windowed or engine.name not in SHARES_LAYERS):
        found = "a network of form window" if engine.windowed else _named(engine, config)
        wanted = "the sparse engine on a network that runs step by step"
        raise PipelineError(f"threads: found {config.threads} for {found}, which has one; wanted {wanted}")
    return engine


def check_early(engine: Engine, config: RunConfig, *, skips: bool, overlap: bool) -> None:
    """Events may go to the network before their window closes where it will be run on just these.

    skips: windows may be skipped    overlap: an event is in several windows
    """
    found = ""
    if not engine.takes_events:
        found = f"{_named(engine, config)} on a network that takes whole frames"
    elif skips:
        found = "windows that may be skipped"
    elif overlap:
        found = f"windows that overlap, hop_us {config.hop_us}"
    if found:
        wanted = "the sparse engine, every window run, none overlapping"
        raise PipelineError(f"early: found {found}; wanted {wanted}")


def frame_gate(package: Package, graph: Graph, config: RunConfig) -> FrameGate | None:
    """The gate of the graph as it is served, counts scaled to this sensor, at the ratio or threshold asked
    for; None where nothing is to be skipped."""
    if config.gate == 0 and config.gate_threshold is None:
        return None
    manifest = package.manifest
    if manifest.skip is None:
        raise PipelineError(f"model {manifest.name} was not trained with skipped windows: serve every window")
    try:
        threshold = config.gate_threshold
        if threshold is None:
            threshold = threshold_for(manifest.gate_thresholds, config.gate)
        return FrameGate(graph, threshold)
    except GateError as error:
        raise PipelineError(f"model {manifest.name}: {error}") from error


def _named(engine: Engine, config: RunConfig) -> str:
    return f"engine {engine.name}" + (" (chosen by auto)" if config.engine == "auto" else "")
