"""The continuous part of `spikeline evaluate`: whole streams, run as live, against their truth."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec

from spikeline.drivers.sim import GESTURES
from spikeline.pipeline.commands.evaluate_asked import Asked, decision
from spikeline.pipeline.commands.options import say
from spikeline.pipeline.commands.progress import clips_progress
from spikeline.pipeline.commands.session import open_pipeline
from spikeline.pipeline.config import ConfigError
from spikeline.pipeline.energy import paper_pj
from spikeline.pipeline.events import Sensor
from spikeline.pipeline.package import Package
from spikeline.pipeline.run import RunConfig
from spikeline.pipeline.tracks import track
from spikeline.pipeline.truth import TruthError, performances, read_truth
from spikeline.pipeline.tuning import Stream, choose, figures, frontier, sweep, tuned

STREAM = "sim:stream"
STREAM_S = 60  # one person before one camera; more and shorter streams show more of both

Progress = Callable[[int, int], None]


def simulated_streams(base: str, split: str, seed: int, minutes: int) -> list[str]:
    """URIs of so many minutes in which something is performed, and of as many in which nothing is; of one
    class alone where the base names it."""
    uris, said = [], base.partition("?")[2]
    for only in ("",) if "class=" in said else ("", "none"):
        for k in range(minutes):
            wanted = {"seed": f"{seed + k}", "split": split, "duration_s": f"{STREAM_S}", "class": only}
            added = [f"{name}={value}" for name, value in wanted.items() if value and f"{name}=" not in said]
            uris.append(base + ("&" if said else "?") + "&".join(added))
    return uris


def run_streams(
    uris: Sequence[str],
    package: Package,
    config: RunConfig,
    *,
    truth: Path | None = None,
    sensor: Sensor | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> list[Stream]:
    """Each stream once through the network, on all cores; in the order of the URIs."""
    workers = at_a_time(len(uris), workers, config.threads)
    job = (str(package.path), config, truth, sensor)
    if workers <= 1:
        done = []
        for uri in uris:
            done.append(run_stream(uri, *job))
            if progress:
                progress(len(done), len(uris))
        return done
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(run_stream, uri, *job): uri for uri in uris}
        try:
            for count, future in enumerate(as_completed(jobs), 1):
                future.result()
                if progress:
                    progress(count, len(uris))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in jobs]


def at_a_time(streams: int, workers: int, threads: int) -> int:
    """How many streams are run at once: so many workers, or as many as have a core for each thread."""
    return min(workers or max(1, (os.cpu_count() or 1) // threads), streams)


def run_stream(uri: str, model: str, config: RunConfig, truth: Path | None, sensor: Sensor | None) -> Stream:
    """One stream through the pipeline that `live` and `replay` use. Its truth is the file's, or its own."""
    with open_pipeline(uri, model, config=config, sensor=sensor) as session:
        labels = session.package.manifest.labels
        if truth is None and not hasattr(session.source, "truth"):
            raise TruthError(f"{uri}: does not say what happens in it; wanted --truth FILE")
        rows = read_truth(truth, labels) if truth is not None else []
        followed = track(session, uri, windowed=session.pipeline.engine.windowed)
    damaged = session.exit_code() != 0
    if truth is None:
        names = getattr(session.source, "labels", GESTURES)
        rows = performances(session.source.truth, names, labels, uri)  # type: ignore[attr-defined]
    pipeline = session.pipeline
    return Stream(uri, pipeline.engine.name, followed, rows, damaged, pipeline.clipped)


def activity(streams: Sequence[Stream]) -> dict[str, Any]:
    """What the network did per second of stream, on average, and its power by the papers' arithmetic."""
    seconds = sum(int(s.track.end_us[-1] - s.track.start_us[0]) for s in streams) / 1e6
    windows = sum(len(s.track) for s in streams)
    synops, mac = (sum(getattr(s.track, name) for s in streams) for name in ("synops", "mac"))
    return {
        "windows": windows,
        "skip_ratio": sum(s.track.skipped for s in streams) / windows,
        "spikes_per_second": sum(s.track.spikes for s in streams) / seconds,
        "synops_per_second": synops / seconds,
        "mac_per_second": mac / seconds,
        "power_paper_uw": paper_pj(mac, synops) * 1e-6 / seconds,
    }


def engine_facts(streams: Sequence[Stream]) -> dict[str, Any]:
    """Which engine ran them, and how many membranes one of whole numbers clipped in all of them."""
    return {"engine": streams[0].engine, "clipped": sum(s.clipped for s in streams)}


def streams_part(asked: Asked, package: Package) -> dict[str, Any]:
    """The continuous figures of a model, and on what they were measured."""
    streams, data = _run(asked, package, asked.split)
    manifest = package.manifest
    own = asked.threshold is None and asked.hold_us is None
    config = decision(asked, package)
    return {
        "data": data,
        **engine_facts(streams),
        "damaged_streams": sum(s.damaged for s in streams),
        "threshold": config.threshold,
        "hold_us": config.hold_us,
        "settings_from": ("the model's" if manifest.tuned else "the model's, not tuned")
        if own
        else "as asked",
        **figures(streams, manifest.labels, config).as_dict(manifest.labels),
        **activity(streams),
    }


def _run(asked: Asked, package: Package, split: str) -> tuple[list[Stream], str]:
    """The streams that were asked for, run, and what they are. Windows are skipped as `live` would."""
    base = asked.data or STREAM
    timed = "duration_s=" in base
    if asked.truth is None and base.startswith("sim:") and not timed:
        uris = simulated_streams(base, split, asked.seed, asked.minutes)
        last = asked.seed + asked.minutes - 1
        data = f"{len(uris)} streams of a minute: {uris[0]} to seed {last}"
        data += ", and with class=none" if len(uris) > asked.minutes else ""
    else:
        uris, data = [base], base if asked.truth is None else f"{base} with {asked.truth}"
    if asked.skip_ratio:
        say("--skip-ratio is of clips: streams are served whole, or skipped by --gate")
    config = RunConfig(engine=asked.engine, gate=asked.gate, threads=asked.threads, early=asked.early)
    with clips_progress("running streams") as progress:
        done = run_streams(
            uris,
            package,
            config,
            truth=asked.truth,
            sensor=asked.sensor,
            workers=asked.workers,
            progress=progress,
        )
    return done, data


def tune_part(
    asked: Asked, package: Package, path: Path, most_false: float
) -> tuple[Package, dict[str, Any]]:
    """Choose threshold and hold time on validation streams, and write the package with them to `path`."""
    if "split=" in asked.data:
        raise ConfigError(f"--tune: {asked.data} names its split; wanted it without, for validation people")
    streams, data = _run(asked, package, "validation")
    rows = sweep(streams, package.manifest.labels, package.manifest.dt_us)
    chosen = choose(rows, most_false)
    path.parent.mkdir(parents=True, exist_ok=True)
    package = tuned(package, path, chosen, data, most_false)
    record = package.manifest.tuned
    assert record is not None
    facts = {
        "written": str(path),
        **engine_facts(streams),
        **asdict(chosen.config),
        **msgspec.structs.asdict(record),
        "frontier": [
            asdict(row.config) | {"f1_macro": row.macro, "false_per_hour": row.false_per_hour}
            for row in frontier(rows)
        ],
    }
    return package, facts
