"""What is left of a broken recording, and how much is not: `spikeline info --recover`."""

import os
import re
from typing import Any

from spikeline.drivers import open_source
from spikeline.drivers.formats import FORMATS, extension_of
from spikeline.drivers.formats.npz_rest import NpzRest
from spikeline.pipeline.events import Sensor, Source, SourceError, SourceReport

RANGE = re.compile(r"bytes (\d+) to (\d+): ")
EVENTS = re.compile(r"(\d+) events are lost|(no) events are lost")


def open_broken(uri: str, sensor: Sensor | None) -> Source:
    """The source; of a file whose first bytes do not say its format any more, by the ending of its name."""
    try:
        return open_source(uri, sensor=sensor)
    except SourceError as error:
        ending = extension_of(uri).removeprefix(".")
        if not os.path.isfile(uri) or ending not in FORMATS:
            raise
        if "has lost its table of contents" in str(error):
            return NpzRest(uri, sensor=sensor)
        try:
            return open_source(f"{uri}?format={ending}", sensor=sensor)
        except SourceError:
            raise error from None


def losses(uri: str, report: SourceReport) -> dict[str, Any]:
    """Bytes and events that could not be read; `events_lost` is None where the format does not tell."""
    ranges = sorted((int(a), int(b)) for line in report.damage for a, b in RANGE.findall(line))
    lost = reached = 0
    for start, stop in ranges:
        lost += max(0, stop - max(start, reached))
        reached = max(reached, stop)
    told = [EVENTS.search(line) for line in report.damage if not line.startswith("named ")]
    known = bool(told) and told[-1] is not None
    return {
        "bytes": os.path.getsize(uri) if os.path.isfile(uri) else report.bytes,
        "bytes_lost": lost,
        "events_lost": sum(int(found[1] or 0) for found in told if found) if known or not told else None,
    }
