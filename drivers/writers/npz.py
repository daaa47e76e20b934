"""Our `.npz` recordings: clock marks, epochs and origins are kept. All events are in memory until the end."""

from pathlib import Path

from spikeline.drivers.recording import Recorder
from spikeline.pipeline.events import EventPacket, Sensor, Source


class NpzWriter:
    def __init__(self, path: str | Path, sensor: Sensor, *, overwrite: bool = False) -> None:
        self._recorder = Recorder(path, sensor, overwrite=overwrite)
        self._source: Source | None = None

    def about(self, source: Source) -> None:
        """Where the packets come from, which also says what was lost on the way."""
        self._source = source

    def add(self, packet: EventPacket) -> None:
        self._recorder.add(packet)

    def close(self) -> int:
        return self._recorder.close(report=self._source.report() if self._source else None)

    def discard(self) -> None:
        """Nothing has been written yet."""
