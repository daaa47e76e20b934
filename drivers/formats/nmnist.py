"""N-MNIST and N-Caltech101 recordings (`.bin`, `.bs2`): records of 5 bytes and nothing else.

Nothing in the file says what it is, so the user, or the file's name and size, must. Without a size from the
user it is N-MNIST's, 34x34; a file that does not fit into it is refused.
"""

import numpy as np

from spikeline.drivers.formats.fixed_fields import NMNIST, OVERFLOW_Y
from spikeline.drivers.formats.fixed_records import FixedDecoder
from spikeline.drivers.formats.records import Bytes, Opened
from spikeline.drivers.formats.searched import SearchedSource
from spikeline.pipeline.events import Sensor, SourceError

DIGITS = Sensor(34, 34, "N-MNIST")
SAMPLE_BYTES = 5 << 12
SEGMENT_BYTES = 5 << 8
MOST_OUTSIDE = 0.1  # of the events of every segment: that is no damage, but another sensor


class NmnistSource(SearchedSource):
    format = "N-MNIST"

    def _open(self, sensor: Sensor | None, options: dict[str, str]) -> Opened:
        size = sensor or DIGITS
        if size.width > 256 or size.height > 256:
            raise SourceError(
                f"{self.path}: N-MNIST coordinates have 8 bits; --sensor says {size.width}x{size.height}"
            )
        sample = np.frombuffer(self._stored.at(0, SAMPLE_BYTES), np.uint8)
        if not _fits(sample, size):
            x, y = sample[: len(sample) // 5 * 5].reshape(-1, 5)[:, :2].T
            raise SourceError(
                f"{self.path}: its first {len(x)} records lie outside {size.width}x{size.height}, up to "
                f"{x.max()},{y.max()}; {'wanted another' if sensor else 'say it with'} --sensor WIDTHxHEIGHT"
            )
        return Opened(size, FixedDecoder(NMNIST, size), 0)


def _fits(sample: Bytes, size: Sensor) -> bool:
    """Whether the records of some part of the sample, which may begin at any byte, lie in the sensor."""
    if len(sample) < 5:
        return True
    for start in range(0, len(sample), SEGMENT_BYTES):
        for shift in range(5):
            part = sample[start + shift : start + SEGMENT_BYTES]
            x, y = part[: len(part) // 5 * 5].reshape(-1, 5)[:, :2].T
            outside = (y != OVERFLOW_Y) & ((x >= size.width) | (y >= size.height))
            if len(x) and np.count_nonzero(outside) <= MOST_OUTSIDE * len(x):
                return True
    return False
