"""Events in `.npz` files, with an entry per column, as packets. (`.npy`: npy.py.)

Columns go by name (columns.py). The sensor's size comes from the entries `width` and `height`, or
from the user, and is never guessed. A labelled set has `offsets` (clip k is
`offsets[k]:offsets[k+1]`) and `labels`; each clip is an epoch of its own, numbered like the clip.
A recording of ours has marks, and gives back the packets that were written (recording.py).
Nothing is unpickled. An `.npz` carries a checksum per entry, so a damaged one is refused, not read.
"""

import itertools
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.drivers import uri as grammar
from spikeline.drivers.base import FileSource
from spikeline.drivers.formats.columns import (
    ALL_ALIASES,
    check_kinds,
    coordinates,
    find_columns,
    polarities,
    signed_polarity,
    times_us,
)
from spikeline.drivers.formats.npy import array_header, checked_sensor
from spikeline.drivers.recording import LOSSES, MARKS, WINDOWS, recorded_decisions, recorded_packets
from spikeline.pipeline.events import (
    PACKET_EVENTS,
    Admission,
    EventPacket,
    Sensor,
    SourceError,
    foreign_error,
)

DEFLATE_MOST = 1_100  # deflate packs at most 1032 : 1; an entry that claims more is damaged or a trap


class NpzSource(FileSource):
    """Columns, a labelled set or a recording of ours. Option `clip`: only this clip of a labelled set.

    labels     (clips,) the set's labels, or None
    decisions  (epoch, start_us) of each window that the recorded live run skipped -> why
    """

    format = "npz"
    OPTIONS = ("clip",)

    def __init__(
        self, path: str | Path, *, sensor: Sensor | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        options = options or {}
        grammar.only(options, self.OPTIONS, str(path))
        super().__init__(path)
        self.decisions: dict[tuple[int, int], str] = {}
        self._zip: zipfile.ZipFile | None = None
        try:
            try:
                self._zip = zipfile.ZipFile(path)
            except Exception as error:
                raise SourceError(
                    f"{path}: not a whole zip file ({foreign_error('zip', error)}); "
                    "an .npz cut short has lost its table of contents"
                ) from error
            self.names = {name[:-4] for name in self._zip.namelist() if name.endswith(".npy")}
            self._columns = find_columns(self.names & ALL_ALIASES, f"{path}")
            self.sensor = checked_sensor(self._own_sensor(), sensor, str(path))
            self._admission = Admission(self.sensor)
            clip = grammar.whole(options, "clip", 0, str(path)) if "clip" in options else None
            self._clips = self._own_clips(clip)
            if set(WINDOWS) <= self.names:
                windows = [self._integers(name) for name in WINDOWS]
                self.decisions = recorded_decisions(windows, str(path))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._zip is not None:
            self._zip.close()
        super().close()

    def _own_sensor(self) -> Sensor | None:
        if not {"width", "height"} <= self.names:
            return None
        width, height = self._entry("width"), self._entry("height")
        if (
            width.size != 1
            or height.size != 1
            or width.dtype.kind not in "iu"
            or height.dtype.kind not in "iu"
        ):
            raise SourceError(f"{self.path}: width and height are {width!r}, {height!r}; wanted two integers")
        model = self._entry("model") if "model" in self.names else np.array("")
        name = str(model[()]) if model.dtype.kind == "U" and model.ndim == 0 else ""
        return Sensor(int(width.item()), int(height.item()), name)

    def _own_clips(self, clip: int | None) -> list[tuple[int, int]] | None:
        """(start, stop) of the clips to read; None: the file is one stream."""
        self.labels: NDArray[Any] | None = None
        if "offsets" not in self.names:
            if clip is not None:
                raise SourceError(f"{self.path}: clip={clip}: not a labelled set; it has no entry 'offsets'")
            return None
        offsets = self._integers("offsets")
        clips = len(offsets) - 1
        if clips < 0 or offsets[0] < 0 or np.any(offsets[1:] < offsets[:-1]):
            raise SourceError(f"{self.path}: offsets {offsets!r}; wanted 0 <= start <= ... <= events")
        if "labels" in self.names:
            self.labels = self._entry("labels")
            if self.labels.shape != (clips,):
                raise SourceError(f"{self.path}: labels of shape {self.labels.shape}; wanted ({clips},)")
        spans = [(int(a), int(b)) for a, b in itertools.pairwise(offsets)]
        if clip is None:
            return spans
        if not 0 <= clip < clips:
            raise SourceError(f"{self.path}: clip={clip}; wanted 0 to {clips - 1}")
        return [spans[clip]]

    def _packets(self) -> Iterator[EventPacket]:
        path, report = str(self.path), self._admission.report
        named = {ours: self._entry(name) for ours, name in self._columns.items()}
        check_kinds({ours: column.dtype for ours, column in named.items()}, path)
        shapes = {ours: column.shape for ours, column in named.items()}
        n = named["t"].size
        if any(shape != (n,) for shape in shapes.values()):
            listed = ", ".join(f"{ours} {shape}" for ours, shape in shapes.items())
            raise SourceError(f"{path}: columns of the shapes {listed}; wanted four of one length")
        signed = signed_polarity([named["p"]], path)
        report.bytes = self._stored.size
        if any(mark in self.names for mark in MARKS):
            if self._clips is not None:
                raise SourceError(f"{path}: holds both offsets and {MARKS[0]}; wanted a set or a recording")
            missing = [mark for mark in MARKS if mark not in self.names]
            if missing:
                raise SourceError(
                    f"{path}: no entry {', '.join(missing)}; a recording has all of {', '.join(MARKS)}"
                )
            marks = [self._integers(mark) for mark in MARKS]
            for name in LOSSES:
                if name in self.names and (entry := self._entry(name)).size == 1 and entry.dtype.kind in "iu":
                    setattr(report, name, max(0, int(entry.item())))
            yield from recorded_packets(
                times_us(named["t"]),
                coordinates(named["x"]),
                coordinates(named["y"]),
                polarities(named["p"], signed),
                marks,
                self.sensor,
                report,
                path,
            )
            return
        clips = [(0, n)] if self._clips is None else self._clips
        if clips and clips[-1][1] > n:
            raise SourceError(f"{path}: offsets reach {clips[-1][1]}; the file has {n} events")
        for start, stop in clips:
            if self._clips is not None:
                self._admission.new_epoch()
            for first in range(start, stop, PACKET_EVENTS):
                piece = slice(first, min(stop, first + PACKET_EVENTS))
                yield from self._admission.admit(
                    times_us(named["t"][piece]),
                    coordinates(named["x"][piece]),
                    coordinates(named["y"][piece]),
                    polarities(named["p"][piece], signed),
                )

    def _integers(self, name: str) -> NDArray[np.int64]:
        entry = self._entry(name)
        if entry.ndim != 1 or entry.dtype.kind not in "iu":
            raise SourceError(
                f"{self.path}: {name} is {entry.dtype} of shape {entry.shape}; wanted (k,) integers"
            )
        return entry.astype(np.int64)

    def _entry(self, name: str) -> NDArray[Any]:
        """One array, whole and with its checksum verified; its declared size is checked before it is read."""
        where = f"{self.path}: entry {name}"
        assert self._zip is not None
        try:
            info = self._zip.getinfo(f"{name}.npy")
            if info.file_size > DEFLATE_MOST * info.compress_size + 1_024:
                raise SourceError(
                    f"{where}: declares {info.file_size} bytes in {info.compress_size} packed ones"
                )
            with self._zip.open(info) as file:
                shape, dtype = array_header(file, where)
                count = int(np.prod(shape, dtype=object))
                data = file.read()
            if len(data) != count * dtype.itemsize:
                raise SourceError(
                    f"{where}: {len(data)} bytes; wanted {count * dtype.itemsize} for shape {shape}"
                )
            return np.frombuffer(data, dtype).reshape(shape)
        except SourceError:
            raise
        except zlib.error as error:
            raise SourceError(f"{where}: damaged: {error}") from error
        except Exception as error:
            raise foreign_error(where, error) from error
