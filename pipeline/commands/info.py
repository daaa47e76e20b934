"""spikeline info FILE: what a recording holds."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from spikeline.drivers import open_source
from spikeline.drivers.mcap_layout import End, Run
from spikeline.drivers.writers import Writer, open_writer
from spikeline.pipeline.commands.convert import written
from spikeline.pipeline.commands.options import Json, SensorSize, SourceArgument, exit_code, sensor_of
from spikeline.pipeline.commands.recovery import losses, open_broken
from spikeline.pipeline.config import ConfigError
from spikeline.pipeline.events import Source


def info(
    source: SourceArgument,
    sensor: SensorSize = "",
    recover: Annotated[
        bool, typer.Option("--recover", help="Read what is left of a broken file, and say how much is lost.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="With --recover: write it as this new file.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Say what a recording holds: format, sensor, events, span, what was refused, digest.

    With --recover, also of a file that cannot be opened otherwise, as far as anything in it makes sense.

    Example: spikeline info hand.aedat4 --json
    """
    if out is not None and not recover:
        raise ConfigError(f"--out {out}: wanted with --recover; `spikeline convert` writes whole recordings")
    size = sensor_of(sensor)
    with open_broken(source, size) if recover else open_source(source, sensor=size) as opened:
        facts = describe(opened, partial(open_writer, out, opened.sensor) if out else None)
    facts |= recorded(opened)
    if recover:
        facts |= losses(source, opened.report())
    if json:
        print(msgspec.json.encode(facts).decode())
    else:
        for name, value in facts.items():
            print(f"{name:12s} {'-' if value is None else value}")
    if code := exit_code(opened.report()):
        raise typer.Exit(code)


def recorded(source: Source) -> dict[str, Any]:
    """Of a recording of ours, where it came from and what predicted; `predictions` is their digest."""
    run: Run | None = getattr(source, "run", None)
    end: End | None = getattr(source, "end", None)
    if run is None:
        return {}
    return {
        "recorded": run.source or None,
        "model": run.model or None,
        "predictions": (end and end.digest) or None,
    }


def describe(source: Source, opener: Callable[[], Writer] | None = None) -> dict[str, Any]:
    """Read the source to its end, and write it if asked to. Times are absolute and unwrapped, microseconds.

    digest: SHA-256 of the SHA-256 digests of all t `<i8`, x `<u2`, y `<u2`, p `u1`, in that order.
    """
    hashes = [hashlib.sha256() for _ in range(4)]
    first = last = None
    on = events = 0
    for packet in source if opener is None else written(source, opener):
        if not len(packet):
            continue
        if first is None:
            first = int(packet.t[0])
        last = int(packet.t[-1])
        events += len(packet)
        on += int(packet.p.sum())
        columns = ((packet.t, "<i8"), (packet.x, "<u2"), (packet.y, "<u2"), (packet.p, "u1"))
        for digest, (column, kind) in zip(hashes, columns, strict=True):
            digest.update(np.ascontiguousarray(column, kind).data)
    report = source.report()
    return {
        "format": source.format,
        "width": source.sensor.width,
        "height": source.sensor.height,
        "events": events,
        "t_first_us": first,
        "t_last_us": last,
        "on": on,
        "off": events - on,
        "refused": report.refused,
        "reordered": report.reordered,
        "epochs": report.epochs,
        "truncated": report.truncated,
        "damage": report.damage,
        "digest": hashlib.sha256(b"".join(h.digest() for h in hashes)).hexdigest(),
    }
