"""Drive one source through one engine. Everything that infers goes through `Pipeline`.

    packets -> clean-up -> slicer -> binner -> (skip rule) -> engine.step or idle -> decision -> result

The loop owns the network's state. Every window steps or idles, so sensor time always moves. A new
epoch (clock reset, reconnect, next file) starts a new grid and resets the state.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.accounts import Accounts, Digests, Skipped
from spikeline.pipeline.binning import Binner, pixel_map
from spikeline.pipeline.clean_up import CleanUp
from spikeline.pipeline.clean_up_settings import chosen
from spikeline.pipeline.decision import UNDECIDED, Decision, DecisionConfig, Segment
from spikeline.pipeline.events import EventPacket, Sensor, clock_mark
from spikeline.pipeline.kernels import add_events, first_at_or_after
from spikeline.pipeline.latency import LatencyBook, Stamps
from spikeline.pipeline.package import Package
from spikeline.pipeline.run_settings import PipelineError, RunConfig, check_early, frame_gate, served_engine
from spikeline.pipeline.slicing import SliceConfig, Slicer, Window

__all__ = ["Pipeline", "PipelineError", "RunConfig", "SkipRule", "Timing", "WindowResult"]

SkipRule = Callable[[Window, NDArray[np.uint16]], Skipped | None]


class Timing(NamedTuple):
    """Host time spent on one window, nanoseconds: from taking up the packet that closes it, over its
    clean-up, to its frame, deciding whether to run it, the network's step, deciding on a label."""

    bin_ns: int
    gate_ns: int
    infer_ns: int
    decide_ns: int


@dataclass(frozen=True, slots=True)
class WindowResult:
    """What one window gave. Sensor time in microseconds; scores (K,) in label order.

    label     None where no class is announced (threshold, hold time)
    warming   fewer than T steps stand behind the scores
    skipped   None, or why the network idled instead of stepping
    """

    seq: int
    epoch: int
    t_start_us: int
    t_end_us: int
    label: str | None
    label_index: int | None
    score: float
    scores: NDArray[np.float32]
    warming: bool
    segment: Segment | None
    spikes: dict[str, int]
    synops: int
    mac: int
    skipped: Skipped | None
    processed: int  # steps in the readout that were run
    steps: int  # steps in the readout
    events: int  # new in this window
    frame: NDArray[np.uint16] = field(repr=False)  # (2, H, W), valid until the next window
    timing: Timing


class Pipeline:
    """One stream through one network. `run(source)` yields a result per window."""

    def __init__(
        self,
        package: Package,
        sensor: Sensor,
        config: RunConfig | None = None,
        skip: SkipRule | None = None,
        *,
        delay_s: Mapping[str, float] | None = None,
    ) -> None:
        """delay_s: stage -> seconds it is held up, to check what a latency measurement makes of it."""
        config = config or RunConfig()
        manifest = package.manifest
        if skip is not None and manifest.skip is None:
            raise PipelineError(
                f"model {manifest.name} was not trained with skipped windows: serve every window"
            )
        self.package = package
        self.clean_up = CleanUp(chosen(manifest.clean_up, config.clean), sensor)
        pixels = pixel_map(self.clean_up.sensor, manifest.sensor, manifest.grid, config.fit or manifest.fit)
        graph = package.graph if pixels.gain == 1 else package.graph.with_input(gain=pixels.gain)
        readout = config.readout or manifest.readout
        self.engine = served_engine(package, graph, readout, config)
        threshold = manifest.threshold if config.threshold is None else config.threshold
        hold_us = manifest.hold_us if config.hold_us is None else config.hold_us
        try:
            slices = SliceConfig(dt_us=manifest.dt_us, hop_us=config.hop_us)
            rule = DecisionConfig(threshold=threshold, hold_us=hold_us)
        except ValueError as error:
            raise PipelineError(str(error)) from error
        self.slicer = Slicer(slices)
        self.binner = Binner(pixels, manifest.grid, slices.hops)
        self.decision = Decision(manifest.labels, rule)
        self.state = self.engine.init_state()
        self.accounts = Accounts()
        self.digests = Digests()
        self._skip = skip
        self._early = config.early
        self.clipped = 0  # membranes that int16 had to keep within its range; see engines/sparse/int16.py
        self.gate = frame_gate(package, graph, config)
        self._zero_rule = manifest.skip is not None and manifest.skip.rule == "zero"
        self._zeros = np.zeros_like(self.binner.frame)
        if config.early:
            check_early(self.engine, config, skips=self.skips, overlap=slices.hops > 1)
            self.engine.cells = pixels.cells
        self._warm_up()
        self.pending = 0  # events in slices that no closed window has counted yet
        self.stamps = Stamps()
        self.latency: LatencyBook | None = None  # set by who measures it
        self._delay_s = delay_s or {}

    def _warm_up(self) -> None:
        """Compile, load and touch everything once, so that the first window is as fast as the rest."""
        none = clock_mark(0, 0, 0)
        first_at_or_after(none.t, 0, 0, 0)
        add_events(
            none.x, none.y, none.p, 0, 0, self.binner.cells, self._zeros[0].reshape(2, -1), self.binner.lost
        )
        state = self.engine.init_state()
        for _ in range(self.engine.graph.steps if self.engine.windowed else 1):
            self.engine.step(self._zeros, state)

    @property
    def skips(self) -> bool:
        """Whether windows may be skipped."""
        return self._skip is not None or self.gate is not None

    @staticmethod
    def now_ns() -> int:
        """The clock of all stamps."""
        return time.monotonic_ns()

    def run(self, source: Iterable[EventPacket]) -> Iterator[WindowResult]:
        """A result for each window of the source, as it closes."""
        for packet in source:
            yield from self.push(packet)
        self.finish()

    def push(self, packet: EventPacket) -> Iterator[WindowResult]:
        """Results of the windows that this packet closes."""
        if packet.epoch != self.slicer.epoch:
            self._new_epoch()
        self.stamps.taken = time.monotonic_ns()
        received, packet = len(packet), self.clean_up.clean(packet)
        self.accounts.filtered += received - len(packet)
        for piece in self.slicer.push(packet):
            self.binner.add(packet, piece.start, piece.stop)
            if self._early:
                self.engine.add(packet, piece.start, piece.stop, self.state)
            self.pending += piece.stop - piece.start
            if self.latency is not None:
                self.latency.note(packet.t, piece.start, piece.stop)
            if piece.closes:
                frame = self.binner.close()
                if piece.window is not None:
                    self.hold("bin")
                    self.stamps.binned = time.monotonic_ns()
                    yield self._step(piece.window, frame)
                    self.stamps.taken = time.monotonic_ns()  # the packet's next window waited until now

    def finish(self) -> None:
        """The stream has ended: events of windows that never closed are counted, not run."""
        self.accounts.unfinished += self.pending
        self.pending = 0
        self.accounts.outside, self.accounts.saturated = (int(n) for n in self.binner.lost)
        self.accounts.saturated += self.binner.over

    def hold(self, stage: str) -> None:
        """Hold a stage up, if that was asked for."""
        if self._delay_s and stage in self._delay_s:
            time.sleep(self._delay_s[stage])

    def _new_epoch(self) -> None:
        self.finish()
        if self.latency is not None:
            self.latency.clear()
        self.binner.clear()
        self.engine.reset(self.state)
        self.decision.reset()
        if self.gate is not None:
            self.gate.reset()

    def _step(self, window: Window, frame: NDArray[np.uint16]) -> WindowResult:
        stamps = self.stamps
        skipped = self.gate(window, frame[0]) if self.gate else None
        if self._skip is not None:  # a recording's own decisions, or another rule, come before the gate's
            skipped = self._skip(window, frame[0])
        self.hold("gate")
        stamps.gated = time.monotonic_ns()
        if skipped and self._zero_rule and not self.engine.windowed:
            result = self.engine.step(self._zeros, self.state)
        else:
            result = self.engine.step(None if self._early else frame, self.state, [skipped is None])
        self.hold("infer")
        stamps.inferred = time.monotonic_ns()
        scores, activity = result.scores[0], result.activity
        self.clipped += int(activity.clipped[0])
        verdict = self.decision(scores, window.start_us, window.end_us) if result.ready[0] else UNDECIDED
        synops = int(activity.synops[0])
        self.accounts.window(self.pending, skipped)
        self.digests.add(window, skipped, scores, activity.spikes[0], synops)
        self.hold("decide")
        stamps.decided = time.monotonic_ns()
        steps = int(result.steps[0])
        T = self.engine.graph.steps
        outcome = WindowResult(
            window.seq,
            window.epoch,
            window.start_us,
            window.end_us,
            verdict.label,
            verdict.position,
            verdict.score,
            scores,
            steps < T,
            verdict.segment,
            dict(zip(self.engine.meter.layers, activity.spikes[0].tolist(), strict=True)),
            synops,
            int(activity.mac[0]),
            skipped,
            int(result.processed[0]),
            min(steps, T),
            self.pending,
            frame[0],
            Timing(
                stamps.binned - stamps.taken,
                stamps.gated - stamps.binned,
                stamps.inferred - stamps.gated,
                stamps.decided - stamps.inferred,
            ),
        )
        self.pending = 0
        return outcome
