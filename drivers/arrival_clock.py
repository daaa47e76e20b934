"""When has a stream that is silent while nothing happens certainly come how far? `ArrivalClock`."""

# Chosen on the arrivals of six minutes of local streams, both cores busy, hiccups of up to 48 ms: no mark
# ran ahead. With 5 ms, 20 ms and spans of 10 s eight did, and events behind a mark are lost.
MARGIN_US = 20_000  # a mark stays so far behind the slowest packet of late
START_MARGIN_US = 30_000  # and so much farther until a span has shown how the sender slices
SPAN_US = 30_000_000
STALL_US = 500_000  # TCP that we held back can take so long to go on: its timer starts at 200 ms
SPAN_PACKETS = 100  # at least; a sparse stream has longer spans
DRIFT = 5e-4  # quartz clocks differ by up to 2e-4, and NTP turns ours by up to 5e-4


class ArrivalClock:
    """How far the sensor's clock has certainly come, on a link that is silent while nothing happens.

    A packet whose oldest event is of time t and that arrives at host time h was h - t on its way, by
    clocks that differ by an unknown constant. As long as later packets take no longer than the slowest
    of the last 30 to 60 s, no event is still to come that is older than

        mark(h) = h - slowest - MARGIN_US - DRIFT * (time since the last packet)

    Only packets that we waited for are timed; the others lay in the socket while we were busy. Once
    they did, TCP has held the sender back, and an empty socket means little: no mark for STALL_US, or
    until a packet is as quick as usual. A packet later than a mark allowed counts twice as late: a
    sender that was stopped, or whose clock is slower than real time, makes the marks more careful.
    """

    def __init__(self) -> None:
        self._slowest_us: list[int] = []  # of the span before this one, and of this one
        self._timed = False
        self._since_us = self._heard_us = self._stalled_until_us = 0
        self._packets = 0
        self._promised_us: int | None = None

    def arrived(self, oldest_us: int, host_ns: int, waited: bool) -> None:
        """A packet whose oldest event is of `oldest_us` is here; `waited`: we stood ready for it."""
        host_us = host_ns // 1_000
        late_us = 0 if self._promised_us is None else max(0, self._promised_us - oldest_us)
        delay_us = host_us - oldest_us
        if not self._slowest_us or (waited and not self._timed):
            self._slowest_us = [delay_us + START_MARGIN_US + late_us, delay_us]
            self._timed, self._since_us, self._packets = waited, host_us, 0
            self._stalled_until_us = 0 if waited else host_us + STALL_US
        else:
            allowed_us = max(self._slowest_us) + MARGIN_US
            if delay_us <= allowed_us:
                self._stalled_until_us = 0
            elif not waited:
                self._stalled_until_us = host_us + STALL_US
            timed = waited and host_us >= self._stalled_until_us
            if not timed and not late_us:
                return
            if not timed:  # it was at least so late when the mark was given
                delay_us = allowed_us + late_us
            self._slowest_us[1] = max(self._slowest_us[1], delay_us + late_us)
            self._packets += 1
            if self._packets >= SPAN_PACKETS and host_us - self._since_us >= SPAN_US:
                self._slowest_us = [self._slowest_us[1], delay_us]
                self._since_us, self._packets = host_us, 0
        self._heard_us = host_us
        if late_us:
            self._promised_us = None  # broken once; what comes with this packet says nothing new

    def mark(self, host_ns: int) -> int | None:
        """The time up to which no event is outstanding, given that nothing has arrived until `host_ns`."""
        host_us = host_ns // 1_000
        if not self._slowest_us or host_us < self._stalled_until_us:
            return None
        drift_us = int(DRIFT * (host_us - self._heard_us))
        self._promised_us = host_us - max(self._slowest_us) - MARGIN_US - drift_us
        return self._promised_us
