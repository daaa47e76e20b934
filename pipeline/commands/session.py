"""A source, a model and, if asked for, bus and recorder, opened together: what inferring commands share."""

import gc
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spikeline.drivers import open_source
from spikeline.drivers.recording import Recording, open_recorder
from spikeline.pipeline.accounts import Accounts
from spikeline.pipeline.commands.announce import Announcer
from spikeline.pipeline.commands.options import exit_code, say
from spikeline.pipeline.commands.recorder import model_run, prediction_fields
from spikeline.pipeline.events import EventPacket, Sensor, Source
from spikeline.pipeline.latency import ClockMap, LatencyBook
from spikeline.pipeline.live import Queued
from spikeline.pipeline.package import Package, load_package
from spikeline.pipeline.publisher import Publisher
from spikeline.pipeline.run import Pipeline, RunConfig, SkipRule, WindowResult

DEFAULT_MODEL = "gesture"
TIDY_EVERY_NS = 10_000_000_000


class Session:
    """Iterate for one `WindowResult` per window. A context manager: it closes what it opened.

    A live session reads its source in a thread, measures latency, and keeps the garbage collector out
    of the loop.
    """

    def __init__(
        self,
        source: Source,
        package: Package,
        pipeline: Pipeline,
        announcer: Announcer | None = None,
        recorder: Recording | None = None,
    ) -> None:
        self.source = source
        self.package = package
        self.pipeline = pipeline
        self.announcer = announcer
        self.recorder = recorder
        self.clock = ClockMap()
        self.predictions = 0
        self.late_windows = 0  # published more than one window after they ended
        self.start_us = 0  # of the first window
        self._tidied_ns = pipeline.now_ns()
        self._stopping = False
        self._recorder_said = False
        self.deadline_ns: float = float("inf")  # end the run then, whatever the source does
        if isinstance(source, Queued):
            pipeline.latency = LatencyBook()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.source.__exit__(kind, error, trace)
        self.pipeline.finish()
        try:
            if self.recorder:
                digests = self.pipeline.digests
                cleaned = self.pipeline.clean_up.report()
                self.recorder.close(digests.full, self.source.report(), digests.input, cleaned)
                self._check_recorder()
        finally:  # a full disk must not leave the listeners without a goodbye
            if self.announcer:
                self.announcer.close(self)

    def __iter__(self) -> Iterator[WindowResult]:
        live = self.source if isinstance(self.source, Queued) else None
        if live:
            gc.collect()
            gc.freeze()
            gc.disable()
        try:
            for packet in self.source:
                if self._stopping or self.pipeline.now_ns() >= self.deadline_ns:
                    break
                if live:
                    self._observe(live, packet)
                if self.recorder:
                    self.recorder.add(packet, live.arrival_ns if live else None)
                results = self.pipeline.push(packet)
                try:
                    for result in results:
                        self._take(result)
                        yield result
                finally:  # who breaks off here leaves no packet half done: a recording replays the same
                    for result in results:
                        self._take(result)
                self._check_recorder()
                if self.announcer:
                    self.announcer.tick(self)
                if live and live.waiting == 0:
                    self._tidy()
        finally:
            if live:
                gc.enable()
                gc.unfreeze()
        self.pipeline.finish()

    def stop(self) -> None:
        """End the run before its next packet, from a signal handler or another thread. What was begun
        is finished, so a recording holds what was predicted, no more and no less."""
        self._stopping = True

    def summary(self) -> dict[str, Any]:
        """What the run did, in the words of the summary line of `replay --json`."""
        accounts, digests, report = self.account(), self.pipeline.digests, self.source.report()
        facts = {
            "type": "summary",
            "events": accounts.received,
            "windows": accounts.windows,
            "predictions": self.predictions,
            "digest": digests.full,
            "digest_input": digests.input,
            "engine": self.pipeline.engine.name,
            "clipped": self.pipeline.clipped,  # membranes, of an engine of whole numbers
            "model": self.package.manifest.name,
            "model_digest": self.package.digest,
            "account": asdict(accounts),
            "clean_up": self.pipeline.clean_up.report(),
            "source": asdict(report),
        }
        if self.pipeline.latency is not None:
            facts["latency_us"] = self.pipeline.latency.summary()
            facts["late_windows"] = self.late_windows
        if self.recorder:
            facts["recorder"] = self.recorder_state
        return facts

    @property
    def recorder_state(self) -> str | None:
        """None without a recorder, "recording", or why it has stopped."""
        return (self.recorder.stopped or "recording") if self.recorder else None

    def exit_code(self) -> int:
        """For the command to end with, after saying what was damaged: 1 for that, or a broken recording."""
        broken = self.recorder is not None and self.recorder.stopped != ""
        return max(exit_code(self.source.report()), int(broken))

    def account(self) -> Accounts:
        """What became of every event so far. `queued`: in the queue, in the open window, or never taken
        up because the run was stopped."""
        report, a = self.source.report(), self.pipeline.accounts
        cleaned = self.pipeline.clean_up.filtered
        a.refused, a.filtered = report.refused, report.filtered + cleaned
        a.queued = report.events - a.processed - a.gated - a.skipped - a.unfinished - cleaned
        return a

    def _observe(self, live: Queued, packet: EventPacket) -> None:
        stamps = self.pipeline.stamps
        if packet.epoch != self.pipeline.slicer.epoch:
            self.clock.reset()
        if live.schedule_ns is not None:
            self.clock.fix(live.schedule_ns)
        if len(packet) or not self.clock.known:  # a mark may lag behind the clock that it marks
            self.clock.observe(packet.until_us, live.arrival_ns)
        stamps.arrival = live.arrival_ns

    def _check_recorder(self) -> None:
        """A recorder that stopped says so once, here and on the bus; the predictions go on."""
        if self.recorder and self.recorder.stopped and not self._recorder_said:
            self._recorder_said = True
            say(self.recorder.stopped)
            if self.announcer:
                self.announcer.event("recorder", self.recorder.stopped)

    def _tidy(self) -> None:
        """Collect garbage now and then, while nothing waits; what was there at the start is frozen."""
        now_ns = self.pipeline.now_ns()
        if now_ns - self._tidied_ns > TIDY_EVERY_NS:
            self._tidied_ns = now_ns
            gc.collect()

    def _take(self, result: WindowResult) -> None:
        """Hand the result on, and note when that was done."""
        if result.seq == 0:
            self.start_us = result.t_start_us
        self.predictions += result.label is not None
        if self.announcer:
            self.announcer.result(self, result)
        if self.recorder:
            window = result.seq, result.epoch, result.t_start_us, result.t_end_us, result.skipped
            self.recorder.window(*window, **prediction_fields(result))
        book = self.pipeline.latency
        if book is not None:
            stamps = self.pipeline.stamps
            self.pipeline.hold("publish")
            stamps.published = self.pipeline.now_ns()
            end_ns = self.clock.host_ns(result.t_end_us)
            book.window(result.t_end_us, end_ns, stamps, skipped=result.skipped is not None)
            self.late_windows += stamps.published - end_ns > self.package.manifest.dt_us * 1_000


def open_pipeline(
    source: str | Path,
    model: str | Path = DEFAULT_MODEL,
    *,
    config: RunConfig | None = None,
    publish: str | None = None,
    stream: str = "main",
    sensor: Sensor | None = None,
    live: bool = False,
    record: str | Path | None = None,
    delay_s: Mapping[str, float] | None = None,
    **source_options: Any,
) -> Session:
    """Open a source and a model; iterate the result for one prediction per window.

    source   any URI that `open_source` knows    model   a shipped package's name or a file
    publish  a ZeroMQ endpoint, such as "tcp://127.0.0.1:5556"
    live     read the source in a thread of its own and measure latency; `speed=1` for a file
    record   an .mcap file for packets, clock marks, decisions and predictions, whole at any moment; or an
             .npz file without the predictions, whole when the session is closed
    delay_s  stage -> seconds it is held up, to check the latency measurement
    source_options  packet_events, speed, start_s, stop_s, loop; see `open_source`

    Raises SourceError, PackageError, FitError, EngineError or BusError: one line saying what to do.
    """
    config = config or RunConfig()
    package = load_package(model)
    opened: Source = open_source(source, sensor=sensor, **source_options)
    if live:
        opened = Queued(opened, delay_s=delay_s)
    opened.__enter__()
    try:
        pipeline = Pipeline(package, opened.sensor, config, _recorded(opened), delay_s=delay_s)
        announcer = Announcer(Publisher(publish, stream, package.digest)) if publish else None
        try:
            about = partial(model_run, str(source), opened, stream, package, pipeline, config)
            recorder = (
                open_recorder(record, opened.sensor, run=about, report=opened.report) if record else None
            )
        except BaseException:
            if announcer:
                announcer.publisher.close()
            raise
    except BaseException:
        opened.__exit__(None, None, None)
        raise
    return Session(opened, package, pipeline, announcer, recorder)


def _recorded(source: Source) -> SkipRule | None:
    """The skips of the live run that a recording was made of: a replay decides the same."""
    decisions = getattr(source, "decisions", {})
    if not decisions:
        return None
    return lambda window, frame: decisions.get((window.epoch, window.start_us))
