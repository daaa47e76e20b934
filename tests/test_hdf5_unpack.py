"""Filters that are no part of HDF5: what their own library packs, and damage, comes out as it should."""

import subprocess
import sys

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutated

from spikeline.drivers.formats.hdf5_unpack import Filter, blosclz, can_unpack, unpack_chunk

BLOSC = [
    pytest.param(
        hdf5plugin.Blosc(cname=codec, shuffle=shuffle, clevel=level), id=f"{codec}-{shuffle}-{level}"
    )
    for codec in ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
    for shuffle in (0, 1, 2)
    for level in (1, 9)
]
OTHERS = [
    pytest.param(packing, id=name)
    for name, packing in {
        "lz4": hdf5plugin.LZ4(),
        "lz4 in blocks": hdf5plugin.LZ4(nbytes=1_000),
        "zstd": hdf5plugin.Zstd(),
        "bitshuffle": hdf5plugin.Bitshuffle(cname="none"),
        "bitshuffle lz4": hdf5plugin.Bitshuffle(),
        "bitshuffle zstd": hdf5plugin.Bitshuffle(cname="zstd"),
        "bitshuffle in blocks": hdf5plugin.Bitshuffle(nelems=64),
    }.items()
]
FAST = [p for p in BLOSC if p.id.endswith(("blosclz-1-9", "zstd-2-1", "lz4-1-1", "zlib-0-9"))] + OTHERS


def packed(values, packing, **more):
    """(filters, mask of those left out, chunk) as hdf5plugin writes them, in memory."""
    with h5py.File("memory.h5", "w", driver="core", backing_store=False) as file:
        held = file.create_dataset("a", data=values, chunks=values.shape, **packing, **more)
        plist = held.id.get_create_plist()
        filters = []
        for k in range(plist.get_nfilters()):
            code, _, numbers, _ = plist.get_filter(k)
            filters.append(Filter(code, tuple(numbers), ""))
        return filters, *held.id.read_direct_chunk((0,))


def column(n, kind, order):
    rng = np.random.default_rng(n)
    values = rng.integers(0, 250, n)
    return {"rising": np.sort, "random": np.array, "zeros": np.zeros_like}[order](values).astype(kind)


@pytest.mark.parametrize("packing", [*BLOSC, *OTHERS])
@pytest.mark.parametrize("order", ["rising", "random", "zeros"])
def test_what_the_library_packs_is_unpacked(packing, order):
    for n, kind in ((1, "u4"), (7, "u2"), (1_000, "u1"), (4_097, "i8"), (70_000, "u4")):
        values = column(n, kind, order)
        for more in ({}, {"shuffle": True}):
            filters, left_out, chunk = packed(values, packing, **more)
            assert can_unpack(filters)
            assert unpack_chunk(filters, left_out, chunk, values.nbytes) == values.tobytes()


@pytest.mark.parametrize("packing", FAST)
def test_a_damaged_chunk_is_an_error_or_of_the_right_size(packing):
    values = column(5_000, "u4", "rising")
    filters, left_out, chunk = packed(values, packing)
    for _, copy in mutated(chunk, 3, 300):
        try:
            data = unpack_chunk(filters, left_out, copy, values.nbytes)
        except ValueError as error:
            text = str(error)
        else:
            assert len(data) == values.nbytes
            continue
        assert "\n" not in text and text
    for stop in range(0, len(chunk), 7):
        try:
            assert len(unpack_chunk(filters, left_out, chunk[:stop], values.nbytes)) == values.nbytes
        except ValueError:
            continue


def slow_blosclz(data, size):
    """The same, as simply as can be; None for a damaged stream."""
    out, at = bytearray(), 0
    while at < len(data):
        control = data[at] & (31 if at == 0 else 255)
        at += 1
        if control < 32:
            if at + control + 1 > len(data):
                return None
            out += data[at : at + control + 1]
            at += control + 1
        else:
            length, distance = (control >> 5) + 2, (control & 31) << 8
            try:
                while control >> 5 == 7:
                    length += data[at]
                    at += 1
                    if data[at - 1] < 255:
                        break
                low = data[at]
                at += 1
                if low == 255 and distance == 31 << 8:
                    distance = (data[at] << 8 | data[at + 1]) + 8_191
                    at += 2
                else:
                    distance += low
            except IndexError:
                return None
            if distance + 1 > len(out) or len(out) + length > size:
                return None
            for _ in range(length):
                out.append(out[-distance - 1])
        if len(out) > size:
            return None
    return bytes(out)


@settings(deadline=None, max_examples=300)
@given(st.binary(min_size=1, max_size=60), st.integers(0, 400))
def test_blosclz_is_its_slow_twin(stream, size):
    out = np.zeros(size, np.uint8)
    n = blosclz(np.frombuffer(stream, np.uint8), out)
    expected = slow_blosclz(stream, size)
    if expected is not None:
        assert bytes(out[:n]) == expected


def test_filters_of_others_are_left_to_others():
    assert can_unpack([])
    assert can_unpack([Filter(1, (4,), "deflate")])
    assert not can_unpack([Filter(32_001, (), "blosc"), Filter(3, (), "fletcher32")])
    assert can_unpack([Filter(2, (4,), "shuffle"), Filter(32_015, (), "zstd")])


def test_an_unknown_filter_names_the_extra(tmp_path):
    values = np.arange(100, dtype=np.uint32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "txyp":
            file.create_dataset(f"events/{name}", data=values, chunks=(50,), **hdf5plugin.Blosc2())
    code = (
        "import sys; sys.modules['hdf5plugin'] = None\n"
        "from spikeline.drivers import open_source; from spikeline.pipeline.events import Sensor\n"
        "try: open_source(sys.argv[1], sensor=Sensor(200, 200))\n"
        "except ValueError as error: print(error)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.h5"], capture_output=True, text=True, timeout=60
    )
    expected = "/events/t: packed with filter 32026 (blosc2), which is not known here; pip install"
    assert f"{expected} spikeline[hdf5] knows more\n" in found.stdout
    assert found.stdout.count("\n") == 1 and found.stderr == ""
