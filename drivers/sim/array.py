"""A pixel array with its bus: the state that goes on from block to block, and events in order out of it."""

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.sim.camera import Readout, read_out
from spikeline.drivers.sim.pixel_state import PixelValues, make_pixels

BLOCK_EVENTS = 1 << 17  # that one block can hold; what is beyond is lost and counted
HELD_EVENTS = 1 << 10  # more than the bus's queue

Events = tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.uint8]]


class SensorArray:
    """`pixels` to be stepped into block_t, block_pixel and block_p; `send` puts those events on the bus.

    lost  events dropped by the bus or for want of room
    """

    def __init__(
        self, columns: int, rows: int, values: PixelValues, camera_seed: int, readout: Readout, start_us: int
    ) -> None:
        self.columns = columns
        self.pixels = make_pixels(values, camera_seed, columns * rows)
        self.lost = 0
        self.block_t = np.empty(BLOCK_EVENTS, np.int64)
        self.block_pixel = np.empty(BLOCK_EVENTS, np.int64)
        self.block_p = np.empty(BLOCK_EVENTS, np.uint8)
        self._readout = readout
        self._out_t = np.empty(BLOCK_EVENTS + HELD_EVENTS, np.int64)
        self._out_x = np.empty(BLOCK_EVENTS + HELD_EVENTS, np.uint16)
        self._out_y = np.empty(BLOCK_EVENTS + HELD_EVENTS, np.uint16)
        self._out_p = np.empty(BLOCK_EVENTS + HELD_EVENTS, np.uint8)
        self._held = 0  # events read out but later than the end of the block
        self._last_out_us = start_us - 1

    def send(self, n: int, end_us: int) -> Events:
        """The first n events of the block, and what was held: all that leaves before `end_us`."""
        m, self._last_out_us, lost = read_out(
            self.block_t, self.block_pixel, self.block_p, n, self.columns, self._last_out_us,
            self._out_t, self._out_x, self._out_y, self._out_p, self._held, self._readout.bus_us,
        )  # fmt: skip
        self.lost += int(lost)
        stop = int(np.searchsorted(self._out_t[:m], end_us))
        t, p = self._out_t[:stop].copy(), self._out_p[:stop].copy()
        x, y = self._out_x[:stop].copy(), self._out_y[:stop].copy()
        self._held = m - stop
        for a in (self._out_t, self._out_x, self._out_y, self._out_p):
            a[: self._held] = a[stop:m].copy()
        if self._readout.stamp_us > 1:
            t -= t % self._readout.stamp_us
        return t, x, y, p
