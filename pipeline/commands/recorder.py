"""What a recording says besides the packets: how the run was made, and each window's prediction."""

from importlib.metadata import version
from typing import Any

import msgspec

from spikeline.drivers.mcap_layout import Run
from spikeline.drivers.mcap_recorder import plain_run
from spikeline.pipeline.events import Source
from spikeline.pipeline.package import Package
from spikeline.pipeline.run import Pipeline, RunConfig, WindowResult


def source_run(uri: str, source: Source, stream: str = "main") -> Run:
    """A recording of a source alone."""
    run = plain_run(source.sensor)
    run.source, run.format, run.stream = uri, source.format, stream
    run.program = f"spikeline {version('spikeline')}"
    return run


def model_run(
    uri: str, source: Source, stream: str, package: Package, pipeline: Pipeline, config: RunConfig
) -> Run:
    """A recording of what a model saw and said."""
    run, slices, manifest = source_run(uri, source, stream), pipeline.slicer.config, package.manifest
    run.model, run.model_digest = manifest.name, package.digest
    run.engine = pipeline.engine.name
    run.labels, run.layers = list(manifest.labels), list(pipeline.engine.meter.layers)
    run.dt_us, run.hop_us = slices.dt_us, slices.hop
    run.skips = pipeline.skips
    run.settings = msgspec.to_builtins(config, enc_hook=str)
    run.clean_up = [str(stage.settings) for stage in pipeline.clean_up.stages]
    return run


def prediction_fields(r: WindowResult) -> dict[str, Any]:
    """A window's prediction, but for the window itself and the decision about it."""
    return {
        "label": r.label,
        "label_index": r.label_index,
        "score": r.score,
        "scores": r.scores.tolist(),
        "warming": r.warming,
        "segment": r.segment,
        "spikes": r.spikes,
        "synops": r.synops,
        "mac": r.mac,
        "events": r.events,
        "processed": r.processed,
        "timing": {name.replace("_ns", "_us"): ns / 1e3 for name, ns in r.timing._asdict().items()},
    }
