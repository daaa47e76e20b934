"""spikeline info FILE: what a recording holds."""

import hashlib
from typing import Any

import msgspec
import numpy as np
import typer

from spikeline.drivers import open_source
from spikeline.pipeline.commands.options import Json, SensorSize, SourceArgument, exit_code, sensor_of
from spikeline.pipeline.events import Source


def info(source: SourceArgument, sensor: SensorSize = "", json: Json = False) -> None:
    """Say what a recording holds: format, sensor, events, span, what was refused, digest.

    Example: spikeline info hand.aedat4 --json
    """
    with open_source(source, sensor=sensor_of(sensor)) as opened:
        facts = describe(opened)
    if json:
        print(msgspec.json.encode(facts).decode())
    else:
        for name, value in facts.items():
            print(f"{name:12s} {'-' if value is None else value}")
    if code := exit_code(opened.report()):
        raise typer.Exit(code)


def describe(source: Source) -> dict[str, Any]:
    """Read the source to its end. Times are absolute and unwrapped, microseconds.

    digest: SHA-256 of the SHA-256 digests of all t `<i8`, x `<u2`, y `<u2`, p `u1`, in that order.
    """
    hashes = [hashlib.sha256() for _ in range(4)]
    first = last = None
    on = events = 0
    for packet in source:
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
