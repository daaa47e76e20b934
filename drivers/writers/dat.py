"""Prophesee DAT files, version 2, CD events. The layout is told in formats/dat.py."""

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.writers.prophesee import ClockedWriter


class DatWriter(ClockedWriter):
    """32 bits of time (71.6 min), 14 bits a coordinate. Clock marks behind the last event are lost."""

    format = "DAT"
    max_side = 1 << 14
    begin_bits = clock_bits = 32

    def _header(self) -> bytes:
        size = f"% Width {self.sensor.width}\n% Height {self.sensor.height}\n"
        text = f"% Data file containing CD events.\n% Version 2\n{size}{self._shift('T0')}% end\n"
        return text.encode() + b"\x0c\x08"

    def _encode(self, t: NDArray, x: NDArray, y: NDArray, p: NDArray) -> bytes:
        records = np.empty((len(t), 2), "<u4")
        records[:, 0] = t
        records[:, 1] = x.astype(np.uint32) | y.astype(np.uint32) << 14 | p.astype(np.uint32) << 28
        return records.tobytes()
