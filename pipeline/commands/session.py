"""A source, a model and, if asked for, the bus, opened together: what every inferring command shares."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spikeline.drivers import open_source
from spikeline.pipeline.events import Sensor, Source
from spikeline.pipeline.messages import Activity, Dropped, EventAccount, Frame, Latency, Prediction, Status
from spikeline.pipeline.messages import WindowAccount as WindowCounts
from spikeline.pipeline.package import Package, load_package
from spikeline.pipeline.publisher import Publisher
from spikeline.pipeline.run import Pipeline, RunConfig, WindowResult

STATUS_EVERY_US = 1_000_000
DEFAULT_MODEL = "gesture"


class Session:
    """Iterate for one `WindowResult` per window. A context manager: it closes what it opened."""

    def __init__(
        self, source: Source, package: Package, pipeline: Pipeline, publisher: Publisher | None
    ) -> None:
        self.source = source
        self.package = package
        self.pipeline = pipeline
        self.publisher = publisher
        self.predictions = 0
        self.start_us = 0  # of the first window
        self._status_us = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.source.__exit__(kind, error, trace)
        if self.publisher:
            self.publisher.close()

    def __iter__(self) -> Iterator[WindowResult]:
        for result in self.pipeline.run(self.source):
            if result.seq == 0:
                self.start_us = result.t_start_us
            self.predictions += result.label is not None
            if self.publisher:
                self._publish(self.publisher, result)
            yield result
        accounts = self.pipeline.accounts
        report = self.source.report()
        accounts.refused, accounts.filtered = report.refused, report.filtered
        if self.publisher:
            self._publish_status(self.publisher, "stopping", 0, 0)

    def summary(self) -> dict[str, Any]:
        """What the run did, in the words of the summary line of `replay --json`."""
        accounts, digests, report = self.pipeline.accounts, self.pipeline.digests, self.source.report()
        return {
            "type": "summary",
            "events": accounts.received,
            "windows": accounts.windows,
            "predictions": self.predictions,
            "digest": digests.full,
            "digest_input": digests.input,
            "engine": self.pipeline.engine.name,
            "model": self.package.manifest.name,
            "model_digest": self.package.digest,
            "account": asdict(accounts),
            "source": asdict(report),
        }

    def _publish(self, bus: Publisher, r: WindowResult) -> None:
        span: dict[str, Any] = {"t_start_us": r.t_start_us, "t_end_us": r.t_end_us, "epoch": r.epoch}
        accounts = self.pipeline.accounts
        dropped = Dropped(events=accounts.skipped, windows=accounts.windows_skipped)
        timing = Latency(
            bin=r.timing.bin_ns / 1e3, infer=r.timing.infer_ns / 1e3, decide=r.timing.decide_ns / 1e3
        )
        bus.publish(
            Prediction,
            **span,
            dropped=dropped,
            window=r.seq,
            label=r.label,
            label_index=r.label_index,
            score=r.score,
            scores=r.scores.tolist(),
            warming=r.warming,
            segment=r.segment,
            skipped=r.skipped,
            processed=r.processed,
            skipped_count=r.steps - r.processed,
            latency_us=timing,
        )
        bus.publish(Activity, **span, window=r.seq, spikes=r.spikes, synops=r.synops, mac=r.mac)
        if bus.wanted(Frame):
            C, H, W = r.frame.shape
            bus.publish(
                Frame,
                **span,
                window=r.seq,
                channels=C,
                width=W,
                height=H,
                data=r.frame.astype("<u2").tobytes(),
            )
        if r.t_end_us - self._status_us >= STATUS_EVERY_US or r.seq == 0:
            self._status_us = r.t_end_us
            self._publish_status(bus, "running", r.t_start_us, r.t_end_us)
        bus.tick()

    def _publish_status(self, bus: Publisher, state: str, start_us: int, end_us: int) -> None:
        a = self.pipeline.accounts
        bus.publish(
            Status,
            t_start_us=start_us,
            t_end_us=end_us,
            state=state,
            events=EventAccount(
                received=a.received,
                processed=a.processed,
                gated=a.gated,
                skipped=a.skipped,
                filtered=a.filtered,
                refused=a.refused,
                unfinished=a.unfinished,
                queued=a.queued,
            ),
            windows=WindowCounts(
                closed=a.windows, processed=a.windows_run, gated=a.windows_gated, skipped=a.windows_skipped
            ),
            labels=self.package.manifest.labels,
            digest=self.pipeline.digests.full,
        )


def open_pipeline(
    source: str | Path,
    model: str | Path = DEFAULT_MODEL,
    *,
    config: RunConfig | None = None,
    publish: str | None = None,
    stream: str = "main",
    sensor: Sensor | None = None,
    **source_options: Any,
) -> Session:
    """Open a source and a model; iterate the result for one prediction per window.

    source   any URI that `open_source` knows    model   a shipped package's name or a file
    publish  a ZeroMQ endpoint, such as "tcp://127.0.0.1:5556"
    source_options  packet_events, speed, start_s, stop_s, loop; see `open_source`

    Raises SourceError, PackageError, FitError, EngineError or BusError: one line saying what to do.
    """
    package = load_package(model)
    opened = open_source(source, sensor=sensor, **source_options)
    opened.__enter__()
    try:
        pipeline = Pipeline(package, opened.sensor, config)
        publisher = Publisher(publish, stream, package.digest) if publish else None
    except BaseException:
        opened.__exit__(None, None, None)
        raise
    return Session(opened, package, pipeline, publisher)
