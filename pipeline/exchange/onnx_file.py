"""One step (or window) of a network as an ONNX file that any ONNX runtime runs.

    frames        (B, C, H, W) uint16 counts, or a whole window (T B, C, H, W)
    state_<name>  (B, ...) float32 in, state_<name>_out out: zeros at first, then what came out
    position      (B,) int64, steps since the state was zeros; only where the network asks for it
    output        (B, K) float32 of this step; a sample's score is their mean over T steps
    count_<name>  nonzero values of a layer at each position, for its activity

The model's metadata says dt_us, steps, horizon and labels.
"""

from collections.abc import Mapping
from pathlib import Path

import onnx

from spikeline.models.graph import Graph
from spikeline.pipeline.engines.activity import Meter
from spikeline.pipeline.engines.onnx_builder import build


def write_onnx(path: Path, graph: Graph, facts: Mapping[str, str]) -> None:
    model = onnx.load_from_string(build(graph, Meter(graph).counted))
    for key, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = f"spikeline.{key}", value
    path.write_bytes(model.SerializeToString())
