"""A decoder fed with bytes that come in pieces: messages of a bag, datagrams. Pieces may be cut anywhere."""

import numpy as np

from spikeline.drivers.formats.records import SPARE, Decoder
from spikeline.drivers.formats.resync import first_run
from spikeline.drivers.formats.rooms import ROOM_EVENTS, Room


class Feed:
    """The events of each piece, as arrays of their own; `lost_bytes` counts what damage took.

    What a piece ends within, and what can only be judged by what follows, is kept for the next piece.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.lost_bytes = 0
        self.refused = 0  # events without a time or a place
        self._kept = b""

    def events(self, piece: bytes, *, final: bool = False) -> Room:
        """`final`: nothing follows, or nothing that belongs to this piece."""
        data = np.frombuffer(self._kept + piece, np.uint8)
        at, rooms, decoder = 0, [], self.decoder
        while at < len(data):
            places = min(ROOM_EVENTS, 16 * (len(data) - at)) + SPARE
            room = Room(*(np.empty(places, kind) for kind in ("i8", "u2", "u2", "u1")))
            step = decoder.decode(data[at:], room, final)
            at += step.used
            self.refused += step.refused
            rooms.append(room.part(0, step.events))
            if step.odd:
                at += self._pass_over(data[at:], final)
            elif places - step.events >= SPARE:
                break
        self._kept = b"" if final else data[at:].tobytes()
        self.lost_bytes += len(data) - at if final else 0
        return Room(*(np.concatenate(parts) for parts in zip(*rooms, strict=True))) if rooms else _no_events()

    def gap(self) -> None:
        """Pieces are missing between the last and the next."""
        self.lost_bytes += len(self._kept)
        self._kept = b""
        self.decoder.resume(np.empty(0, np.uint8))

    def _pass_over(self, ahead: np.ndarray, final: bool) -> int:
        about = self.decoder
        skip = about.judge(ahead, final)
        if skip is not None:
            return skip
        skip = first_run(
            ahead,
            about.good,
            unit=about.unit,
            run=about.run,
            step_us=about.step_us,
            wrap_us=about.wrap_us,
            final=True,
        )
        if skip is None:
            skip = len(ahead)
        about.resume(ahead[skip:])
        self.lost_bytes += skip
        return skip


def _no_events() -> Room:
    return Room(np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.uint8))
