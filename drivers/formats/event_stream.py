"""Event Stream recordings (`.es`, version 2): DVS, and the change events of ATIS.

An event is the step of time since the last one (with bytes in front where a byte cannot hold it), and
coordinates. So time cannot go back, and where bytes are lost, the time they held is lost for all that
follows: a damage line says so. Nothing marks where an event begins, but a wrong begin soon leaves the sensor.

By convention y points up, and is turned here. Some writers (event_stream itself) do not turn it:
?flip_y=no      y as stored
"""

import struct

from spikeline.drivers.formats.es_events import LOOK_BYTES, find_events, take
from spikeline.drivers.formats.records import Bytes, Opened, Room, Step, agreed_sensor
from spikeline.drivers.formats.searched import SearchedSource, SearchingDecoder
from spikeline.pipeline.events import Sensor, SourceError

MAGIC = b"Event Stream"
KINDS = {0: "generic", 1: "DVS", 2: "ATIS", 3: "AMD", 4: "color"}
DVS, ATIS = 1, 2
HEADER_BYTES = 20


class EventStreamSource(SearchedSource):
    OPTIONS = ("flip_y",)

    format = "Event Stream"
    flip_y: bool  # whether y is turned
    _late = False

    def _open(self, sensor: Sensor | None, options: dict[str, str]) -> Opened:
        head = self._stored.at(0, HEADER_BYTES)
        if not head.startswith(MAGIC):
            raise SourceError(f"{self.path}: begins with {head[:12]!r}; wanted {MAGIC!r}")
        if len(head) < HEADER_BYTES - 4:
            raise SourceError(f"{self.path}: ends within its header, at byte {len(head)}")
        major, minor, patch, kind = head[12:16]
        if major != 2:
            raise SourceError(f"{self.path}: is Event Stream {major}.{minor}.{patch}; wanted version 2")
        if kind not in (DVS, ATIS):
            name = KINDS.get(kind, "unknown")
            raise SourceError(f"{self.path}: holds {name} events (type {kind}); wanted DVS (1) or ATIS (2)")
        if len(head) < HEADER_BYTES:
            raise SourceError(f"{self.path}: ends within its header, at byte {len(head)}")
        width, height = struct.unpack("<HH", head[16:])
        if not (width and height):
            raise SourceError(f"{self.path}: its sensor is {width}x{height} pixels; wanted 1x1 or more")
        flip = options.get("flip_y", "yes")
        if flip not in ("yes", "no"):
            raise SourceError(f"{self.path}: flip_y={flip}; wanted yes or no")
        self.flip_y = flip == "yes"
        size = Sensor(width, height, "ATIS" if kind == ATIS else "")
        agreed = agreed_sensor(self.path, size, sensor)
        return Opened(agreed, EsDecoder(agreed, kind == ATIS, self.flip_y), HEADER_BYTES)

    def _pass_over(self, odd: int) -> int:
        at = super()._pass_over(odd)
        if at < self._stored.size and not self._late:
            self._late = True
            self.note(f"from byte {at} on, times are early by what the bytes left out held")
        return at


class EsDecoder(SearchingDecoder):
    unit = 5
    beyond = 2 * LOOK_BYTES

    def __init__(self, sensor: Sensor, atis: bool, flip_y: bool) -> None:
        super().__init__()
        self._shape = (sensor.width, sensor.height, atis)
        self._flip_y = flip_y
        self._t = 0

    def decode(self, data: Bytes, room: Room, final: bool) -> Step:
        used, events, exposures, refused, self._t, odd = take(
            data, *self._shape, self._flip_y, *room, self._t, final
        )
        self.count("exposure event (ATIS)", exposures)
        return Step(used, events, odd, refused, ordered=True)

    def find(self, data: Bytes, start: int, final: bool) -> int:
        return find_events(data, *self._shape, start, final)
