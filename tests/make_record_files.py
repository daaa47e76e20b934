"""Small files of formats with one event after another: AEDAT 1 to 3, EVT, DAT, ES, N-MNIST, CSV and npy."""

import gzip
import io
import zlib

import make_aedat
import make_prophesee
import numpy as np
import test_sources_writers as writers
from made import SIDE, Made, one_each, records, rows
from make_aedat import DVS128, SPECIAL_DAVIS, SPECIAL_DVS128, imu_addresses
from test_sources_writers import Events


def aedat1(events: Events) -> Made:
    others = _specials(events, SPECIAL_DVS128)
    body = make_aedat.aedat1(events, others)
    return _with_headers(make_aedat.aedat_header("1.0"), body, 6, _behind(events, others))


def aedat2(events: Events, chip: str) -> Made:
    others = _specials(events, SPECIAL_DVS128 if chip == DVS128 else SPECIAL_DAVIS)
    if chip != DVS128:
        for k in range(30, len(events.t), 60):
            others += [(k, address, int(events.t[k])) for address in imu_addresses(k)]
    body = make_aedat.aedat2(events, chip, others)
    return _with_headers(make_aedat.aedat_header("2.0", chip), body, 8, _behind(events, others))


def _specials(events: Events, address: int) -> list[tuple[int, int, int]]:
    """Special records: (event it stands before, address, time)."""
    return [(k, address, int(events.t[k])) for k in range(50, len(events.t), 100)]


def _behind(events: Events, others: list[tuple[int, int, int]]) -> np.ndarray:
    """The record of each event, where records of other kinds stand before some."""
    before = np.zeros(len(events.t), np.int64)
    np.add.at(before, [index for index, _, _ in others], 1)
    return np.arange(len(events.t)) + np.cumsum(before)


def _with_headers(head: bytes, body: bytes, unit: int, positions: np.ndarray) -> Made:
    """As `records`; and a header that needs no last line may end behind any."""
    made = records(head, body, unit, positions)
    return made._replace(silent={*made.silent, *_line_ends(head)})


def _line_ends(head: bytes) -> list[int]:
    return [k + 1 for k, byte in enumerate(head) if byte == 0x0A]


def aedat3(events: Events) -> Made:
    """Of a packet that is cut, the first events can be read."""
    head, units, packets = make_aedat.aedat3_header(), [], []
    body, at = make_aedat.aedat3(events, 200), len(head)
    for packet in body:
        first = len(units)
        units += [
            (at + 28 + 8 * k, at + 36 + 8 * k, first + k, first + k + 1) for k in range(len(packet) // 8 - 3)
        ]
        packets.append((at, at + len(packet), first, len(units)))
        at += len(packet)
    edges = [len(head), *(stop for _, stop, _, _ in packets)]
    return Made(head + b"".join(body), np.array(units), edges, np.array(packets))


def evt2(events: Events, head: bytes) -> Made:
    body = make_prophesee.events_evt2(rows(events))
    return _with_headers(head, body, 4, np.flatnonzero(np.frombuffer(body, "<u4") >> 28 < 2))


def evt21(events: Events, order: str) -> Made:
    body = make_prophesee.events_evt21(rows(events), order)
    words = np.frombuffer(body, "<u4").reshape(-1, 2)
    masks, heads = (column.tolist() for column in (words if order == "little" else words[:, ::-1]).T)
    held = [mask.bit_count() if word >> 28 < 2 else 0 for word, mask in zip(heads, masks, strict=True)]
    head = make_prophesee.header("EVT21", SIDE, SIDE, more=f"% endianness {order}\n")
    return _with_headers(head, body, 8, np.repeat(np.arange(len(held)), held))


def evt3(events: Events) -> Made:
    body = make_prophesee.events_evt3(rows(events), repeat_us=256)
    masks = {2: 0, 4: 0xFFF, 5: 0xFF}  # of the words with events: an address, or a vector
    words = np.frombuffer(body, "<u2").tolist()
    held = [
        (word & masks[word >> 12]).bit_count() or word >> 12 == 2 if word >> 12 in masks else 0
        for word in words
    ]
    head = make_prophesee.header("EVT3", SIDE, SIDE)
    return _with_headers(head, body, 2, np.repeat(np.arange(len(held)), np.array(held, np.int64)))


def dat(events: Events, head: bytes) -> Made:
    return records(head, make_prophesee.events_dat(rows(events)), 8, np.arange(len(events.t)))


def es(events: Events, *, atis: bool) -> Made:
    head = make_aedat.es_header(SIDE, SIDE, 2 if atis else 1)
    exposures = range(50, len(events.t), 100) if atis else ()
    body = make_aedat.es(events, SIDE, atis=atis, exposures=exposures)
    begins, edges, at = [], [len(head)], 0
    while at < len(body):
        more = body[at] >= (0xFC if atis else 0xFE)  # a byte that is all time
        if not more and not (atis and body[at] & 1):
            begins.append(edges[-1])
        at += 1 if more else 5
        edges.append(len(head) + at)
    return Made(head + body, one_each(np.array(begins), np.array(begins) + 5), set(edges))


def nmnist(events: Events) -> Made:
    return records(b"", make_aedat.nmnist(events), 5, np.arange(len(events.t)))


def npy(events: Events) -> Made:
    held, file = writers.records(events), io.BytesIO()
    np.save(file, held)
    head = file.getvalue()[: -held.nbytes]
    return records(head, held.tobytes(), held.itemsize, np.arange(len(held)))._replace(silent=())


def csv(events: Events) -> Made:
    return _lines("t,x,y,p\r\n", [f"{t},{x},{y},{p}\r\n" for t, x, y, p in rows(events)], "\r\n")


def txt(events: Events) -> Made:
    seconds = (f"{t // 10**6}.{t % 10**6:06d} {x} {y} {p}\n" for t, x, y, p in rows(events))
    return _lines("", list(seconds), "\n")


def csv_gz(events: Events) -> Made:
    """A line takes all the bytes in front of it."""
    text = csv(events)
    data = gzip.compress(text.data, mtime=0)
    member, had, lines = zlib.decompressobj(16 + zlib.MAX_WBITS), 0, text.ends(len(events.t)).tolist()
    ends: list[int] = []
    for at in range(len(data)):
        had += len(member.decompress(data[at : at + 1]))
        while len(ends) < len(lines) and lines[len(ends)] <= had:
            ends.append(at + 1)
    return Made(data, one_each(np.zeros(len(ends), np.int64), np.array(ends)))


def _lines(head: str, lines: list[str], ending: str) -> Made:
    """A line is whole without its ending: the polarity comes last."""
    edges = len(head) + np.cumsum([0, *map(len, lines)])
    ends = edges[1:] - len(ending)
    silent = {end + k for end in ends.tolist() for k in range(len(ending) + 1)}
    return Made((head + "".join(lines)).encode(), one_each(edges[:-1], ends), silent)
