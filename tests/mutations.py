"""Damaged copies of a file, and a reading that holds a source to its contract."""

import numpy as np
from test_sources_writers import Events

from spikeline.pipeline.events import PACKET_EVENTS, SourceError

KINDS = ("truncate", "flip one", "flip many", "noise", "delete", "swap", "head", "huge", "append")


def mutated(data, seed, count, kinds=KINDS):
    """(kind, bytes) of `count` damaged copies."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        kind = kinds[int(rng.integers(len(kinds)))]
        copy, n = bytearray(data), len(data)
        at = int(rng.integers(n))
        if kind == "truncate":
            del copy[at:]
        elif kind == "flip one":
            copy[at] ^= 1 << int(rng.integers(8))
        elif kind == "flip many":
            for k in rng.integers(0, n, 16):
                copy[k] ^= 1 << int(rng.integers(8))
        elif kind == "noise":
            size = min(int(rng.integers(16, 1_025)), n - at)
            copy[at : at + size] = rng.bytes(size)
        elif kind == "delete":
            del copy[at : at + int(rng.integers(1, 4_097))]
        elif kind == "swap":
            size = int(rng.integers(1, max(2, n // 4)))
            a, b = sorted(rng.integers(0, n - size, 2)) if n > size else (0, 0)
            copy[a : a + size], copy[b : b + size] = data[b : b + size], data[a : a + size]
        elif kind == "head":
            for k in rng.integers(0, min(n, 2_048), 4):
                copy[k] = int(rng.integers(256))
        elif kind == "huge":
            width = int(rng.choice([4, 8]))
            copy[at : at + width] = b"\xff" * (width - 1) + b"\x7f"
        else:
            copy += rng.bytes(int(rng.integers(1, 3_000)))
        yield kind, bytes(copy)


def read_all(source):
    """All events and the report of a source, which is closed; every packet is held to the contract."""
    columns = [[np.empty(0, kind)] for kind in ("i8", "u2", "u2", "u1")]
    epoch, until_us = -1, None
    with source:
        for packet in source:
            arrays = packet.t, packet.x, packet.y, packet.p
            assert [str(array.dtype) for array in arrays] == ["int64", "uint16", "uint16", "uint8"]
            assert len({len(array) for array in arrays}) == 1 and len(packet) <= PACKET_EVENTS
            assert packet.epoch >= epoch
            if packet.epoch > epoch:
                epoch, until_us = packet.epoch, None
            if len(packet):
                assert np.all(np.diff(packet.t) >= 0) and packet.until_us >= packet.t[-1]
                assert packet.x.max() < source.sensor.width and packet.y.max() < source.sensor.height
                assert packet.p.max() <= 1 and (until_us is None or packet.t[0] >= until_us)
            until_us = packet.until_us
            for held, array in zip(columns, arrays, strict=True):
                held.append(array.copy())
        report = source.report()
    events = Events(*(np.concatenate(held) for held in columns))
    assert report.events == len(events.t)
    assert not any("\n" in line for line in report.damage)
    return events, report


def read_or_refuse(open_it):
    """What `read_all` gives, or None and the one line of a SourceError."""
    try:
        return read_all(open_it())
    except SourceError as error:
        refusal = str(error)
    assert "\n" not in refusal
    return None, refusal


def same(found, expected):
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def is_part(found, events):
    """True if the events found are some of `events`, in their order."""
    rows = iter(zip(*(column.tolist() for column in events), strict=True))
    return all(row in rows for row in zip(*(column.tolist() for column in found), strict=True))
