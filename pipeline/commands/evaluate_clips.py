"""The clip part of `spikeline evaluate`: labelled clips, one answer each."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.binning import Binner, pixel_map
from spikeline.pipeline.clean_up import CleanUp
from spikeline.pipeline.clean_up_settings import chosen
from spikeline.pipeline.commands.evaluate_asked import Asked
from spikeline.pipeline.commands.options import say
from spikeline.pipeline.commands.progress import clips_progress
from spikeline.pipeline.config import ConfigError
from spikeline.pipeline.engines import Engine
from spikeline.pipeline.evaluation import Evaluation, Sample, evaluate
from spikeline.pipeline.gate import threshold_for
from spikeline.pipeline.package import Package, load_package
from spikeline.pipeline.protocols import PROTOCOLS, ten_stretches
from spikeline.pipeline.run_settings import RunConfig, served_engine
from spikeline.pipeline.training.clips import ClipSet
from spikeline.pipeline.training.data import CutConfig, load_set
from spikeline.pipeline.training.dataset import DataSet
from spikeline.pipeline.training.sets import open_set
from spikeline.pipeline.training.splits import classes_in_turn

SLICE_US = 25_000  # of the frames in the cache, as training has them
LEAST_SLICE_US = 5_000
CLIP_US = 1_800_000  # of a simulated clip
SIMULATED = "sim:gesture"
CLIPS = 480  # simulated ones, where nobody says


class Clips:
    """The clips of a set that a model is judged on, as samples for `evaluate`; read as often as one likes."""

    def __init__(self, asked: Asked, package: Package) -> None:
        manifest = package.manifest
        self.protocol = next(name for name in PROTOCOLS if name == asked.protocol)
        self.cache = asked.cache
        uri = set_uri(asked.data or SIMULATED, package, asked.split, asked.clips, asked.seed)
        self.data = open_set(uri)
        self.rows = _rows(self.data, uri, asked.split, asked.clips)
        self.names = _agree(self.data, package)
        self.about = f"{self.data.name} ({uri})"
        self.shorter = 0
        self._frames: dict[tuple[object, ...], ClipSet] = {}
        if CleanUp(chosen(manifest.clean_up, ""), self.data.sensor).sensor[:2] != tuple(manifest.sensor):
            found = self.data.sensor
            raise ConfigError(
                f"{uri}: its sensor is {found.width}x{found.height}, model {manifest.name} was trained on"
                f" {manifest.sensor[0]}x{manifest.sensor[1]}"
            )

    def samples(self, package: Package) -> Iterator[Sample]:
        """Frames and label, as this package cuts them; ten per clip under a protocol of ten."""
        manifest, steps = package.manifest, package.graph.steps
        if self.protocol != "first":
            yield from self._stretches(package)
            return
        frames = self._cut(package)
        self.shorter = frames.shorter_than(steps * manifest.dt_us)
        for i, sample in frames.windows(manifest.dt_us, steps):
            yield sample, self.names[int(frames.labels[i])]

    def _cut(self, package: Package) -> ClipSet:
        manifest = package.manifest
        slice_us = math.gcd(SLICE_US, manifest.dt_us)
        cut = CutConfig(
            slice_us=slice_us if slice_us >= LEAST_SLICE_US else manifest.dt_us,
            grid=manifest.grid,
            clean_up=tuple(manifest.clean_up),
        )
        key = (cut.slice_us, cut.grid, cut.clean_up)
        if key not in self._frames:
            with clips_progress("reading clips") as progress:
                self._frames[key] = load_set(self.data, cut, self.cache, chosen=self.rows, progress=progress)
        return self._frames[key]

    def _stretches(self, package: Package) -> Iterator[Sample]:
        manifest = package.manifest
        clean_up = CleanUp(chosen(manifest.clean_up, ""), self.data.sensor)
        binner = Binner(
            pixel_map(clean_up.sensor, manifest.sensor, manifest.grid, manifest.fit), manifest.grid
        )
        with clips_progress("reading clips") as progress:
            for done, i in enumerate(self.rows.tolist(), 1):
                clip = self.data.clips[i]
                clean_up.reset()
                for frames in ten_stretches(
                    self.data.packets(clip), clean_up, binner, manifest.dt_us, package.graph.steps
                ):
                    yield frames, self.names[clip.label]
                progress(done, len(self.rows))


def set_uri(uri: str, package: Package, split: str, clips: int, seed: int) -> str:
    """A simulated set with what the command line says about it and the URI does not."""
    if not uri.startswith("sim:"):
        return uri
    said = uri.partition("?")[2]
    wanted = {"seed": f"{seed}", "split": split, "clips": f"{clips or CLIPS}"}
    if uri.startswith("sim:gesture"):
        length_us = max(CLIP_US, package.graph.steps * package.manifest.dt_us)
        wanted["duration_s"] = f"{length_us / 1e6}"
    added = "&".join(f"{name}={value}" for name, value in wanted.items() if f"{name}=" not in said)
    return uri + ("&" if said and added else "?" if added else "") + added


def _rows(data: DataSet, uri: str, split: str, clips: int) -> NDArray[np.int64]:
    """The clips of the split, where the set has splits and its URI does not name one; else all of them."""
    rows = np.arange(len(data.clips))
    named = "split=" in uri.rpartition("?")[2]
    if not named and any(clip.split for clip in data.clips):
        rows = np.array([i for i, clip in enumerate(data.clips) if clip.split == split], np.int64)
    if len(rows) == 0:
        found = ", ".join(sorted({clip.split for clip in data.clips})) or "no clips"
        raise ConfigError(f"{data.name}: no clip is of split {split}; found {found}; choose with --split")
    if clips and clips < len(rows):
        rows = rows[classes_in_turn([data.clips[i].label for i in rows], clips)]
    return rows


def _agree(data: DataSet, package: Package) -> list[int]:
    """The model's number of each of the set's classes."""
    labels = package.manifest.labels
    if missing := [name for name in data.labels if name not in labels]:
        raise ConfigError(
            f"{data.name}: its classes {', '.join(missing)} are none of model {package.manifest.name},"
            f" which knows {', '.join(labels)}"
        )
    return [labels.index(name) for name in data.labels]


def clips_part(asked: Asked, package: Package) -> dict[str, Any]:
    """The figures per clip of a model, and on what they were measured."""
    clips, manifest = Clips(asked, package), package.manifest
    runner = _engine(asked, package, asked.threads)
    if asked.early:
        say("--early is of streams: clips are whole frames")
    threshold = threshold_for(manifest.gate_thresholds, asked.gate) if asked.gate else None

    def measured(**changes: Any) -> Evaluation:
        return evaluate(
            runner,
            clips.samples(package),
            protocol=clips.protocol,
            skip_ratio=asked.skip_ratio,
            gate_threshold=threshold,
            rule=manifest.skip.rule if manifest.skip else "idle",
            **changes,
        )

    result = measured()
    facts = {"data": clips.about, "engine": runner.name, "protocol": clips.protocol, "shorter": clips.shorter}
    facts |= result.as_dict(manifest.labels)
    controls = [("shuffled", "shuffle", asked.shuffle), ("reset", "reset_each_step", asked.reset_each_step)]
    facts["controls"] = {
        name: _brief(measured(**{option: True}), manifest.labels)
        for name, option, wanted in controls
        if wanted
    }
    if asked.against:
        facts |= _against(asked, clips, result)
    return facts


def _against(asked: Asked, clips: Clips, result: Evaluation) -> dict[str, Any]:
    """MA-SNN's r_EE: the paper energy of a sample in another network over that in this one. One thread: the
    other network may have no use for more, and its figures are the same."""
    other = load_package(asked.against)
    found = evaluate(_engine(asked, other, threads=1), clips.samples(other), protocol=clips.protocol)
    r_ee = found.energy_uj / result.energy_uj
    return {"against": asked.against, "r_ee": r_ee, "against_clipped": found.clipped}


def _engine(asked: Asked, package: Package, threads: int) -> Engine:
    return served_engine(package, package.graph, "window", RunConfig(engine=asked.engine, threads=threads))


def _brief(result: Evaluation, labels: list[str]) -> dict[str, Any]:
    facts = result.as_dict(labels)
    names = ("accuracy", "accuracy_low", "accuracy_high", "accuracy_at", "clipped")
    return {name: facts[name] for name in names}
