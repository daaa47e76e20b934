"""Who takes part in the benchmark of a step: our engines, ONNX Runtime also with int8 weights, SpikingJelly.

A contestant takes a frame (1, 2, H, W) and does one step, carrying its own state. Set the number of threads
in the environment before this is imported, for whoever reads it there.
"""

import logging
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from spikeline.models import evaluate
from spikeline.models.torch_arithmetic import Torch
from spikeline.pipeline.engines.onnx_builder import build as build_onnx
from spikeline.pipeline.engines.onnx_engine import OnnxEngine
from spikeline.pipeline.engines.sparse.engine import SparseEngine
from spikeline.pipeline.engines.torch_engine import TorchEngine


def contestants(graph, frames, wanted, threads):
    """Those of these names that can run the graph: name -> what takes a frame; the others are told of."""
    made = {}
    for name in wanted:
        try:
            if name == "onnx":
                made[name] = Whole(threaded(OnnxEngine, graph, threads))
            elif name == "onnx-int8":
                made[name] = Whole(quantised(graph, frames, threads))
            elif name == "torch":
                made[name] = Whole(TorchEngine(graph))
            elif name.startswith("sparse"):
                form = "int16" if name == "sparse-int16" else "float32"
                made[name] = Whole(SparseEngine(graph, form=form, threads=threads))
            elif find_spec("spikingjelly") is None:
                print("  spikingjelly is not installed: left out", file=sys.stderr)
            else:
                made[name] = Jelly(graph)
        except Exception as error:  # another's tool that cannot run this network is named, not hidden
            print(f"  {name} left out: {type(error).__name__}: {str(error)[:120]}", file=sys.stderr)
    return made


class Whole:
    """An engine of ours as a contestant."""

    def __init__(self, engine, streams=1):
        self.engine, self.state = engine, engine.init_state(streams)

    def __call__(self, frame):
        return self.engine.step(frame, self.state)


class Repeated:
    """The frame in each stream, turned another way in every second one."""

    def __init__(self, step, streams):
        self.step, self.streams = step, streams

    def __call__(self, frame):
        frames = [frame[0] if b % 2 == 0 else frame[0, :, ::-1] for b in range(self.streams)]
        return self.step(np.ascontiguousarray(np.stack(frames)))


def quantised(graph, frames, threads):
    """ONNX Runtime on the network with statically quantised convolutions and linear layers (int8)."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    logging.disable(logging.WARNING)
    engine = OnnxEngine(graph)
    state = engine.init_state()
    feeds = []
    for frame in frames:
        feed = {"frames": frame} | {f"state_{name}": a.copy() for name, a in state.arrays.items()}
        feeds.append(feed)
        engine.step(frame, state)

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter(feeds)

        def get_next(self):
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
        plain.write_bytes(build_onnx(graph, engine.meter.counted))
        quantize_static(
            plain,
            small,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            per_channel=True,
        )
        model = small.read_bytes()
    return threaded(OnnxEngine, graph, threads, model=model)


def threaded(make, graph, threads, **more):
    """An ONNX engine whose session has the threads asked for; the package's own has one."""
    import onnxruntime

    plain = onnxruntime.SessionOptions

    class Options(plain):
        def __setattr__(self, name, value):
            super().__setattr__(name, threads if name == "intra_op_num_threads" else value)

    onnxruntime.SessionOptions = Options
    try:
        return make(graph, **more)
    finally:
        onnxruntime.SessionOptions = plain


class Jelly:
    """SpikingJelly's step-by-step network with the same weights: convolutions, its own LIF nodes, pools."""

    def __init__(self, graph):
        from spikingjelly.activation_based import neuron as nodes

        self.graph, self.ops = graph, Torch()
        self.tensors = evaluate.Tensors(graph, lambda array: torch.from_numpy(array.astype(np.float32)))
        self.cells = {}
        for node, own in graph.neurons:
            if own.kind != "lif_sj":
                raise ValueError(f"{own.kind} is not one of SpikingJelly's")
            tau, threshold = 1 / own["rate"], own["threshold"]
            self.cells[node.name] = nodes.LIFNode(
                tau=tau, v_threshold=threshold, v_reset=own["v_reset"]
            ).eval()

    def __call__(self, frame):
        values = {}
        with torch.inference_mode():
            counts = torch.from_numpy(frame.astype(np.float32))
            for node in self.graph.nodes:
                inputs = [values[name] for name in node.inputs]
                if node.op == "neuron":
                    values[node.name] = self.cells[node.name](inputs[0])
                else:
                    plain = (self.ops, self.graph, self.tensors, node, inputs or [counts])
                    values[node.name] = evaluate._plain(*plain)
        return values
