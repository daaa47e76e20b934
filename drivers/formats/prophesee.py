"""Prophesee RAW recordings: a text header and words in EVT2, EVT2.1 or EVT3; also words without a header.

Options of the URI: `format=evt2|evt21|evt3`, needed without a header, and `endianness=little|legacy` for
EVT2.1. The sensor's size is what the header says, else what the user says, else that of the camera that
the header names.
"""

import re
from collections.abc import Iterator

import numpy as np

from spikeline.drivers.formats.evt2 import Evt2Decoder
from spikeline.drivers.formats.evt3 import Evt3Decoder
from spikeline.drivers.formats.evt21 import GUESS_WORDS, ORDERS, Evt21Decoder, guess_order, is_aligned
from spikeline.drivers.formats.evt_words import WordDecoder
from spikeline.drivers.formats.prophesee_header import (
    Header,
    checked_size,
    read_header,
    shift_of,
    size_of,
    whole_of,
)
from spikeline.drivers.formats.records import Opened, RecordSource, agreed_sensor
from spikeline.pipeline.events import EventPacket, Sensor, SourceError

NAMES = {"evt2": "EVT2", "evt21": "EVT2.1", "evt3": "EVT3"}
VERSIONS = {"2.0": "evt2", "2.1": "evt21", "3.0": "evt3"}  # of the key `evt`
SYSTEMS = {  # by the key `system_ID`
    21: Sensor(640, 480, "Gen3"),
    28: Sensor(640, 480, "Gen3.1"),
    48: Sensor(1280, 720, "Gen4.1"),
    49: Sensor(1280, 720, "IMX636"),
    50: Sensor(1280, 720, "IMX636"),
}
PLUGINS = {  # by the key `plugin_name`
    "genx320": Sensor(320, 320, "GenX320"),
    "imx636": Sensor(1280, 720, "IMX636"),
    "gen41": Sensor(1280, 720, "Gen4.1"),
    "gen31": Sensor(640, 480, "Gen3.1"),
    "gen3": Sensor(640, 480, "Gen3"),
}
FIRST_LITTLE = 0x37  # cameras of a smaller system_ID write EVT2.1 in the legacy order

_PART = re.compile(r"(\w+)=(\w+)")


class RawSource(RecordSource):
    """A RAW file. `others` counts what is no event: external triggers and the like."""

    OPTIONS = ("format", "endianness")

    def _open(self, sensor: Sensor | None, options: dict[str, str]) -> Opened:
        header = read_header(self._stored)
        parts = dict(_PART.findall(header.fields.get("format", "")))
        name = self._name(header, options)
        self.format = NAMES[name]
        found = self._size(header, parts)
        size = agreed_sensor(self.path, found, sensor or (None if found else camera_of(header)))
        shift_us, notes = shift_of(header)
        decoder: WordDecoder
        if name == "evt2":
            decoder = Evt2Decoder(shift_us)
        elif name == "evt3":
            decoder = Evt3Decoder(shift_us)
        else:
            data = np.frombuffer(self._stored.at(header.body, 8 * GUESS_WORDS), np.uint8)
            order = self._order(header, parts, options) or guess_order(data) or likely_order(header)
            decoder = Evt21Decoder(order, shift_us, aligned=is_aligned(data, order))
        return Opened(size, decoder, header.body, (*header.notes, *notes), header.cut)

    def _packets(self) -> Iterator[EventPacket]:
        yield from super()._packets()
        refused = self._admission.report.refused
        if self._admission.epoch < 0 and refused:
            self.note(f"no event of {refused} has a time: no TIME_HIGH is among the words")

    def _name(self, header: Header, options: dict[str, str]) -> str:
        if "format" in options:
            if options["format"] not in NAMES:
                raise SourceError(f"{self.path}: format={options['format']}; choose from {', '.join(NAMES)}")
            return options["format"]
        if not header.found:
            raise SourceError(
                f"{self.path}: no Prophesee header; ?format=evt2 (or evt21, evt3) says what it is"
            )
        said = header.fields.get("format", "").partition(";")[0].strip()
        if said:
            name = said.lower().replace(".", "")
            if name not in NAMES:
                raise SourceError(f"{self.path}: its format is {said}; wanted {', '.join(NAMES.values())}")
            return name
        version = header.fields.get("evt", "")
        if version not in VERSIONS:
            found = f"evt {version}" if version else "neither `evt` nor `format`"
            raise SourceError(f"{self.path}: the header says {found}; wanted evt {', '.join(VERSIONS)}")
        return VERSIONS[version]

    def _size(self, header: Header, parts: dict[str, str]) -> Sensor | None:
        """From `geometry` and from `format`; both must say the same."""
        where, found = str(self.path), []
        if "geometry" in header.fields:
            found.append(size_of(header.fields["geometry"], where))
        if "width" in parts and "height" in parts:
            width, height = whole_of(parts["width"]), whole_of(parts["height"])
            if width is None or height is None:
                raise SourceError(
                    f"{where}: format {header.fields['format']!r}; wanted width and height in it"
                )
            found.append(checked_size(width, height, where))
        if len(set(found)) > 1:
            said = " and ".join(f"{size.width}x{size.height}" for size in found)
            raise SourceError(f"{where}: the header says {said} pixels; wanted one size")
        if not found:
            return None
        model = camera_of(header)
        return found[0]._replace(model=model.model if model and model[:2] == found[0][:2] else "")

    def _order(self, header: Header, parts: dict[str, str], options: dict[str, str]) -> str | None:
        """Of the halves of an EVT2.1 word, where somebody says it."""
        said = options.get("endianness") or parts.get("endianness") or header.fields.get("endianness")
        if said and said not in ORDERS:
            raise SourceError(f"{self.path}: endianness {said}; wanted {' or '.join(ORDERS)}")
        return said


def likely_order(header: Header) -> str:
    system = whole_of(header.fields.get("system_id", ""))
    return "legacy" if system is not None and system < FIRST_LITTLE else "little"


def camera_of(header: Header) -> Sensor | None:
    """The camera by its system number or its plugin's name."""
    system = whole_of(header.fields.get("system_id", ""))
    if system in SYSTEMS:
        return SYSTEMS[system]
    plugin = header.fields.get("plugin_name", "")
    return next((sensor for name, sensor in PLUGINS.items() if name in plugin), None)
