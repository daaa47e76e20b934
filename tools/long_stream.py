"""Ten minutes of one stream through every causal form: is minute 10 as good as minute 1?

    python tools/long_stream.py [--folder runs/long-stream] [--epochs 6] [--only NAME ...]

Small networks, one for each causal form, are trained on simulated clips (or taken from the folder where
they are already). Then streams of clips, one after another without a reset, run for ten minutes: positions
run far beyond T. The last minute repeats the clips of the first, so that the two differ by nothing but what
the network carries. Prints, for every form, the share of windows with the right class in both minutes.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.engines import Engine, open_engine
from spikeline.pipeline.gate import FrameGate, threshold_for
from spikeline.pipeline.package import Package, load_package
from spikeline.pipeline.training.augment_settings import AugmentConfig
from spikeline.pipeline.training.clips import ClipSet
from spikeline.pipeline.training.data import CutConfig, load_set
from spikeline.pipeline.training.data_settings import DataConfig
from spikeline.pipeline.training.sets import open_set
from spikeline.pipeline.training.settings import (
    GateConfig,
    LossConfig,
    NetworkConfig,
    OptimiserConfig,
    SkipConfig,
    TrainConfig,
)

T = 10
MINUTES = 10
SMALL = {
    "channels": (8, 16, 16),
    "hidden": (64,),
    "votes": 4,
    "surrogate": "atan",
    "surrogate_width": 2.0,
    "constants": {"decay": 0.3},
    "head_constants": {"decay": 0.5},
    "t_ratio": 2,
    "c_ratio": 4,
    "kernel": 3,
}
POOLED = {"statistics": "pooled", "place": "conv-post", "relu": True}
STAA = {
    "channels": ((8,), (16,), (16,)),
    "inputs": 2,
    "grid": (32, 32),
    "hidden": 8,
    "threshold": 0.5,
}
GAC = {
    "channels": 2,
    "grid": (32, 32),
    "stem_width": 8,
    "widths": (16, 16),
    "blocks": (1, 1),
    "strides": (2, 2),
    "form": "sliding",
}
SYNA = {
    "channels": (8, 8, 16, 16),
    "stem": (3, 1),
    "t_ratio": 2,
    "kernels": (3, 3),
    "form": "sliding",
}
FORMS: dict[str, tuple[str, dict[str, object], GateConfig]] = {
    "no attention": ("masnn3", SMALL, GateConfig()),
    "per-step CA, SA": ("masnn3", SMALL | {"attention": "cs"}, GateConfig()),
    "sliding TA": ("masnn3", SMALL | {"attention": "t", "form": "sliding"}, GateConfig()),
    "prefix TA": ("masnn3", SMALL | {"attention": "t", "form": "prefix"}, GateConfig()),
    "sliding TA, CA, SA": ("masnn3", SMALL | {"attention": "tcs", "form": "sliding"} | POOLED, GateConfig()),
    "prefix TA, CA, SA": ("masnn3", SMALL | {"attention": "tcs", "form": "prefix"} | POOLED, GateConfig()),
    "sliding frame gate": ("masnn3", SMALL, GateConfig(form="sliding")),
    "prefix frame gate": ("masnn3", SMALL | {"attention": "t", "form": "prefix"}, GateConfig(form="prefix")),
    "STAA, last position": ("staa-vgg13", STAA, GateConfig()),
    "sliding MA, IA": ("syna-gesture", SYNA, GateConfig()),
    "sliding GAU": ("gac-resnet18-events", GAC, GateConfig()),
}


def configuration(form: str, epochs: int, clips: int) -> TrainConfig:
    name, settings, gate = FORMS[form]
    prefix = settings.get("form") == "prefix"
    return TrainConfig(
        # an endless network learns what comes after T; a tumbling one starts anew there
        data=DataConfig(clips=clips, steps=T, length=2 * T if prefix else 3 * T),
        network=NetworkConfig(name=name, settings=settings, clip_counts=6.0),
        gate=gate,
        skip=SkipConfig(share=0.0, max_ratio=0.0),
        epochs=epochs,
        augment=AugmentConfig(shift=2, flip=True, keep_min=0.5, gain_max=2.0, noise=0.01),
        loss=LossConfig(scale=4.0),
        optimiser=OptimiserConfig(rate=4e-3),
        batch=32,
    )


def package_of(form: str, folder: Path, epochs: int, clips: ClipSet, validation: ClipSet) -> Package:
    """The trained network of a form: from the folder, or trained into it."""
    path = folder / form.replace(" ", "-").replace(",", "") / "small.safetensors"
    if not path.is_file():
        from spikeline.pipeline.training.loop import train
        from spikeline.pipeline.training.publish import make_package

        config = configuration(form, epochs, len(clips))

        def say(e: object) -> None:
            print(f"  {form}: {e}", file=sys.stderr, flush=True)

        network = train(config, clips, validation, path.parent, on_epoch=say)
        make_package(path, "small", network, config, clips, validation, form)
    return load_package(path)


def streams(
    clips: ClipSet, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Clips (n, count) one after another, the last minute as the first; labels (steps, count)."""
    whole = clips.slices(0) // 2  # windows of 50 ms from slices of 25 ms
    a_minute = -(-60_000_000 // (whole * 50_000))
    while a_minute * whole % T:  # so that a tumbling network cuts the last minute as it cut the first
        a_minute += 1
    first = rng.integers(len(clips), size=(a_minute, count))
    between = rng.integers(len(clips), size=((MINUTES - 2) * a_minute, count))
    chosen = np.concatenate([first, between, first])
    labels = np.repeat(clips.labels[chosen], whole, 0)
    return chosen, labels


def shares(package: Package, clips: ClipSet, count: int, seed: int) -> tuple[float, float, float]:
    """Share of right windows in the first and the last minute, and of windows skipped."""
    rng = np.random.default_rng(seed)
    chosen, labels = streams(clips, count, rng)
    engine: Engine = open_engine("onnx", package.graph, "sliding")
    state = engine.init_state(count)
    gates = []
    if package.graph.document.frame_gate is not None:
        threshold = threshold_for(package.manifest.gate_thresholds, 0.5)
        gates = [FrameGate(package.graph, threshold) for _ in range(count)]
    per = 2
    whole = clips.slices(0) // per
    a_minute = len(labels) // MINUTES
    right = np.zeros(len(labels))
    skipped = 0
    for k, row in enumerate(chosen):
        cut = clips.clip(row)[: whole * per]
        frames = cut.reshape(count, whole, per, *cut.shape[2:]).sum(2, dtype=np.uint16)
        for w in range(whole):
            frame = np.ascontiguousarray(frames[:, w])
            run = [gate(None, f) is None for gate, f in zip(gates, frame, strict=True)] if gates else None
            skipped += 0 if run is None else count - sum(run)
            scores = engine.step(frame, state, run).scores
            right[k * whole + w] = (scores.argmax(1) == labels[k * whole + w]).mean()
    return float(right[:a_minute].mean()), float(right[-a_minute:].mean()), skipped / (len(labels) * count)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--folder", type=Path, default=Path("runs/long-stream"))
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--clips", type=int, default=1_200)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--only", nargs="*", choices=FORMS, default=list(FORMS))
    options = parser.parse_args()
    clips, validation, test = (
        load_set(open_set(f"sim:gesture?split={split}&clips={count}"), CutConfig(), options.cache)
        for split, count in (("train", options.clips), ("validation", 480), ("test", 480))
    )
    print(f"{'form':22s} {'minute 1':>9s} {'minute 10':>10s} {'difference':>11s} {'skipped':>8s}   s")
    for form in options.only:
        package = package_of(form, options.folder, options.epochs, clips, validation)
        began = time.monotonic()
        first, last, skipped = shares(package, test, options.streams, seed=1)
        row = {"form": form, "minute_1": first, "minute_10": last, "skipped": skipped}
        (options.folder / "results.jsonl").open("a").write(json.dumps(row) + "\n")
        print(
            f"{form:22s} {first:9.1%} {last:10.1%} {(last - first) * 100:+10.2f}p {skipped:8.1%}"
            f" {time.monotonic() - began:5.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
