"""What a session says on the bus: every window's prediction, activity and frame, and its status."""

from typing import TYPE_CHECKING, Any

from spikeline.pipeline.messages import (
    Activity,
    Dropped,
    Event,
    EventAccount,
    Frame,
    Latency,
    Prediction,
    StageAccount,
    Status,
    WindowAccount,
)
from spikeline.pipeline.publisher import Publisher
from spikeline.pipeline.run import WindowResult

if TYPE_CHECKING:
    from spikeline.pipeline.commands.session import Session

STATUS_EVERY_NS = 1_000_000_000


class Announcer:
    """Turns results into messages of one publisher."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self._span: dict[str, Any] = {"t_start_us": 0, "t_end_us": 0, "epoch": 0}
        self._status_ns = 0

    def result(self, session: "Session", r: WindowResult) -> None:
        """Publish one window."""
        bus = self.publisher
        span = self._span = {"t_start_us": r.t_start_us, "t_end_us": r.t_end_us, "epoch": r.epoch}
        accounts, report = session.pipeline.accounts, session.source.report()
        bus.publish(
            Prediction,
            **span,
            dropped=Dropped(events=accounts.skipped + report.dropped, windows=accounts.windows_skipped),
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
            latency_us=_latency(session, r),
        )
        bus.publish(Activity, **span, window=r.seq, spikes=r.spikes, synops=r.synops, mac=r.mac)
        if bus.wanted(Frame):
            C, H, W = r.frame.shape
            data = r.frame.astype("<u2").tobytes()
            bus.publish(Frame, **span, window=r.seq, channels=C, width=W, height=H, data=data)

    def event(self, kind: str, text: str) -> None:
        """Publish that something happened."""
        self.publisher.publish(Event, **self._span, kind=kind, text=text)

    def tick(self, session: "Session") -> None:
        """Call often: a status each second, and the bus's own housekeeping."""
        now_ns = session.pipeline.now_ns()
        if now_ns - self._status_ns >= STATUS_EVERY_NS:
            self._status_ns = now_ns
            self._status(session, "running")
        self.publisher.tick(now_ns)

    def close(self, session: "Session") -> None:
        """Say goodbye with the final account, and let go of the port."""
        self._status(session, "stopping")
        self.publisher.close()

    def _status(self, session: "Session", state: str) -> None:
        a, report = session.account(), session.source.report()
        self.publisher.publish(
            Status,
            **self._span,
            dropped=Dropped(events=a.skipped + report.dropped, windows=a.windows_skipped),
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
            windows=WindowAccount(
                closed=a.windows, processed=a.windows_run, gated=a.windows_gated, skipped=a.windows_skipped
            ),
            clean_up=[
                StageAccount(stage=str(stage.settings), filtered=stage.filtered)
                for stage in session.pipeline.clean_up.stages
            ],
            percentiles=session.pipeline.latency.summary() if session.pipeline.latency else None,
            labels=session.package.manifest.labels,
            digest=session.pipeline.digests.full,
            recorder=session.recorder_state,
        )


def _latency(session: "Session", r: WindowResult) -> Latency:
    """Where the time of the window's median event went, up to now: publishing is still to come."""
    t = r.timing
    own = {
        "bin": t.bin_ns / 1e3,
        "gate": t.gate_ns / 1e3,
        "infer": t.infer_ns / 1e3,
        "decide": t.decide_ns / 1e3,
    }
    if session.pipeline.latency is None:
        return Latency(**own)
    stamps = session.pipeline.stamps
    end_ns = session.clock.host_ns(r.t_end_us)
    wait_us = session.pipeline.latency.median_wait_us(r.t_end_us)
    return Latency(
        **own,
        wait=wait_us,
        transport=(stamps.arrival - end_ns) / 1e3,
        queue=(stamps.taken - stamps.arrival) / 1e3,
        total=wait_us + (session.pipeline.now_ns() - end_ns) / 1e3,
    )
