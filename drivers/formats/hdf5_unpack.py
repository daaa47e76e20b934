"""Chunks of HDF5 files: unpacked from deflate, Blosc, LZ4, Zstandard, Bitshuffle.

DSEC and most newer sets use one of the latter four. They are unpacked here rather than by HDF5's plugins,
which are 190 MB and trust what they read; here every length is checked, and nothing unpacks to more than its
chunk holds. So are deflated and bare chunks: HDF5 gives zeros, without an error, for a chunk that a damaged
list still names and looking up no longer finds. Numbers in Blosc are little-endian, in LZ4 and Bitshuffle
big-endian.
"""

import itertools
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import lz4.block
import numba
import numpy as np
import zstandard
from numpy.typing import NDArray

DEFLATE, SHUFFLE, BLOSC, LZ4, BITSHUFFLE, ZSTD = 1, 2, 32_001, 32_004, 32_008, 32_015
FOREIGN = 256  # filters from here on are no part of HDF5

Bytes = NDArray[np.uint8]


class Filter(NamedTuple):
    code: int
    values: tuple[int, ...]
    name: str


def can_unpack(filters: Sequence[Filter]) -> bool:
    """True for filters of which none is for anybody else."""
    return all(f.code in _UNPACK for f in filters)


def unpack_chunk(filters: Sequence[Filter], left_out: int, chunk: bytes, size: int) -> bytes:
    """`size` bytes. `left_out`: a bit for each filter that was not applied. ValueError: it is damaged."""
    try:
        for k in reversed(range(len(filters))):
            if not left_out >> k & 1:
                chunk = _UNPACK[filters[k].code](chunk, size, filters[k].values)
    except (IndexError, RuntimeError, zlib.error, zstandard.ZstdError, lz4.block.LZ4BlockError) as error:
        raise ValueError(f"it does not unpack: {' '.join(str(error).split())}") from None
    if len(chunk) != size:
        raise ValueError(f"it unpacks to {len(chunk)} bytes; wanted {size}")
    return chunk


def _inflate(chunk: bytes, size: int, values: tuple[int, ...]) -> bytes:
    stream = zlib.decompressobj()
    data = stream.decompress(chunk, size + 1)
    if not stream.eof:  # then its checksum was not looked at
        raise ValueError(f"it is cut, or holds more than {size} bytes")
    return data


def _unzstd(chunk: bytes, size: int, values: tuple[int, ...] = ()) -> bytes:
    declared = zstandard.get_frame_parameters(chunk).content_size
    if declared not in (size, zstandard.CONTENTSIZE_UNKNOWN):
        raise ValueError(f"it declares {declared} bytes; wanted {size}")
    return zstandard.ZstdDecompressor().decompress(chunk, max_output_size=size)


def _unshuffle(chunk: bytes, size: int, values: tuple[int, ...]) -> bytes:
    return _bytes_together(chunk, values[0] if values else 1)


def _bytes_together(data: bytes, width: int) -> bytes:
    """First the first bytes of all elements, then their second, ...: each element in one place again."""
    n = len(data) // width if width > 1 else 0
    if n == 0:
        return data
    apart = np.frombuffer(data, np.uint8, n * width).reshape(width, n)
    return apart.T.tobytes() + data[n * width :]


def _bits_together(data: bytes, width: int) -> bytes:
    """The same for bits, of a multiple of eight elements."""
    n = len(data) // width
    bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(8 * width, n // 8), axis=1, bitorder="little")
    return np.packbits(bits.T, axis=1, bitorder="little").tobytes()


def _unlz4(chunk: bytes, size: int, values: tuple[int, ...] = ()) -> bytes:
    """uint64 whole size, uint32 block size; blocks: uint32 packed size, an LZ4 block or bare bytes."""
    whole, block = int.from_bytes(chunk[:8], "big"), int.from_bytes(chunk[8:12], "big")
    if whole != size or block == 0:
        raise ValueError(f"it declares {whole} bytes in blocks of {block}; wanted {size} in all")
    parts, at = [], 12
    for first in range(0, size, block):
        here = min(block, size - first)
        held = int.from_bytes(chunk[at : at + 4], "big")
        parts.append(_lz4_block(chunk[at + 4 : at + 4 + held], held, here))
        at += 4 + held
    return b"".join(parts)


def _lz4_block(data: bytes, held: int, size: int) -> bytes:
    if len(data) < held:
        raise ValueError("it is cut")
    return data if held == size else lz4.block.decompress(data, uncompressed_size=size)


def _unbitshuffle(chunk: bytes, size: int, values: tuple[int, ...]) -> bytes:
    """Blocks of elements, bits together, then perhaps packed; what does not fill eight elements is bare."""
    _, _, width, block, packing = (*values, 0, 0)[:5] if len(values) >= 3 else (0, 0, 0, 0, 0)
    if width == 0 or packing not in (0, 2, 3):
        raise ValueError(f"bitshuffle of {width} bytes with packing {packing}; wanted LZ4 or Zstandard")
    block = block or max(128, 8_192 // width // 8 * 8)
    at = 0
    if packing:
        whole, block = int.from_bytes(chunk[:8], "big"), int.from_bytes(chunk[8:12], "big") // width
        if whole != size or block == 0 or block % 8:
            raise ValueError(f"it declares {whole} bytes in blocks of {block}; wanted {size} in all")
        at = 12
    n = size // width
    edges = [*range(0, n // block * block + 1, block), *([n // 8 * 8] if n % block >= 8 else [])]
    parts = []
    for first, last in itertools.pairwise(edges):
        here = (last - first) * width
        if packing:
            held = int.from_bytes(chunk[at : at + 4], "big")
            data = chunk[at + 4 : at + 4 + held]
            at += 4 + held
            if len(data) < held:
                raise ValueError("it is cut")
            data = lz4.block.decompress(data, uncompressed_size=here) if packing == 2 else _unzstd(data, here)
        else:
            data = chunk[at : at + here]
            at += here
        if len(data) != here:
            raise ValueError(f"a block of {len(data)} bytes; wanted {here}")
        parts.append(_bits_together(data, width))
    rest = size - edges[-1] * width
    return b"".join(parts) + chunk[at : at + rest]


def _unblosc(chunk: bytes, size: int, values: tuple[int, ...] = ()) -> bytes:
    """Head of 16 bytes, where each block begins (int32), blocks: one stream, or one a byte of an element."""
    flags, width = chunk[2], chunk[3]
    whole, block, held = (int.from_bytes(chunk[k : k + 4], "little") for k in (4, 8, 12))
    if whole != size or held != len(chunk) or (block == 0 and size):
        raise ValueError(f"it declares {whole} bytes in {held}; wanted {size} in {len(chunk)}")
    if flags & 2:  # it would not become smaller
        return chunk[16 : 16 + size]
    unpack = _STREAMS.get(flags >> 5)
    if unpack is None:
        raise ValueError(f"Blosc with codec {flags >> 5}; wanted blosclz, LZ4, zlib or Zstandard")
    parts = []
    for k, first in enumerate(range(0, size, block)):
        here = min(block, size - first)
        at = int.from_bytes(chunk[16 + 4 * k : 20 + 4 * k], "little")
        splits = flags & 16 == 0 and 0 < width <= 16 and block // width >= 128 and here == block
        streams = width if splits else 1
        data = b""
        for _ in range(streams):
            length = int.from_bytes(chunk[at : at + 4], "little")
            stream = chunk[at + 4 : at + 4 + length]
            at += 4 + length
            if len(stream) < length or at > len(chunk):
                raise ValueError("it is cut")
            data += stream if length == here // streams else unpack(stream, here // streams)
        if len(data) != here:
            raise ValueError(f"a block of {len(data)} bytes; wanted {here}")
        if flags & 1:
            data = _bytes_together(data, width)
        elif flags & 4 and width and here // width % 8 == 0 and here >= width:
            bits = here // width * width
            data = _bits_together(data[:bits], width) + data[bits:]
        parts.append(data)
    return b"".join(parts)


def _unblosclz(stream: bytes, size: int) -> bytes:
    out = np.empty(size, np.uint8)
    if blosclz(np.frombuffer(stream, np.uint8), out) != size:
        raise ValueError("a blosclz stream is damaged")
    return out.tobytes()


@numba.njit(cache=True, nogil=True)
def blosclz(data, out):
    """Unpack; returns the bytes written, fewer than `out` has for a damaged stream.

    A byte below 32: so many literal bytes and one more follow. Else length (upper 3 bits) and distance
    (lower 5, and the next byte) of what to repeat; 7 goes on in bytes up to one below 255, and the farthest
    distance in two more.
    """
    size, most = data.shape[0], out.shape[0]
    at, n = 0, 0
    first = True
    while at < size:
        control = np.int64(data[at])
        if first:
            control &= 31
            first = False
        at += 1
        if control < 32:
            if at + control + 1 > size or n + control + 1 > most:
                return n
            for _ in range(control + 1):
                out[n] = data[at]
                n += 1
                at += 1
            continue
        length = (control >> 5) + 2
        distance = (control & 31) << 8
        if length == 9:
            while True:
                if at >= size:
                    return n
                more = np.int64(data[at])
                at += 1
                length += more
                if more < 255:
                    break
        if at >= size:
            return n
        low = np.int64(data[at])
        at += 1
        if low == 255 and distance == 31 << 8:
            if at + 2 > size:
                return n
            distance = (np.int64(data[at]) << 8 | np.int64(data[at + 1])) + 8_191
            at += 2
        else:
            distance += low
        distance += 1
        if distance > n or n + length > most:
            return n
        for _ in range(length):
            out[n] = out[n - distance]
            n += 1
    return n


_STREAMS: dict[int, Callable[[bytes, int], bytes]] = {
    0: _unblosclz,
    1: lambda stream, size: lz4.block.decompress(stream, uncompressed_size=size),
    3: lambda stream, size: zlib.decompressobj().decompress(stream, size),
    4: _unzstd,
}
_UNPACK: dict[int, Callable[[bytes, int, tuple[int, ...]], bytes]] = {
    DEFLATE: _inflate,
    SHUFFLE: _unshuffle,
    BLOSC: _unblosc,
    LZ4: _unlz4,
    BITSHUFFLE: _unbitshuffle,
    ZSTD: _unzstd,
}
