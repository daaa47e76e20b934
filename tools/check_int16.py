"""Whether a model keeps its answers with int16 membranes: the spike-driven engine's two forms, clip by clip.

    python tools/check_int16.py [MODEL] [--data URI] [--clips 504] [--cache runs/cache]

Each clip from a zero state, T steps, both forms on the same frames. Prints, of every layer, the share of
spikes that both have among those that either has; labels that are the same; the accuracy of each; membranes
clipped. Ends with exit code 1 where a layer is below 0.97, labels differ on more than 1 % of the clips, or
the accuracy is more than 0.5 points lower.
"""

import argparse
import math
import os
import sys
from itertools import islice
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from spikeline.pipeline.engines import INT16, open_engine
from spikeline.pipeline.package import load_package
from spikeline.pipeline.training.data import CutConfig, load_set
from spikeline.pipeline.training.sets import open_set

SAME_SPIKES, SAME_LABELS, LOSS = 0.97, 0.99, 0.005
SLICE_US = 25_000
BATCH = 16


def fired(state, name, b):
    """Which neurons of a layer fired at the newest step, as numbers in order."""
    spikes = state.extra.spikes[name]
    if spikes.total[b] == 0:
        return np.zeros(0, np.int64)
    bits = np.unpackbits(spikes.words[b].view(np.uint8), bitorder="little").reshape(spikes.pixels, -1, 64)
    pixels, words, places = np.nonzero(bits)
    return pixels * spikes.channels + words * spikes.lanes + places


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="gesture")
    parser.add_argument("--data", default="")
    parser.add_argument("--clips", type=int, default=504)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    options = parser.parse_args()
    package = load_package(options.model)
    manifest, graph = package.manifest, package.graph
    seconds = max(1.8, graph.steps * manifest.dt_us / 1e6)
    uri = options.data or f"sim:gesture?seed=1&split=test&clips={options.clips}&duration_s={seconds}"
    cut = CutConfig(
        slice_us=math.gcd(SLICE_US, manifest.dt_us), grid=manifest.grid, clean_up=tuple(manifest.clean_up)
    )
    clips = load_set(open_set(uri), cut, options.cache)
    forms = {name: open_engine(name, graph, "window") for name in ("sparse", INT16)}
    mixed = [line.name for line in forms[INT16].plan.layers if line.neurons.whole is None]
    both, either = np.zeros(len(graph.layers)), np.zeros(len(graph.layers))
    labels = {name: [] for name in forms}
    truth, clipped, steps = [], 0, 0
    windows = ((i, frames) for i, frames in clips.windows(manifest.dt_us, graph.steps))
    windows = islice(windows, options.clips)
    while batch := list(islice(windows, BATCH)):
        states = {name: engine.init_state(len(batch)) for name, engine in forms.items()}
        for t in range(graph.steps):
            frames = np.stack([frames[t] for _, frames in batch])
            results = {name: engine.step(frames, states[name]) for name, engine in forms.items()}
            clipped += int(results[INT16].activity.clipped.sum())
            steps += len(batch)
            for k, layer in enumerate(graph.layers):
                for b in range(len(batch)):
                    one, other = (fired(states[name], layer, b) for name in forms)
                    same = len(np.intersect1d(one, other, assume_unique=True))
                    both[k] += same
                    either[k] += len(one) + len(other) - same
        for name, result in results.items():
            labels[name] += result.scores.argmax(1).tolist()
        truth += [int(clips.labels[i]) for i, _ in batch]
    shares = both / np.maximum(either, 1)
    right = {name: float(np.mean(np.array(found) == truth)) for name, found in labels.items()}
    alike = float(np.mean(np.array(labels["sparse"]) == labels[INT16]))
    print(f"{options.model}: {len(truth)} clips of {uri}, {steps:,} steps")
    for layer, share, n in zip(graph.layers, shares, either, strict=True):
        print(f"  {layer:16} {share:.4f} of {n:,.0f} spikes are in both" + ("  (float32)" * (layer in mixed)))
    print(f"  same label on {alike:.2%}; right on {right['sparse']:.2%} and {right[INT16]:.2%}")
    print(f"  {clipped:,} membranes clipped, {clipped / steps:.3f} a step")
    good = shares.min() >= SAME_SPIKES and alike >= SAME_LABELS and right[INT16] >= right["sparse"] - LOSS
    print("int16 keeps this model's answers" if good else "int16 does not keep this model's answers")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
