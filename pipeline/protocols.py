"""How a recording becomes one answer: the test protocols of the papers, by name.

first           the first T windows, from the start of the clip; its class is the best score after them
ten-clips       MA-SNN: ten stretches of T windows spread over the recording; it is of the class that more
                than half of them are called, and wrong where there is no such class
accumulate-ten  TA-SNN: the same ten stretches; the class of the best sum of their scores
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.binning import Binner
from spikeline.pipeline.clean_up import CleanUp
from spikeline.pipeline.events import EventPacket, clock_mark
from spikeline.pipeline.slicing import SliceConfig, Slicer

Protocol = Literal["first", "ten-clips", "accumulate-ten"]
PROTOCOLS: tuple[Protocol, ...] = ("first", "ten-clips", "accumulate-ten")
TEN = 10
UNDECIDED = -1


def stretches(protocol: Protocol) -> int:
    """How many stretches of a recording are shown to the network."""
    return 1 if protocol == "first" else TEN


def ten_starts(span_us: int, length_us: int, n: int = TEN) -> list[int]:
    """Where the n stretches of a recording begin, from its first event (MA-SNN's test protocol).

    span_us: from the first event to the last; length_us: of a stretch, T x dt. They lie apart by a whole
    number of microseconds near span / n; what would pass the last event is moved back to end there, before
    the first event where the recording is too short.
    """
    rest_us = n * length_us - span_us
    apart_us = length_us - rest_us // n if rest_us > 0 else length_us + (-rest_us) // n
    return [min(k * apart_us, span_us - length_us) for k in range(n)]


def decide(scores: NDArray[np.float32], protocol: Protocol) -> NDArray[np.int64]:
    """scores (..., n, K) of the stretches of each recording: its class, or UNDECIDED."""
    if protocol == "accumulate-ten":
        return scores.sum(-2, dtype=np.float64).argmax(-1)
    called = scores.argmax(-1)
    votes = (called[..., None] == np.arange(scores.shape[-1])).sum(-2)
    most = votes.argmax(-1)
    strict = 2 * votes.max(-1) > scores.shape[-2]
    return np.where(strict, most, UNDECIDED)


def ten_stretches(
    packets: Iterable[EventPacket], clean_up: CleanUp, binner: Binner, dt_us: int, steps: int
) -> NDArray[np.uint16]:
    """Frames of the ten stretches of a recording, (10, steps, 2, H, W); of its first epoch.

    The windows of a stretch begin at its first event, as the paper's code has it, and hold no event from
    beyond its end. A stretch without events is all zeros.
    """
    t, x, y, p = _events(packets, clean_up)
    shape = (steps, *binner.frame.shape[1:])
    out = np.zeros((TEN, *shape), np.uint16)
    if len(t) == 0:
        return out
    length_us = steps * dt_us
    for k, start_us in enumerate(ten_starts(int(t[-1] - t[0]), length_us)):
        begin, end = t.searchsorted([t[0] + start_us, t[0] + start_us + length_us])
        if begin == end:
            continue
        origin_us = int(t[begin])
        cut = slice(int(begin), int(end))
        part = EventPacket(t[cut], x[cut], y[cut], p[cut], int(t[end - 1]), 0, origin_us)
        close = clock_mark(origin_us + length_us, 0, origin_us)
        binner.clear()
        slicer, frames = Slicer(SliceConfig(dt_us=dt_us)), []
        for packet in (part, close):
            for piece in slicer.push(packet):
                binner.add(packet, piece.start, piece.stop)
                if piece.closes:
                    frames.append(binner.close()[0].copy())
        out[k] = np.stack(frames)
    return out


def _events(
    packets: Iterable[EventPacket], clean_up: CleanUp
) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.uint8]]:
    """All events of the first epoch behind the clean-up."""
    kept = [clean_up.clean(packet) for packet in packets if packet.epoch == 0]
    t, x, y, p = (np.concatenate([getattr(k, name) for k in kept] or [np.zeros(0)]) for name in "txyp")
    return t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8)
