"""One matrix of numbers out of a MATLAB 5 file (`.mat`, versions 5 to 7; 7.3 is HDF5).

A file is a header of 128 bytes and elements: type and size of 4 bytes each, or 2 and 2 where the data fit
into the other 4, then data, filled up to 8 bytes. A matrix is an element that holds elements: flags,
dimensions, name, and its numbers column by column, which may be stored as a smaller kind than the array's.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.events import SourceError

KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15
NUMBERS = range(6, 16)  # array classes: double to uint64
COMPLEX = 0x800
HEADER_BYTES = 128
MOST_NAME = 63  # letters of a name, by MATLAB's own rule
MOST_BYTES = 1 << 30  # of one packed element


def read_matrix(path: Path, name: str) -> NDArray[np.float64]:
    """The array of this name, as float64. Raises SourceError for any other file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) < HEADER_BYTES or data[126:128] not in (b"IM", b"MI"):
        raise SourceError(f"{path}: no MATLAB 5 file; wanted one with a matrix {name!r}")
    order = "<" if data[126:128] == b"IM" else ">"
    names = []
    try:
        for kind, body in _elements(data[HEADER_BYTES:], order):
            if kind == COMPRESSED:
                packed = zlib.decompressobj()
                kind, body = next(_elements(packed.decompress(body, MOST_BYTES), order))
            if kind != MATRIX:
                continue
            found, matrix = _matrix(body, order)
            if found == name and matrix is not None:
                return matrix
            names.append(found)
    except (struct.error, zlib.error, ValueError, StopIteration, KeyError) as error:
        raise SourceError(f"{path}: damaged: {error or 'it ends too early'}") from error
    raise SourceError(f"{path}: holds {', '.join(names) or 'nothing'}; wanted a matrix of numbers {name!r}")


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(type, data) of the elements one after another."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # the small form
            kind, size = kind & 0xFFFF, kind >> 16
            yield kind, data[at + 4 : at + 4 + size]
            at += 8
            continue
        if at + 8 + size > len(data):
            raise ValueError(f"an element of {size} bytes where {len(data) - at - 8} are left")
        yield kind, data[at + 8 : at + 8 + size]
        at += 8 + size + (0 if kind == COMPRESSED else -size % 8)


def _matrix(body: bytes, order: str) -> tuple[str, NDArray[np.float64] | None]:
    """Name and numbers; None for what is no plain array of numbers."""
    elements = _elements(body, order)
    _, flags = next(elements)
    (word,) = struct.unpack_from(f"{order}I", flags)
    _, sizes = next(elements)
    shape = tuple(int(n) for n in np.frombuffer(sizes, f"{order}i4"))
    _, letters = next(elements)
    name = "".join(chr(byte) for byte in letters[:MOST_NAME] if 32 < byte < 127)
    if word & 0xFF not in NUMBERS or word & COMPLEX:
        return name, None
    kind, numbers = next(elements)
    values = np.frombuffer(numbers, f"{order}{KINDS[kind]}")
    return name, values.astype(np.float64).reshape(shape, order="F")
