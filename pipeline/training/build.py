"""The network of a run."""

import numpy as np

from spikeline.models import registry
from spikeline.models.gate_layer import GateLayer
from spikeline.models.network import Network
from spikeline.pipeline.training.clips import ClipSet
from spikeline.pipeline.training.errors import TrainingError
from spikeline.pipeline.training.settings import TrainConfig

INPUT_GAIN = 0.25  # counts of some units to currents of about 1; batch norm does the rest


def build(config: TrainConfig, classes: int, clip: float, channels: int = 2) -> Network:
    """The network of a run on frames of so many channels; above `clip` counts the input saturates."""
    W, H = config.data.grid
    settings = {"classes": classes, "steps": config.data.steps, "grid": (H, W)} | config.network.settings
    if "gain" not in settings:
        settings |= {"gain": INPUT_GAIN, "clip": clip * INPUT_GAIN}
    try:
        network = registry.build(config.network.name, **settings)
    except ValueError as error:
        raise TrainingError(f"network: {error}") from error
    found = network.shapes[network.frames]
    if found != (channels, H, W):
        raise TrainingError(f"network: takes frames {found}; the data's are {(channels, H, W)}")
    if network.tumbling and config.data.windows % network.steps:
        raise TrainingError(
            f"data.length: {config.data.windows} windows; this network starts anew after {network.steps},"
            " wanted a multiple of it"
        )
    if config.truncate and (network.tumbling or config.gate.form or looks_along_time(network)):
        raise TrainingError(
            "truncate: wanted an endless network without attention along time, whose statistics reach further"
        )
    if config.gate.form:
        network.add_frame_gate(config.gate.form, config.gate.ratio)
    return network


def looks_along_time(network: Network) -> bool:
    """Whether some gate has statistics of more than its own step."""
    gates = (module for module in network.modules() if isinstance(module, GateLayer))
    return any(gate.attrs["form"] in ("window", "sliding", "prefix") for gate in gates)


def count_clip(clips: ClipSet, dt_us: int) -> float:
    """The 99.9th percentile of the counts of occupied cells in windows of dt, over the first clips."""
    counts = [
        clips.sample(i, dt_us, clips.slices(i) // clips.per(dt_us)) for i in range(min(len(clips), 240))
    ]
    return float(np.percentile(np.concatenate([c[c > 0] for c in counts]), 99.9))
