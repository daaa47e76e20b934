"""Digits: train on simulated clips only, test on real ones; and what each part of the pixel model is worth.

Trains the network of the preset `nmnist`, narrower and for fewer epochs, on clips of sim:digits, and measures
it on every clip of the N-MNIST subset; then the same with one part of the pixel model switched off. Beside it
a support vector machine on summed frames, which has no seed: runs of the network differ by many points. The
same again with real clips, measured on those that were held out. No real clip is seen in training but in
that row. The camera's ranges were fitted to event statistics of every other real clip, never to a
classifier; the drawing of strokes was chosen by looking at real clips and, in three tries, at that machine's
accuracy on them.

    OMP_NUM_THREADS=1 python tools/sim_to_real.py --real npz:nmnist_small_train.npz
        [--clips 1000] [--epochs 12] [--seeds 1] [--only real,full,noise] [--json FILE]
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spikeline.drivers.sim.parts import PARTS
from spikeline.pipeline.config import load_preset, parse
from spikeline.pipeline.training.clips import ClipSet
from spikeline.pipeline.training.data import cut_of, hold_out, load_set
from spikeline.pipeline.training.loop import train
from spikeline.pipeline.training.machine import Machine
from spikeline.pipeline.training.measure import measure
from spikeline.pipeline.training.sets import open_set
from spikeline.pipeline.training.settings import TrainConfig

REAL_HELD = 0.2  # of the real clips, for the row that trains on the others


def settings(asked: argparse.Namespace, seed: int) -> TrainConfig:
    """The preset `nmnist`, cut down so that a run takes a minute or two of one core."""
    table, name = load_preset("nmnist")
    table.pop("note", None)
    table.pop("needs", None)
    config = parse(TrainConfig, table, name)
    narrow = {**config.network.settings, "channels": [16, 32, 64], "hidden": [64]}
    network = replace(config.network, settings=narrow)
    return replace(config, network=network, epochs=asked.epochs, seed=seed, precision="float32")


def fit(config: TrainConfig, clips: ClipSet, watched: ClipSet, test: ClipSet) -> float:
    """Train on `clips`; the share of `test` that is right."""
    machine = Machine(torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        network = train(config, clips, watched, Path(folder) / "run", machine=machine)
    return measure(network, test, config, machine).accuracy


def support_vectors(clips: ClipSet, test: ClipSet) -> float:
    """The share of `test` that support vectors on each clip's summed frame have right: no seed in it."""
    from sklearn.svm import SVC

    def features(chosen: ClipSet) -> np.ndarray:
        frames = np.stack([chosen.clip(i).sum((0, 1), dtype=np.float64) for i in range(len(chosen))])
        padded = np.pad(frames, ((0, 0), (1, 1), (1, 1)))
        height, width = frames.shape[1:]
        around = sum(padded[:, a : a + height, b : b + width] for a in range(3) for b in range(3))
        return np.sqrt(around).reshape(len(chosen), -1)

    return float(SVC(C=3.0).fit(features(clips), clips.labels).score(features(test), test.labels))


def changes_anything(one: Any, other: Any) -> bool:
    """Whether the cameras of two simulated sets differ."""
    a, b = (data.draw("train", 0) for data in (one, other))
    return (a.camera, a.readout) != (b.camera, b.readout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", required=True, help="the real set, such as npz:FILE")
    parser.add_argument("--clips", type=int, default=1_000, help="simulated clips to train on")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=1, help="runs of the network per row; 0: none")
    parser.add_argument("--level", default="normal")
    parser.add_argument("--only", default="", help="rows: real, full, and parts of the pixel model")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    config = settings(asked, 1)
    cut = cut_of(config.data)
    real = load_set(open_set(asked.real), cut, asked.cache, workers=1)
    rows: dict[str, Any] = {}
    names = [name for name in asked.only.split(",") if name] or ["real", "full", *PARTS]
    print(
        "| trained on | network, mean | its runs | support vectors | s |\n|---|---|---|---|---|", flush=True
    )
    for name in names:
        began = time.monotonic()
        if name == "real":
            chosen, held = hold_out(real.labels, real.persons, REAL_HELD, 1)
            clips, test, title = (
                real.take(chosen),
                real.take(held),
                f"{len(chosen)} real, on {len(held)} others",
            )
        else:
            off = "" if name == "full" else f"&off={name}"
            source = f"sim:digits?seed=1&level={asked.level}&split=train&clips={asked.clips}{off}"
            chosen_set = open_set(source)
            if name != "full" and not changes_anything(chosen_set, open_set(source.replace(off, ""))):
                print(f"| no {name} | as the whole model: this camera has none | | | |", flush=True)
                continue
            clips, test = load_set(chosen_set, cut, asked.cache, workers=1), real
            title = f"{asked.clips} simulated" + ("" if name == "full" else f", no {name}")
        machine = support_vectors(clips, test)
        watched = clips.take(np.arange(0, len(clips), 20))
        runs = [fit(replace(config, seed=1 + k), clips, watched, test) for k in range(asked.seeds)]
        mean = f"{np.mean(runs):.1%}" if runs else "-"
        seconds = time.monotonic() - began
        rows[name] = {"network": runs, "support_vectors": machine, "tested": len(test), "seconds": seconds}
        each = ", ".join(f"{run:.1%}" for run in runs)
        print(f"| {title} | {mean} | {each} | {machine:.1%} | {seconds:.0f} |", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
