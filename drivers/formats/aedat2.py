"""AEDAT 1.0 and 2.0 recordings (jAER, cAER): DVS128, DAVIS240, DAVIS346 and their relatives.

The origin is moved to the top left, and polarity 1 is ON, as jAER and libcaer read them. Special records,
pixels of frames (APS) and IMU values are counted and left out (`others`). Times are signed and stay so.

The camera is the header's `AEChip`. Old files have none: then records that use only 16 bits are a DVS128's,
and others a DAVIS's, whose size the user must say.

?chip=NAME      the camera to read it as, such as DAVIS346, for a file that names none, or a strange one
?format=aedat2  for a file without a version line (without any header line: aedat1)
"""

import numpy as np

from spikeline.drivers.formats.aedat_header import Header, known_sensor, read_header
from spikeline.drivers.formats.fixed_fields import AEDAT1, DAVIS, DVS128
from spikeline.drivers.formats.fixed_records import FixedDecoder
from spikeline.drivers.formats.records import Opened, agreed_sensor
from spikeline.drivers.formats.searched import SearchedSource
from spikeline.pipeline.events import Sensor, SourceError

SAMPLE_BYTES = 1 << 16  # looked at to tell the camera where the header does not


class Aedat2Source(SearchedSource):
    OPTIONS = ("chip", "format")

    format = "AEDAT 2.0"

    def _open(self, sensor: Sensor | None, options: dict[str, str]) -> Opened:
        header = read_header(self._stored)
        version = self._version(header, options.get("format"))
        self.format = f"AEDAT {version}.0"
        chip = options.get("chip") or header.value("AEChip")
        body = self._stored.size if header.cut else header.body
        found = self._camera(chip, version, body)
        if found is None:
            layout = DAVIS
            reason = "its records are those of a DAVIS, and the file does not say which"
            agreed = agreed_sensor(self.path, None, sensor, reason=reason)
        else:
            agreed = agreed_sensor(self.path, found, sensor)
            dvs128 = "davis" not in found.model.lower() and found.width == 128
            layout = (AEDAT1 if version == 1 else DVS128) if dvs128 else DAVIS
        if version == 1 and layout == DAVIS:
            raise SourceError(f"{self.path}: AEDAT 1.0 of a {chip}; wanted a DVS128, which alone wrote it")
        return Opened(agreed, FixedDecoder(layout, agreed), body, cut=header.cut)

    def _version(self, header: Header, forced: str | None) -> int:
        if header.version is None:
            return 2 if forced == "aedat2" else 1  # without a version line, 1.0 is meant
        if header.version not in ((1, 0), (2, 0)):
            found = ".".join(map(str, header.version))
            raise SourceError(f"{self.path}: is AEDAT {found}; wanted AEDAT 1.0 or 2.0")
        version = header.version[0]
        if forced is not None and forced != f"aedat{version}":
            raise SourceError(f"{self.path}: is AEDAT {version}.0; ?format says {forced}")
        return version

    def _camera(self, chip: str | None, version: int, body: int) -> Sensor | None:
        """The camera of this name, or by the records; None: a DAVIS of unknown size."""
        if chip is not None:
            if known := known_sensor(chip):
                return known
            raise SourceError(
                f"{self.path}: recorded with {chip}; wanted a DVS128, DAVIS128, 208, 240, 346 or 640 "
                "(?chip=NAME reads it as one)"
            )
        sample = self._stored.at(body, SAMPLE_BYTES)
        addresses = np.frombuffer(sample[: len(sample) // 8 * 8], ">u4")[::2]
        wide = version == 2 and np.count_nonzero(addresses >> 16) * 2 > len(addresses)
        return None if wide else Sensor(128, 128, "DVS128")
