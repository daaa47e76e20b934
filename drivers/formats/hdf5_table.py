"""One HDF5 dataset of events, read row range by row range; what is damaged or missing is said, not guessed.

HDF5 itself reads a chunk that is not there as zeros, and so does a file that was cut (see hdf5_file.py). So
the chunks are looked up first: where each lies, and whether the file still has all of its bytes.
"""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.formats import ecf
from spikeline.drivers.formats.hdf5_file import corners
from spikeline.drivers.formats.hdf5_unpack import FOREIGN, Filter, can_unpack, unpack_chunk
from spikeline.pipeline.events import SourceError, foreign_error

MOST_CHUNK = 256 << 20  # bytes of one chunk, unpacked; it must fit into memory
SURE_CHUNK = 16 << 20  # up to here whatever the file's size
PIECE_ROWS = 1 << 20  # read at once; a chunk with more stays unpacked in HDF5's cache

Stored = tuple[int, int]  # first and last byte (exclusive)
Corner = tuple[int, ...]  # a chunk's first row, and first column if there are several


class Loss(NamedTuple):
    """Rows of one dataset that cannot be read."""

    start: int
    stop: int
    name: str  # of the dataset
    reason: str
    stored: Stored | None = None  # where they lie in the file
    cut: bool = False  # behind its end


class Table:
    """A dataset of rows: one column, a compound of several, or a matrix."""

    def __init__(self, dataset: h5py.Dataset, file_bytes: int, path: Path) -> None:
        self.name = dataset.name
        self._dataset, self._file_bytes, self._where = dataset, file_bytes, f"{path}: {self.name}"
        where = self._where
        self.dtype, self.rows = dataset.dtype, dataset.shape[0]
        plist = dataset.id.get_create_plist()
        self._filters = [_filter(plist, k) for k in range(plist.get_nfilters())]
        layout = plist.get_layout()
        self._by_us = self._check_filters() and layout == h5py.h5d.CHUNKED
        if layout == h5py.h5d.VIRTUAL or plist.get_external_count():
            raise SourceError(f"{where}: its events lie in other files, which are never followed")
        self._row_bytes = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=object))
        if dataset.dtype.hasobject or self._row_bytes == 0:
            raise SourceError(f"{where}: holds {dataset.dtype} of shape {dataset.shape}; wanted numbers")
        self.chunk_rows = 0
        self._first_byte: int | None = None
        self._chunks: dict[int, dict[Corner, Stored]] = {}  # by first row; several where columns are cut too
        self._unpacked: tuple[int, NDArray[Any]] | None = None  # the last rows that we unpacked
        if layout == h5py.h5d.CHUNKED:
            self._look_up_chunks(dataset.chunks)
        elif layout == h5py.h5d.CONTIGUOUS:
            self._first_byte = dataset.id.get_offset()
        self._there = self.rows  # rows of a dataset without chunks that the file has bytes for
        if layout == h5py.h5d.CONTIGUOUS:
            held = 0 if self._first_byte is None else file_bytes - self._first_byte
            self._there = min(self.rows, max(0, held) // self._row_bytes)

    def _check_filters(self) -> bool:
        """True if we can unpack the chunks."""
        if any(f.code == ecf.FILTER for f in self._filters):
            if len(self._filters) > 1 or set(self.dtype.names or ()) != set("txyp"):
                raise SourceError(
                    f"{self._where}: ECF of {self.dtype}; wanted t, x, y, p and no other filter"
                )
            return True
        as_stored = self._dataset.id.get_type().get_size() == self.dtype.itemsize and self._dataset.ndim <= 2
        if as_stored and can_unpack(self._filters):
            return True
        for f in self._filters:
            if f.code >= FOREIGN and not h5py.h5z.filter_avail(f.code):
                with contextlib.suppress(ImportError):
                    import hdf5plugin  # noqa: F401 - importing it makes its filters known
            if not h5py.h5z.filter_avail(f.code):
                raise SourceError(
                    f"{self._where}: packed with filter {f.code} ({f.name or 'no name'}), which is not known "
                    "here; pip install spikeline[hdf5] knows more"
                )
        return False

    def _look_up_chunks(self, chunk: tuple[int, ...]) -> None:
        dataset, size = self._dataset, int(np.prod(chunk, dtype=object)) * self.dtype.itemsize
        if size > min(MOST_CHUNK, max(SURE_CHUNK, 4 * self._file_bytes)):
            raise SourceError(
                f"{self._where}: chunks of {size} bytes in a file of {self._file_bytes}; "
                f"wanted up to {MOST_CHUNK}, and no more than the file explains"
            )
        self.chunk_rows = chunk[0]
        if self.chunk_rows > PIECE_ROWS:
            cached = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
            cached.set_chunk_cache(521, size + 1, 1.0)
            self._dataset = h5py.Dataset(h5py.h5d.open(dataset.file.id, self.name.encode(), cached))
        found: dict[tuple[int, ...], tuple[int | None, int]] = {}
        try:
            dataset.id.chunk_iter(lambda at: found.update({at.chunk_offset: (at.byte_offset, at.size)}))
        except Exception:  # part of the list is damaged: ask for each chunk
            found.clear()
            for corner in corners(dataset):
                try:
                    at = dataset.id.get_chunk_info_by_coord(corner)
                except Exception:
                    continue
                found[corner] = at.byte_offset, at.size
        for corner, (offset, length) in found.items():
            fits = all(at % step == 0 for at, step in zip(corner, chunk, strict=True))
            if offset and length and fits and (length == size or self._filters):
                self._chunks.setdefault(corner[0], {})[corner] = offset, offset + length
        per_row = int(np.prod([-(-w // c) for w, c in zip(dataset.shape[1:], chunk[1:], strict=True)]))
        self._chunks = {row: held for row, held in self._chunks.items() if len(held) == per_row}

    def present(self, rows: int) -> list[tuple[int, int]]:
        """The row ranges that the file has a place for, of the first `rows`."""
        if self.chunk_rows == 0:
            there = min(rows, self._there)
            return [(0, there)] if there else []
        ranges: list[tuple[int, int]] = []
        for start in sorted(self._chunks):
            stop = min(rows, start + self.chunk_rows)
            if ranges and ranges[-1][1] == start:
                ranges[-1] = ranges[-1][0], stop
            elif start < rows:
                ranges.append((start, stop))
        return ranges

    def read(self, start: int, stop: int) -> tuple[NDArray[Any], list[Loss]]:
        """Rows start..stop, zeros where they are lost, and what is lost of them."""
        if self.chunk_rows == 0:
            return self._read_contiguous(start, stop)
        whole, losses = np.zeros((stop - start, *self._dataset.shape[1:]), self.dtype), []
        good: list[tuple[int, int]] = []
        for first in range(start - start % self.chunk_rows, stop, self.chunk_rows):
            a, b = max(start, first), min(stop, first + self.chunk_rows)
            held = self._chunks.get(first)
            if held is None:
                losses.append(self.absent(a, b))
            elif (lies := _span(held))[1] > self._file_bytes:
                losses.append(Loss(a, b, self.name, "behind the file's end", lies, True))
            elif good and good[-1][1] == a and not self._by_us:
                good[-1] = good[-1][0], b
            else:
                good.append((a, b))
        for a, b in good:
            losses += self._fill(whole[a - start : b - start], a, b)
        return whole, sorted(losses)

    def absent(self, start: int, stop: int) -> Loss:
        """Rows without a place in the file."""
        if self._first_byte is None:
            return Loss(start, stop, self.name, "not in the file's list of chunks")
        lies = tuple(self._first_byte + row * self._row_bytes for row in (start, stop))
        return Loss(start, stop, self.name, "behind the file's end", lies, True)

    def _read_contiguous(self, start: int, stop: int) -> tuple[NDArray[Any], list[Loss]]:
        there = min(stop, max(start, self._there))
        whole = np.zeros((stop - start, *self._dataset.shape[1:]), self.dtype)
        losses = self._fill(whole[: there - start], start, there) if there > start else []
        return whole, losses if there == stop else [*losses, self.absent(there, stop)]

    def _fill(self, into: NDArray[Any], start: int, stop: int) -> list[Loss]:
        """Read rows that the file has; where that fails, chunk by chunk."""
        try:
            if self._by_us:
                first = start - start % self.chunk_rows
                into[...] = self._rows_from(first)[start - first : stop - first]
            else:
                into[...] = self._dataset[start:stop]
            return []
        except Exception as error:
            size = self.chunk_rows or stop
            if start - start % size + size >= stop:  # one chunk
                into[...] = np.zeros((), self.dtype)
                held = self._chunks.get(start - start % size)
                reason = str(foreign_error("cannot be read", error))
                return [Loss(start, stop, self.name, reason, _span(held) if held else None)]
        losses = []
        for a in range(start - start % size, stop, size):
            a, b = max(start, a), min(stop, a + size)
            losses += self._fill(into[a - start : b - start], a, b)
        return losses

    def _rows_from(self, first: int) -> NDArray[Any]:
        """The rows of one chunk (of all chunks side by side, for a matrix), unpacked by us."""
        if self._unpacked is None or self._unpacked[0] != first:
            chunk = self._dataset.chunks
            rows = np.zeros((chunk[0], *self._dataset.shape[1:]), self.dtype)
            for corner in self._chunks[first]:
                held = self._unpack(corner, chunk)
                if len(chunk) == 1:
                    rows = held
                else:
                    rows[:, corner[1] : corner[1] + chunk[1]] = held[:, : rows.shape[1] - corner[1]]
            self._unpacked = first, rows
        return self._unpacked[1]

    def _unpack(self, corner: Corner, shape: tuple[int, ...]) -> NDArray[Any]:
        """A filter may have been left out for a chunk that it would not have made smaller."""
        left_out, data = self._dataset.id.read_direct_chunk(corner)
        packed_as = self._filters[0].code if self._filters else None
        if packed_as == ecf.FILTER and not left_out:
            rows = np.zeros(shape, self.dtype)
            n = min(shape[0], self.rows - corner[0])
            for name, column in zip("txyp", ecf.decode(data, n), strict=True):
                rows[name][:n] = column
            return rows
        size = int(np.prod(shape)) * self.dtype.itemsize
        if packed_as != ecf.FILTER:
            data = unpack_chunk(self._filters, left_out, data, size)
        return np.frombuffer(data, self.dtype, int(np.prod(shape))).reshape(shape)


def _span(held: dict[Corner, Stored]) -> Stored:
    return min(start for start, _ in held.values()), max(stop for _, stop in held.values())


def _filter(plist: Any, k: int) -> Filter:
    code, _, values, name = plist.get_filter(k)
    return Filter(code, tuple(values), name.decode("ascii", "replace"))
