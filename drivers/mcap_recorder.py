"""Packets, predictions and accounts into an MCAP recording, while they come. Memory does not grow.

A recorder that cannot write (a full disk) stops, keeps what it has, and says why in `stopped`; it raises
nothing, for the predictions go on.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from spikeline.drivers.mcap_file import McapFile
from spikeline.drivers.mcap_layout import (
    ACCOUNT,
    CHUNK_NS,
    END,
    PACKET,
    PREDICTION,
    RUN,
    VERSION,
    Account,
    End,
    Prediction,
    Run,
)
from spikeline.drivers.packet_form import check_packet, packet_bytes
from spikeline.pipeline.events import EventPacket, Sensor, SourceError, SourceReport

PART_EVENTS = 4_900  # a longer packet is recorded in parts, each in a chunk of its own
ACCOUNT_BYTES = 512  # kept free for it at the end of every chunk
PROGRAM = "spikeline"
NS_MOST = (1 << 64) - 1

_json = msgspec.json.Encoder().encode


class McapRecorder:
    """`add` and `window` while things happen, `close` at the end. One thread at a time.

    run      makes the run's description, when the first packet comes
    report   what the source has lost so far; asked once per chunk
    by_sensor_clock  log times are the sensor's, from 0 on, not the host's: the same packets give the same
             bytes
    stopped  "" while all is well, else one line
    """

    def __init__(
        self,
        path: str | Path,
        sensor: Sensor,
        *,
        run: Callable[[], Run] | None = None,
        report: Callable[[], SourceReport] | None = None,
        compression: str = "zstd",
        by_sensor_clock: bool = False,
    ) -> None:
        self.path = Path(path)
        self.sensor = sensor
        self.stopped = ""
        self._make_run = run or (lambda: plain_run(sensor))
        self._run: Run | None = None
        self._report = report or SourceReport
        self._events = self._packets = self._windows = 0
        self._sure = 0  # events in whole chunks
        self._begun_ns = 0  # of the open chunk, on the monotonic clock
        self._unix_ns = time.time_ns() - time.monotonic_ns()
        self._clock = _SensorClock() if by_sensor_clock else None
        try:
            self._file = McapFile(self.path, PROGRAM, compression=compression, sync=not by_sensor_clock)
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be written: {error.strerror or error}") from error

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._file.size

    def add(self, packet: EventPacket, arrival_ns: int | None = None) -> None:
        """A packet as the pipeline got it; one before the first epoch says nothing and is left out.

        arrival_ns: when it came, on time.monotonic_ns(); None is now.
        """
        if packet.epoch < 0 or self.stopped:
            return
        try:
            check_packet(packet, self.sensor.width, self.sensor.height)
        except ValueError as error:
            raise SourceError(f"{self.path}: a packet that cannot be recorded: {error}") from None
        try:
            run = self._described()
            start, n = 0, len(packet)
            while n - start > PART_EVENTS:
                self._part(packet.part(start, start + PART_EVENTS), run.stream, arrival_ns)
                start += PART_EVENTS
            self._part(packet.part(start, n, packet.until_us) if start else packet, run.stream, arrival_ns)
        except OSError as error:
            self._stop(error)

    def window(
        self, seq: int, epoch: int, start_us: int, end_us: int, decision: str | None, **prediction: Any
    ) -> None:
        """What was done with a window: None run, or why it was skipped; and what the network said."""
        if self.stopped:
            return
        try:
            assert self._described().skips or decision is None, "a run that said it never skips"
            window = Prediction(
                seq=seq, epoch=epoch, t_start_us=start_us, t_end_us=end_us, skipped=decision, **prediction
            )
            self._append(PREDICTION.id, _json(window), windows=1)
        except OSError as error:
            self._stop(error)

    def prediction(self, data: bytes) -> None:
        """A window as another recording holds it."""
        if not self.stopped:
            try:
                self._described()
                self._append(PREDICTION.id, data, windows=1)
            except OSError as error:
                self._stop(error)

    def close(
        self,
        digest: str = "",
        report: SourceReport | None = None,
        digest_input: str = "",
        clean_up: Sequence[dict[str, Any]] = (),
    ) -> int:
        """Write the end and the summary; the number of events that are in the file."""
        try:
            if not self.stopped:
                self._described()
                report = report or self._report()
                end = End(
                    **msgspec.structs.asdict(self._account(report)),
                    digest=digest,
                    digest_input=digest_input,
                    clean_up=list(clean_up),
                    damage=report.damage,
                    truncated=report.truncated,
                )
                if not self._file.empty:
                    self._flush()
                self._append(END.id, _json(end))  # an account too: it needs none after it
                self._file.finish()
        except OSError as error:
            self._stop(error)
        self._file.close()
        return self._sure

    def _described(self) -> Run:
        """The run's description, which is the file's first chunk."""
        if self._run is None:
            self._run = self._make_run()
            if self._clock:
                self._run.clock = "sensor"
            self._append(RUN.id, _json(self._run))
            if not self._file.empty:
                self._flush()  # so that a file of any length says what it is
        return self._run

    def _part(self, packet: EventPacket, stream: str, arrival_ns: int | None) -> None:
        if self._clock:
            self._clock.reach(packet)
        data = packet_bytes(packet, self.sensor, stream, self._packets)
        self._append(PACKET.id, data, arrival_ns, events=len(packet), packets=1)

    def _append(
        self,
        channel: int,
        data: bytes,
        at_ns: int | None = None,
        *,
        events: int = 0,
        packets: int = 0,
        windows: int = 0,
    ) -> None:
        """Into the open chunk, which goes out when it is full or old enough; and into the account."""
        if len(data) + ACCOUNT_BYTES > self._file.room and not self._file.empty:
            self._flush()
        now_ns = time.monotonic_ns()
        if self._file.empty:
            self._begun_ns = now_ns
        self._events += events
        self._packets += packets
        self._windows += windows
        self._file.add(channel, data, self._log_ns(now_ns), self._log_ns(now_ns if at_ns is None else at_ns))
        if not self._clock and channel != END.id and now_ns - self._begun_ns >= CHUNK_NS:
            self._flush()

    def _flush(self) -> None:
        log_ns = self._log_ns(time.monotonic_ns())
        self._file.add(ACCOUNT.id, _json(self._account(self._report())), log_ns, log_ns)
        self._file.flush()
        self._sure = self._events

    def _account(self, report: SourceReport) -> Account:
        return Account(
            events=self._events,
            packets=self._packets,
            windows=self._windows,
            dropped=report.dropped,
            refused=report.refused,
            reordered=report.reordered,
            filtered=report.filtered,
        )

    def _log_ns(self, monotonic_ns: int) -> int:
        return self._clock.now_ns if self._clock else self._unix_ns + monotonic_ns

    def _stop(self, error: OSError) -> None:
        why = error.strerror or str(error)
        self.stopped = f"{self.path}: recording stopped: {why}; it holds the first {self._sure:,} events"


def plain_run(sensor: Sensor) -> Run:
    """Of a recording without a model."""
    return Run(v=VERSION, width=sensor.width, height=sensor.height, sensor=sensor.model)


class _SensorClock:
    """Time since the first packet on the sensor's clock; each epoch goes on where the one before ended."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._epoch: int | None = None
        self._base_us = self._zero_us = 0

    def reach(self, packet: EventPacket) -> None:
        if packet.epoch != self._epoch:
            self._epoch = packet.epoch
            self._base_us = self.now_ns // 1_000
            self._zero_us = int(packet.t[0]) if len(packet) else packet.until_us
        us = self._base_us + max(0, packet.until_us - self._zero_us)
        self.now_ns = min(max(self.now_ns, us * 1_000), NS_MOST)
