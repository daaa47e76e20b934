"""A set whose clips are recordings, or stretches of recordings, in any format that `spikeline` reads.

The layouts of the other files here only say which recordings there are; all are read by the live drivers.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spikeline.drivers import open_source
from spikeline.drivers import uri as grammar
from spikeline.pipeline.events import EventPacket, Sensor, Source, SourceError, SourceReport
from spikeline.pipeline.training.dataset import Clip, DataSet
from spikeline.pipeline.training.sets.files import sensor_option, stamp

COMMON = ("split", "sensor", "damaged")  # options of every set of recordings


class Stretch(NamedTuple):
    """A clip on disk: a file below the set's folder, from start_us up to but without stop_us where given."""

    file: str
    label: int
    person: int = -1
    split: str = ""
    start_us: int | None = None
    stop_us: int | None = None


class RecordingSet(DataSet):
    """Recordings of one sensor. Where the user names its size, smaller ones are put in its middle.

    form  options that tell the driver what the files are, as in a source's URI
    A recording that is damaged is refused, unless `damaged` is `take`: then what can be read is taken.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        stretches: Iterable[Stretch],
        labels: tuple[str, ...],
        options: Mapping[str, str],
        where: str,
        *,
        sensor: Sensor | None = None,
        form: str = "",
        flipped: tuple[int, ...] | None = None,
    ) -> None:
        self.name, self.root, self.labels, self.flipped = name, root, labels, flipped
        self._form = form
        self._named = sensor_option(options, where)
        self._assumed = self._named or sensor
        self._take_damaged = grammar.choice(options, "damaged", ("take",), where) is not None
        self._stretches = {_key(stretch): stretch for stretch in stretches}
        if not self._stretches:
            raise SourceError(f"{where}: no recording in {root}; wanted some (docs/data.md has the layout)")
        self.clips = tuple(Clip(key, s.label, s.person, s.split) for key, s in self._stretches.items())
        files = dict.fromkeys(root / stretch.file for stretch in self._stretches.values())
        if missing := [file for file in files if not file.is_file()]:
            raise SourceError(
                f"{where}: {missing[0]} is missing, {len(missing)} files of {len(files)} in all"
            )
        with self._open(next(iter(files))) as source:
            self.sensor = self._named or source.sensor
        self.key = stamp(f"{form} {self.sensor[:2]} {self._take_damaged}", root, files)

    def packets(self, clip: Clip) -> Iterator[EventPacket]:
        stretch = self._stretches[clip.key]
        file = self.root / stretch.file
        self.report = report = SourceReport()
        with self._open(file) as source:
            width, height = source.sensor[:2]
            right, down = (self.sensor.width - width) // 2, (self.sensor.height - height) // 2
            if right < 0 or down < 0 or (not self._named and (width, height) != self.sensor[:2]):
                raise SourceError(
                    f"{file}: its sensor is {width}x{height}; the set's is {self.sensor.width}x"
                    f"{self.sensor.height}; say sensor=WxH to put smaller ones into the middle of one size"
                )
            known = len(source.report().damage)  # of the file as a whole, such as its name
            for packet in _within(source, stretch, report):
                if right or down:
                    packet = EventPacket(
                        packet.t,
                        packet.x + np.uint16(right),
                        packet.y + np.uint16(down),
                        packet.p,
                        packet.until_us,
                        packet.epoch,
                        packet.origin_us,
                    )
                report.events += len(packet)
                yield packet
            found = source.report()
            if (found.truncated or len(found.damage) > known) and not self._take_damaged:
                line = (found.damage[known:] or ["it is cut"])[0]
                raise SourceError(f"{file}: damaged: {line}; say damaged=take to take what can be read")

    def _open(self, file: Path) -> Source:
        uri = f"{file}?{self._form}" if self._form else str(file)
        if self._assumed is None:
            return open_source(uri)
        try:
            return open_source(uri)
        except SourceError:  # most likely for want of a size
            return open_source(uri, sensor=self._assumed)


def _within(source: Source, stretch: Stretch, report: SourceReport) -> Iterator[EventPacket]:
    """The packets of the stretch as one epoch; counts what the source refused around it."""
    start_us, stop_us = stretch.start_us, stretch.stop_us
    if start_us is None or stop_us is None:
        for packet in source:
            report.refused = source.report().refused
            yield packet
        report.refused = source.report().refused
        return
    refused = 0
    epoch: int | None = None
    for packet in source:
        if packet.until_us < start_us:
            refused = source.report().refused
            continue
        if epoch is not None and packet.epoch != epoch:  # the clock was reset: these are other times
            return
        epoch = packet.epoch
        first, last = (int(k) for k in np.searchsorted(packet.t, (start_us, stop_us)))
        report.refused = source.report().refused - refused
        part = packet.part(first, last, min(packet.until_us, stop_us))
        part.epoch, part.origin_us = 0, None
        yield part
        if packet.until_us >= stop_us:
            return


def _key(stretch: Stretch) -> str:
    if stretch.start_us is None:
        return stretch.file
    return f"{stretch.file} {stretch.start_us} to {stretch.stop_us} us"
