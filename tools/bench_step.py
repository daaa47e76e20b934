"""What one step costs: every engine, and others' work, on the same weights and frames.

Networks of paper width from the registry with seeded weights, and thresholds set layer by layer so that every
layer of weights sees the given share of its inputs firing, behind pools and joins. Frames are seeded: that
share of cells holds 1 to 3 events, anew each frame. Contestants take turns, all frames each; the first two
rounds are thrown away. Times are wall clock and CPU of the process, medians and 99th percentiles.

Of the sparse engine both forms take part, and with --threads its layers are shared out as those of the
others are. `sparse x` says how many times as fast each form is as the best contestant of others, and as ONNX
Runtime in float32. With --source frames are a package's own, of a simulated or recorded stream, looped.

    python tools/bench_step.py [--networks three,five,syna] [--densities 0.01,0.03,0.1] [--threads 1]
                               [--rounds 12] [--streams 8] [--json FILE]
    python tools/bench_step.py --model gesture --source sim:gesture?seed=1 [--steps 200]
"""

import argparse
import json
import os
import platform
import sys
import time
from importlib.util import find_spec
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--networks", default="three,five,syna")
parser.add_argument("--densities", default="0.01,0.03,0.1")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=12)
parser.add_argument("--streams", type=int, default=0, help="also time a batch of so many streams")
parser.add_argument("--contestants", default="onnx,onnx-int8,torch,spikingjelly,sparse,sparse-int16")
parser.add_argument("--model", default="", help="a package in place of networks with seeded weights")
parser.add_argument("--source", default="sim:gesture?seed=1", help="what --model is shown")
parser.add_argument("--fit", default="", help="how its sensor becomes the model's")
parser.add_argument("--steps", type=int, default=200, help="frames of the source, at most")
parser.add_argument("--json", default="")
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before anything that reads it is imported

import msgspec  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from spikeline.models import evaluate  # noqa: E402
from spikeline.models.graph import Graph, Node  # noqa: E402
from spikeline.models.neurons import neuron  # noqa: E402
from spikeline.models.registry import build  # noqa: E402
from spikeline.models.torch_arithmetic import Torch  # noqa: E402
from spikeline.pipeline.engines.onnx_builder import build as build_onnx  # noqa: E402
from spikeline.pipeline.engines.onnx_engine import OnnxEngine  # noqa: E402
from spikeline.pipeline.engines.sparse.engine import SparseEngine  # noqa: E402
from spikeline.pipeline.engines.torch_engine import TorchEngine  # noqa: E402

NETWORKS = {
    "three": ("masnn3", {"attention": "no"}),
    "three-csa": ("masnn3", {"attention": "cs"}),
    "five": ("plifnet", {}),
    "syna": ("syna-gesture", {"ma": "no", "ia": "no"}),
}
FRAMES = 8
SETTLED = 3  # steps before a layer's density is looked at
FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


def frames_of(shape, density, count=FRAMES, seed=1):
    rng = np.random.default_rng(seed)
    frames = np.zeros((count, 1, *shape), np.uint16)
    events = rng.random(frames.shape) < density
    frames[events] = rng.integers(1, 4, events.sum())
    return frames


def with_threshold(graph, layer, threshold):
    def changed(node):
        constants = node.attrs["constants"] | {"threshold": threshold}
        return msgspec.structs.replace(node, attrs=node.attrs | {"constants": constants})

    nodes = [changed(node) if node.name == layer else node for node in graph.nodes]
    return Graph(msgspec.structs.replace(graph.document, nodes=nodes), graph.tensors)


def calibrated(name, settings, density, seed=0):
    """The network with thresholds at which every layer of weights sees this density, one after another."""
    torch.manual_seed(seed)
    graph = build(name, **settings).lower()
    frames = frames_of(graph.document.input_shape, density)
    users: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for source in node.inputs:
            users.setdefault(source, []).append(node)
    for node, _ in graph.neurons:
        currents = currents_into(graph, node, frames)
        target = density / 2 if users[node.name][0].op == "join" else density
        pool = next((u for u in users[node.name] if u.op == "pool" and u.attrs["kind"] == "max"), None)
        low, high = 1e-4, 2 * float(max(x.max() for x in currents)) + 1e-3
        for _ in range(18):
            middle = (low * high) ** 0.5
            if density_at(node, currents, pool, middle) > target:
                low = middle
            else:
                high = middle
        graph = with_threshold(graph, node.name, high)
    return graph, frames


def currents_into(graph, node, frames):
    """What feeds this layer of neurons, at every frame."""
    tensors = evaluate.Tensors(graph, lambda array: torch.from_numpy(array.astype(np.float32)))
    states = {name: torch.zeros((1, *state.shape)) for name, state in graph.states.items()}
    currents = []
    with torch.inference_mode():
        for t, frame in enumerate(frames):
            counts, at = torch.from_numpy(frame.astype(np.float32)), torch.full((1,), t)
            values, states = evaluate.run_step(Torch(), graph, tensors, counts, states, at)
            currents.append(values[node.inputs[0]])
    return currents


def density_at(node, currents, pool, threshold):
    own = neuron(node.attrs["kind"], **node.attrs["constants"] | {"threshold": threshold})
    h, found = torch.zeros_like(currents[0]), []
    for x in currents:
        u = own.integrate(h, x)
        s = own.fires(u).float()
        h = own.carry(u, s)
        if pool is not None:
            a = pool.attrs
            s = Torch().pool(s, "max", a["size"], a["stride"], a.get("padding", 0), s.shape[1:])
        found.append(float(s.mean()))
    return float(np.mean(found[SETTLED:]))


class Whole:
    """An engine of ours as a contestant."""

    def __init__(self, engine, streams=1):
        self.engine, self.state = engine, engine.init_state(streams)

    def __call__(self, frame):
        return self.engine.step(frame, self.state)


def quantised(graph, frames):
    """ONNX Runtime on the network with statically quantised convolutions and linear layers (int8)."""
    import logging
    import tempfile

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
    return threaded(OnnxEngine, graph, model=model)


def threaded(make, graph, **more):
    """An ONNX engine whose session has the threads asked for; the package's own has one."""
    import onnxruntime

    plain = onnxruntime.SessionOptions

    class Options(plain):
        def __setattr__(self, name, value):
            super().__setattr__(name, options.threads if name == "intra_op_num_threads" else value)

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


def contestants(graph, frames):
    wanted = options.contestants.split(",")
    made = {}
    for name in wanted:
        try:
            if name == "onnx":
                made[name] = Whole(threaded(OnnxEngine, graph))
            elif name == "onnx-int8":
                made[name] = Whole(quantised(graph, frames))
            elif name == "torch":
                made[name] = Whole(TorchEngine(graph))
            elif name.startswith("sparse"):
                form = "int16" if name == "sparse-int16" else "float32"
                made[name] = Whole(SparseEngine(graph, form=form, threads=options.threads))
            elif find_spec("spikingjelly") is None:
                print("  spikingjelly is not installed: left out", file=sys.stderr)
            else:
                made[name] = Jelly(graph)
        except Exception as error:  # another's tool that cannot run this network is named, not hidden
            print(f"  {name} left out: {type(error).__name__}: {str(error)[:120]}", file=sys.stderr)
    return made


def timed(made, frames):
    """Name -> wall and CPU microseconds of every step after the first two rounds, in turns."""
    times = {name: ([], []) for name in made}
    for r in range(options.rounds + 2):
        for name, step in made.items():
            for frame in frames:
                wall, cpu = time.perf_counter_ns(), time.process_time_ns()
                step(frame)
                cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
                if r >= 2:
                    times[name][0].append(wall / 1e3)
                    times[name][1].append(cpu / 1e3)
    return times


def densities(graph, step, frames):
    """Mean share of inputs that are not 0 at each layer of weights that spikes feed, over the frames."""
    found = {name: [] for name in step.engine.meter.fed}
    for frame in frames:
        activity = step(frame).activity
        for i, name in enumerate(found):
            full = (
                int(step.engine.meter.taps[i][1].sum()) * graph.shapes[graph_node(graph, name).inputs[0]][0]
            )
            found[name].append(activity.layer_synops[0, i] / full)
    return {name: round(float(np.mean(values)), 4) for name, values in found.items()}


def graph_node(graph, name):
    return next(node for node in graph.nodes if node.name == name)


def machine():
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next(
        (line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), ""
    )
    flags = next((line.split() for line in info.splitlines() if line.startswith("flags")), [])
    return {
        "processor": model or platform.machine(),
        "cores": os.cpu_count(),
        "instructions": [flag for flag in FLAGS if flag in flags],
        "load": os.getloadavg()[0],
        "threads": options.threads,
    }


def percentiles(values):
    return {"median": float(np.median(values)), "p99": float(np.percentile(values, 99))}


def cases():
    """Name, density (None: as it comes), graph and frames of everything that is to be timed."""
    if options.model:
        yield options.model, None, *recorded()
        return
    for network in options.networks.split(","):
        for density in (float(d) for d in options.densities.split(",")):
            name, settings = NETWORKS[network]
            yield network, density, *calibrated(name, settings, density)


def recorded():
    """A package's graph, and the frames it is given of the source."""
    from itertools import islice

    from spikeline.drivers import open_source
    from spikeline.pipeline.package import load_package
    from spikeline.pipeline.run import Pipeline, RunConfig

    package = load_package(options.model)
    with open_source(options.source) as events:
        pipeline = Pipeline(package, events.sensor, RunConfig(engine="onnx", fit=options.fit))
        results = islice(pipeline.run(events), options.steps)
        return pipeline.engine.graph, [result.frame[None].copy() for result in results]


def main():
    torch.set_num_threads(options.threads)
    facts = {"machine": machine(), "seed": 0, "results": []}
    print(json.dumps(facts["machine"]))
    for network, density, graph, frames in cases():
        made = contestants(graph, frames)
        times = timed(made, frames)
        clock = 0 if options.threads > 1 else 1  # CPU time of two threads adds up
        middles = {name: float(np.median(found[clock])) for name, found in times.items()}
        best = min((m for name, m in middles.items() if not name.startswith("sparse")), default=None)
        row = {"network": network, "density": density, "times": {}}
        if "sparse" in made:
            row["inputs"] = densities(graph, made["sparse"], frames)
            row["synops"] = int(np.mean([made["sparse"](f).activity.synops[0] for f in frames]))
        print(network if density is None else f"{network} at {density:.0%}")
        for name, (wall, cpu) in times.items():
            row["times"][name] = {"wall_us": percentiles(wall), "cpu_us": percentiles(cpu)}
            line = (
                f"  {name:13} wall {np.median(wall):8.0f} p99 {np.percentile(wall, 99):8.0f}"
                f"  cpu {np.median(cpu):8.0f} p99 {np.percentile(cpu, 99):8.0f} us"
            )
            if name.startswith("sparse") and best is not None:
                against = {"best": best, "onnx": middles.get("onnx", best)}
                row["times"][name]["times_as_fast"] = {k: v / middles[name] for k, v in against.items()}
                line += "".join(f"  {v / middles[name]:5.2f} x {k}" for k, v in against.items())
            print(line)
        if "inputs" in row:
            print(f"  {row['synops']:,} synaptic operations; inputs {row['inputs']}")
        if options.streams and "sparse" in made:
            engine = made["sparse"].engine
            many = Whole(engine, options.streams)
            batch = timed({"one": made["sparse"], "many": _Repeated(many, options.streams)}, frames)
            one, all_ = (float(np.median(batch[k][1])) for k in ("one", "many"))
            row["batch"] = {"streams": options.streams, "factor": one * options.streams / all_}
            factor = row["batch"]["factor"]
            print(f"  a stream in a batch of {options.streams} costs 1 / {factor:.2f} of one alone")
        facts["results"].append(row)
    if options.json:
        Path(options.json).write_text(json.dumps(facts, indent=1))


class _Repeated:
    """The frame in each stream, turned another way in every second one."""

    def __init__(self, step, streams):
        self.step, self.streams = step, streams

    def __call__(self, frame):
        frames = [frame[0] if b % 2 == 0 else frame[0, :, ::-1] for b in range(self.streams)]
        return self.step(np.ascontiguousarray(np.stack(frames)))


if __name__ == "__main__":
    main()
