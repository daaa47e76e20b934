"""spikeline record SOURCE FILE: a camera's packets into a file, without a model."""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from spikeline.drivers import base_of, keeps_time, open_source
from spikeline.drivers.recording import Recording, open_recorder
from spikeline.pipeline.commands.live import endless
from spikeline.pipeline.commands.options import Json, SensorSize, exit_code, sensor_of
from spikeline.pipeline.commands.progress import bar
from spikeline.pipeline.commands.recorder import source_run
from spikeline.pipeline.commands.replay import print_json
from spikeline.pipeline.commands.stopping import stopping
from spikeline.pipeline.events import EventPacket, Source
from spikeline.pipeline.live import Queued


def record(
    source: Annotated[
        str, typer.Argument(help="dv://host:port, sim:gesture?seed=1, or a recording.", show_default=False)
    ],
    file: Annotated[
        Path, typer.Argument(help="The new .mcap (or .npz); nothing is replaced.", show_default=False)
    ],
    seconds: Annotated[float, typer.Option(min=0, help="Stop after so long; 0 is never.")] = 0.0,
    sensor: SensorSize = "",
    json: Json = False,
) -> None:
    """Record a source: packets, clock marks and what was lost, in a file that is whole at any moment.

    Ctrl-C ends it. A killed recorder loses at most the last 100 ms or 64 KiB; when the disk is full, what
    was recorded stays and the exit code is 1.

    Example: spikeline record dv://127.0.0.1:7777 walk.mcap --seconds 60
    """
    uri = endless(source)
    simulated = base_of(uri).startswith("sim:")
    opened: Source = open_source(uri, sensor=sensor_of(sensor), speed=1.0 if simulated else 0.0)
    if simulated or keeps_time(uri):
        opened = Queued(opened)
    with opened:
        about = partial(source_run, source, opened)
        recorder = open_recorder(file, opened.sensor, run=about, report=opened.report)
        loop = Loop(opened, recorder, seconds)
        try:
            with stopping(loop) as signals, bar() as progress:
                task = progress.add_task("events", total=None)
                for packet in loop:
                    progress.advance(task, len(packet))
        finally:
            events = recorder.close(report=opened.report())
    if recorder.stopped:
        print(f"spikeline: {recorder.stopped}", file=sys.stderr)
    report = asdict(opened.report())
    facts = {"source": source, "file": str(file), "bytes": os.path.getsize(file), "events": events}
    if json:
        print_json({**facts, "recorder": recorder.stopped or "recording", "report": report})
    else:
        print_facts(facts, report)
    if signals:
        raise typer.Exit(128 + signals[0])
    if code := max(exit_code(opened.report()), int(recorder.stopped != "")):
        raise typer.Exit(code)


class Loop:
    """Packets of the source, recorded as they pass; ends when it is told to, or nothing more can be kept."""

    def __init__(self, source: Source, recorder: Recording, seconds: float) -> None:
        self._source, self._recorder = source, recorder
        self._stopping = False
        self._limit_ns = seconds * 1e9 or float("inf")

    def stop(self) -> None:
        self._stopping = True

    def __iter__(self) -> Iterator[EventPacket]:
        begun_ns, waiting = time.monotonic_ns(), True
        for packet in self._source:
            if waiting and packet.epoch >= 0:  # a camera takes its time to start
                begun_ns, waiting = time.monotonic_ns(), False
            if self._stopping or self._recorder.stopped or time.monotonic_ns() - begun_ns >= self._limit_ns:
                return
            self._recorder.add(packet, getattr(self._source, "arrival_ns", None))
            yield packet


def print_facts(facts: dict[str, Any], report: dict[str, Any]) -> None:
    print(f"{facts['file']}: {facts['events']:,} events, {facts['bytes']:,} bytes")
    said = [f"{report[name]:,} {name}" for name in ("dropped", "refused", "reordered") if report[name]]
    if said:
        print("not as they came: " + ", ".join(said))
