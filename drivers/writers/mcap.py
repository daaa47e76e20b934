"""Our MCAP recordings of packets that are there already: log times are the sensor's, so that the same
packets give the same bytes. A copy of a recording of ours keeps its predictions too."""

from pathlib import Path

import msgspec

from spikeline.drivers.formats.mcap import McapSource
from spikeline.drivers.mcap_recorder import McapRecorder, plain_run
from spikeline.drivers.writers.partial import Partial
from spikeline.pipeline.events import EventPacket, Sensor, Source, SourceError, SourceReport


class McapWriter:
    def __init__(self, path: str | Path, sensor: Sensor, *, overwrite: bool = False) -> None:
        self._partial = Partial(path, overwrite=overwrite)
        self._run = plain_run(sensor)
        self._source: Source | None = None
        self._recorder = McapRecorder(
            self._partial.path, sensor, run=lambda: self._run, report=self._report, by_sensor_clock=True
        )

    def about(self, source: Source) -> None:
        """Before the first packet: where they come from, which also says what was lost on the way."""
        self._source = source
        self._run.format = source.format
        if isinstance(source, McapSource) and source.run:
            self._run = msgspec.structs.replace(source.run)

    def add(self, packet: EventPacket) -> None:
        self._predictions()
        self._recorder.add(packet)
        self._check()

    def close(self) -> int:
        self._predictions()
        end = self._source.end if isinstance(self._source, McapSource) else None
        if end is None or self._report().damage:  # a digest of predictions that are not all there
            events = self._recorder.close(report=self._report())
        else:
            events = self._recorder.close(end.digest, self._report(), end.digest_input, end.clean_up)
        self._check()
        self._partial.commit()
        return events

    def discard(self) -> None:
        self._recorder.close()
        self._partial.discard()

    def _report(self) -> SourceReport:
        return self._source.report() if self._source else SourceReport()

    def _predictions(self) -> None:
        for data in self._source.said if isinstance(self._source, McapSource) else ():
            self._recorder.prediction(data)

    def _check(self) -> None:
        if why := self._recorder.stopped:
            self._partial.discard()
            raise SourceError(f"{self._partial.target}: {why.partition(': ')[2]}")
