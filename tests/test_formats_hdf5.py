"""HDF5: every tool's layout gives the same events; damage costs its own chunk; the ECF codec."""

import struct

import ecf_encoder
import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import is_part, mutated, read_all, read_or_refuse, same
from test_sources_writers import Events, random_events

from spikeline.drivers import open_source
from spikeline.drivers.formats import ecf
from spikeline.drivers.formats.hdf5 import Hdf5Source
from spikeline.drivers.formats.hdf5_file import size_when_written
from spikeline.drivers.writers.hdf5 import Hdf5Writer
from spikeline.pipeline.events import EventPacket, Sensor, SourceError

SENSOR = Sensor(16, 12)
ECF = {"chunks": (64,), "compression": ecf.FILTER, "allow_unknown_filter": True}


def columns(path, events, group="events", names="txyp", **keywords):
    kinds = ("u4", "u2", "u2", "u1")
    with h5py.File(path, "a") as file:
        for name, column, kind in zip(names, events, kinds, strict=True):
            file.create_dataset(f"{group}/{name}", data=column.astype(kind), **keywords)


def dsec(path, events, offset_us=5_000_000, **keywords):
    t = events.t - offset_us
    columns(path, events._replace(t=t), **keywords)
    with h5py.File(path, "a") as file:
        file["t_offset"] = np.int64(offset_us)
        file["ms_to_idx"] = np.searchsorted(t, 1_000 * np.arange(t[-1] // 1_000 + 1)).astype("u8")


def matrix(path, order, kind, name="events"):
    def write(events):
        with h5py.File(path, "a") as file:
            parts = {"t": events.t / 1e6 if kind == "f8" else events.t, "x": events.x, "y": events.y}
            parts["p"] = events.p * 2.0 - 1 if kind == "f8" else events.p
            file[name] = np.stack([parts[c].astype(kind) for c in order], axis=1)

    return write


def compound(path, name, dtype, **keywords):
    def write(events):
        rows = np.zeros(len(events.t), dtype)
        for field, column in zip(rows.dtype.names, (events.x, events.y, events.t, events.p), strict=True):
            rows[field] = column / 1e6 if rows.dtype[field].kind == "f" else column
        with h5py.File(path, "a") as file:
            file.create_dataset(name, data=rows, **keywords)

    return write


def prophesee(path, events, mode="yxp", bare=()):
    """A Metavision file: ECF chunks of 64 events, some of them left as they are."""
    dtype = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])
    rows = np.zeros(-(-len(events.t) // 64) * 64, dtype)
    for name in "txyp":
        rows[name][: len(events.t)] = getattr(events, name)
        rows[name][len(events.t) :] = getattr(events, name)[-1]
    with h5py.File(path, "w") as file:
        held = file.create_dataset("CD/events", (len(events.t),), dtype, **ECF)
        for k, first in enumerate(range(0, len(rows), 64)):
            chunk = rows[first : first + 64]
            packed = ecf_encoder.encode(chunk["t"], chunk["x"], chunk["y"], chunk["p"], mode)
            held.id.write_direct_chunk((first,), chunk.tobytes() if k in bare else packed, int(k in bare))
        file["CD/indexes"] = np.zeros(3, [("id", "u8"), ("ts", "i8")])
        file["EXT_TRIGGER/events"] = np.zeros(2, [("p", "i2"), ("t", "i8"), ("id", "i2")])
        file.attrs["geometry"] = "16x12"


def write_layout(name, path, events):
    if name == "DSEC":
        dsec(path, events)
    elif name == "rpg":
        columns(path, events, names=("ts", "xs", "ys", "ps"))
        with h5py.File(path, "a") as file:
            del file["events/ts"]
            file["events/ts"] = events.t / 1e6
            file.attrs["sensor_resolution"] = (12, 16)
    elif name == "eventcv":
        columns(path, events)
        with h5py.File(path, "a") as file:
            del file["events/t"]
            file["events/t"] = events.t * 1_000
            file.attrs.update({"width": 16, "height": 12, "timestamp_scale_ms": 1e-6})
    elif name == "M3ED":
        columns(path, events, group="prophesee/left")
        with h5py.File(path, "a") as file:
            file["prophesee/left/calib/resolution"] = np.array([16, 12])
    elif name == "MVSEC":
        matrix(path, "xytp", "f8", "davis/left/events")(events)
    elif name == "v2e":
        matrix(path, "txyp", "u4")(events)
    elif name == "aertb":
        compound(path, "car/obj_1", [("x", "u2"), ("y", "u2"), ("ts", "f8"), ("p", "i1")])(events)
    elif name == "root":
        columns(path, events, group="", names=("timestamp", "x", "y", "polarity"))
    else:
        prophesee(path, events, name)


LAYOUTS = ("DSEC", "rpg", "eventcv", "M3ED", "MVSEC", "v2e", "aertb", "root", "yxp", "xp", "runs")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_events(tmp_path, layout):
    events = random_events(1_000)
    write_layout(layout, tmp_path / "a.h5", events)
    known = layout in ("rpg", "eventcv", "M3ED", "yxp", "xp", "runs")
    source = open_source(tmp_path / "a.h5", sensor=None if known else SENSOR)
    assert source.format == "HDF5" and source.sensor == SENSOR
    found, report = read_all(source)
    assert same(found, events)
    assert report.damage == [] and not report.truncated and report.refused == report.reordered == 0
    if not known:
        with pytest.raises(SourceError, match="--sensor"):
            open_source(tmp_path / "a.h5")


@pytest.mark.parametrize(
    "packing",
    [
        {},
        {"chunks": (100,)},
        {"chunks": (100,), "compression": "gzip", "shuffle": True},
        {"chunks": (100,), "compression": "lzf", "fletcher32": True},
        {"chunks": (100,), **hdf5plugin.Blosc(cname="zstd")},
        {"chunks": (100,), **hdf5plugin.Blosc(cname="blosclz", shuffle=hdf5plugin.Blosc.BITSHUFFLE)},
        {"chunks": (100,), **hdf5plugin.LZ4()},
        {"chunks": (100,), **hdf5plugin.Zstd()},
        {"chunks": (100,), **hdf5plugin.Bitshuffle()},
        {"chunks": (1_000_000,), "maxshape": (None,), "compression": "gzip"},
    ],
    ids=["bare", "chunks", "gzip", "lzf", "blosc", "blosclz", "lz4", "zstd", "bitshuffle", "one chunk"],
)
@pytest.mark.parametrize("version", [None, "latest"])
def test_every_packing_gives_the_same_events(tmp_path, packing, version):
    events = random_events(3_000)
    h5py.File(tmp_path / "a.h5", "w", libver=version).close()
    dsec(tmp_path / "a.h5", events, **packing)
    found, report = read_all(Hdf5Source(tmp_path / "a.h5", sensor=SENSOR))
    assert same(found, events) and report.damage == [] and report.bytes == (tmp_path / "a.h5").stat().st_size


def test_a_file_of_several_pieces(tmp_path):
    events = random_events(300_000)
    dsec(tmp_path / "a.h5", events, chunks=(7_000,), compression="gzip", compression_opts=1)
    found, report = read_all(Hdf5Source(tmp_path / "a.h5", sensor=SENSOR))
    assert same(found, events) and report.damage == [] and report.packets > 4


def test_the_file_of_another_size_is_refused(tmp_path):
    prophesee(tmp_path / "a.h5", random_events(100))
    with pytest.raises(SourceError, match="its sensor is 16x12; --sensor says 640x480"):
        open_source(tmp_path / "a.h5", sensor=Sensor(640, 480))


def test_epoch_seconds_come_out_to_the_microsecond(tmp_path):
    t = 1_700_000_000_000_000 + np.cumsum(np.random.default_rng(2).integers(1, 90, 5_000))
    events = random_events(5_000)._replace(t=t)
    write_layout("MVSEC", tmp_path / "a.h5", events)
    assert same(read_all(Hdf5Source(tmp_path / "a.h5", sensor=SENSOR))[0], events)


@pytest.mark.parametrize(("unit", "per_us"), [("ns", 1_000), ("us", 1), ("ms", 1e-3), ("s", 1e-6)])
def test_the_unit_is_the_users_word(tmp_path, unit, per_us):
    events = random_events(500, start_us=3_000_000_000)
    columns(tmp_path / "a.h5", events)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["events/t"]
        file["events/t"] = events.t * per_us
    source = open_source(f"{tmp_path}/a.h5?unit={unit}", sensor=SENSOR)
    assert same(read_all(source)[0], events)


@pytest.mark.parametrize(
    ("t", "found"),
    [
        (1_700_000_000_000_000_000 + np.arange(100), "times near 17.* say the unit with"),
        (np.arange(100.0) * 1e6, "are hardly seconds; say the unit"),
        (1e15 + np.arange(100.0) / 10, "are hardly seconds; say the unit"),
    ],
)
def test_a_unit_that_cannot_be_known_is_asked_for(tmp_path, t, found):
    columns(tmp_path / "a.h5", random_events(100))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["events/t"]
        file["events/t"] = t
    with Hdf5Source(tmp_path / "a.h5", sensor=SENSOR) as source, pytest.raises(SourceError, match=found):
        list(source)


def test_of_several_streams_one_must_be_chosen(tmp_path):
    left, right = random_events(100), random_events(150, seed=2)
    for name, events in (("left", left), ("right", right)):
        matrix(tmp_path / "a.h5", "xytp", "f8", f"davis/{name}/events")(events)
    with pytest.raises(SourceError, match="at /davis/left/events, /davis/right/events; say which"):
        open_source(tmp_path / "a.h5", sensor=SENSOR)
    for name, events in (("davis/left/events", left), ("/davis/right/events", right)):
        source = open_source(f"{tmp_path}/a.h5?dataset={name}", sensor=SENSOR)
        assert same(read_all(source)[0], events)
    with pytest.raises(SourceError, match="dataset=davis: no events there; the file has them at"):
        open_source(f"{tmp_path}/a.h5?dataset=davis", sensor=SENSOR)


def test_a_matrix_of_another_order(tmp_path):
    events = random_events(100)
    matrix(tmp_path / "a.h5", "xypt", "i8", "stream/data")(events)
    with pytest.raises(SourceError, match="no events found"):
        open_source(tmp_path / "a.h5", sensor=SENSOR)
    source = open_source(f"{tmp_path}/a.h5?dataset=stream/data&order=xypt", sensor=SENSOR)
    assert same(read_all(source)[0], events)
    with pytest.raises(SourceError, match="order=xyz; wanted the letters"):
        open_source(f"{tmp_path}/a.h5?order=xyz", sensor=SENSOR)


def test_polarity_of_minus_one_and_events_that_cannot_be(tmp_path):
    events = random_events(100)
    columns(tmp_path / "a.h5", events)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["events/p"], file["events/x"]
        p, x = events.p * 2 - 1.0, events.x.astype("f4").astype("i4")
        p[10], x[20], x[30] = 7, -1, 16
        file["events/p"], file["events/x"] = p.astype("i1"), x
    found, report = read_all(Hdf5Source(tmp_path / "a.h5", sensor=SENSOR))
    kept = np.delete(np.arange(100), [10, 20, 30])
    assert same(found, [column[kept] for column in events]) and report.refused == 3


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda file: file.pop("events/x"), "no events found"),
        (lambda file: file["events"].move("x", "other"), "no events found"),
        (lambda file: file["events"].create_dataset("ts", data=[1]), "holds both t and ts"),
        (lambda file: file.__delitem__("events"), "no events found.* it holds /"),
        (lambda file: file.attrs.update(timestamp_scale_ms=0.5), "timestamp_scale_ms is 0.5"),
        (lambda file: file.create_dataset("t_offset", data="noon"), "t_offset"),
        (lambda file: file.create_dataset("t_offset", data=[1, 2]), "t_offset is .* wanted one"),
    ],
)
def test_files_without_events_are_refused_in_one_line(tmp_path, change, found):
    columns(tmp_path / "a.h5", random_events(10))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        change(file)
    with pytest.raises(SourceError, match=found) as caught:
        open_source(tmp_path / "a.h5", sensor=SENSOR)
    assert "\n" not in str(caught.value)


def test_other_files_are_never_followed(tmp_path):
    columns(tmp_path / "b.h5", random_events(10))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["events"] = h5py.ExternalLink("b.h5", "/events")
    with pytest.raises(SourceError, match="no events found"):
        open_source(tmp_path / "a.h5", sensor=SENSOR)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        for name, kind in zip("txyp", ("u4", "u2", "u2", "u1"), strict=True):
            layout = h5py.VirtualLayout((10,), kind)
            layout[:] = h5py.VirtualSource(str(tmp_path / "b.h5"), f"events/{name}", (10,))
            file.create_virtual_dataset(f"events/{name}", layout)
    with pytest.raises(SourceError, match="lie in other files"):
        open_source(tmp_path / "c.h5", sensor=SENSOR)


def test_an_unknown_filter_is_named(tmp_path):
    columns(tmp_path / "a.h5", random_events(100), chunks=(10,), **ecf_like(33_333))
    with pytest.raises(SourceError, match=r"/events/t: packed with filter 33333 .*not known"):
        open_source(tmp_path / "a.h5", sensor=SENSOR)


def ecf_like(number):
    return {"compression": number, "allow_unknown_filter": True}


def test_the_index_is_checked_and_not_used(tmp_path):
    events = random_events(2_000)
    dsec(tmp_path / "a.h5", events)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["ms_to_idx"][5] = file["ms_to_idx"][5] + 1
    found, report = read_all(Hdf5Source(tmp_path / "a.h5", sensor=SENSOR))
    assert same(found, events) and len(report.damage) == 1
    assert report.damage[0].startswith("ms_to_idx: 1 of 2")


@pytest.mark.parametrize("packing", [{"compression": "gzip"}, hdf5plugin.Zstd(), {"fletcher32": True}])
@pytest.mark.parametrize("column", list("txyp"))
def test_a_damaged_chunk_costs_its_own_rows(tmp_path, packing, column):
    events = random_events(2_000)
    columns(tmp_path / "a.h5", events, chunks=(100,), **packing)
    with h5py.File(tmp_path / "a.h5") as file:
        at = file[f"events/{column}"].id.get_chunk_info(7)
    data = bytearray((tmp_path / "a.h5").read_bytes())
    data[at.byte_offset : at.byte_offset + at.size] = b"\x5a" * at.size
    (tmp_path / "a.h5").write_bytes(data)
    found, report = read_all(Hdf5Source(tmp_path / "a.h5", sensor=SENSOR))
    kept = np.delete(np.arange(2_000), range(700, 800))
    assert same(found, [held[kept] for held in events]) and not report.truncated
    where = f"bytes {at.byte_offset} to {at.byte_offset + at.size}: /events/{column}, rows 700 to 800: "
    assert len(report.damage) == 1 and report.damage[0].startswith(where)


def test_chunks_that_were_never_written_are_said_and_not_read_as_zeros(tmp_path):
    events = random_events(1_000)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, column in zip("txyp", events, strict=True):
            held = file.create_dataset(f"events/{name}", (1_000,), column.dtype, chunks=(100,))
            held[:300], held[600:900] = column[:300], column[600:900]
        file["events/x"][300:400] = 3
    found, report = read_all(Hdf5Source(tmp_path / "a.h5", sensor=SENSOR))
    kept = np.r_[:300, 600:900]
    assert same(found, [held[kept] for held in events])
    assert report.damage == [
        "/events/t, rows 300 to 600: not in the file's list of chunks",
        "/events/t, rows 900 to 1000: not in the file's list of chunks",
    ]


def test_columns_of_different_lengths_give_the_rows_that_all_have(tmp_path):
    events = random_events(1_000)
    columns(tmp_path / "a.h5", events)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["events/y"]
        file["events/y"] = events.y[:900]
    found, report = read_all(Hdf5Source(tmp_path / "a.h5", sensor=SENSOR))
    assert same(found, events.slice(0, 900))
    assert report.damage == [
        "columns of different lengths: t 1000, x 1000, y 900, p 1000; the first 900 rows are read"
    ]


def appended(path, events, version, **packing):
    """As a recorder writes: a few events at a time to each column."""
    with h5py.File(path, "w", libver=version) as file:
        held = [
            file.create_dataset(f"events/{name}", (0,), column.dtype, maxshape=(None,), **packing)
            for name, column in zip("txyp", events, strict=True)
        ]
        for first in range(0, len(events.t), 250):
            for dataset, column in zip(held, events, strict=True):
                dataset.resize((min(first + 250, len(column)),))
                dataset[first : first + 250] = column[first : first + 250]
            if first % 1_000 == 0:
                file.flush()


@pytest.mark.parametrize("version", [None, "latest"])
@pytest.mark.parametrize("packing", [{"chunks": (500,), "compression": "gzip"}, {"chunks": (500,)}])
def test_a_file_cut_anywhere_gives_what_it_still_holds(tmp_path, version, packing):
    events = random_events(20_000)
    appended(tmp_path / "a.h5", events, version, **packing)
    data = (tmp_path / "a.h5").read_bytes()
    assert size_when_written(data[:100]) == len(data)
    delivered = []
    for stop in np.linspace(1, len(data) - 1, 14).astype(int).tolist():
        (tmp_path / "cut.h5").write_bytes(data[:stop])
        found, report = read_or_refuse(lambda: Hdf5Source(tmp_path / "cut.h5", sensor=SENSOR))
        if found is None:
            delivered.append(0)
            continue
        assert (
            report.truncated
            and report.damage[0] == f"bytes {stop} to {len(data)}: the file ends before its time"
        )
        assert is_part(found, events)
        delivered.append(len(found.t))
    assert delivered[-1] >= 18_000 and np.mean(delivered) > 5_000


def test_a_column_cut_in_its_middle(tmp_path):
    events = random_events(5_000)
    columns(tmp_path / "a.h5", events)
    with h5py.File(tmp_path / "a.h5") as file:
        at = max(file[f"events/{name}"].id.get_offset() for name in "txyp")
        last = next(name for name in "txyp" if file[f"events/{name}"].id.get_offset() == at)
        width = file[f"events/{last}"].dtype.itemsize
    data = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(data[: at + 1_000 * width])
    found, report = read_all(Hdf5Source(tmp_path / "a.h5", sensor=SENSOR))
    assert same(found, events.slice(0, 1_000)) and report.truncated
    assert f"/events/{last}, rows 1000 to 5000: behind the file's end" in report.damage[1]


@pytest.mark.parametrize(
    ("layout", "copies"),
    [
        *((layout, 18) for layout in ("DSEC", "MVSEC", "yxp", "runs")),
        *(pytest.param(layout, 1_000, marks=pytest.mark.full) for layout in ("DSEC", "rpg", "runs")),
    ],
)
def test_damage_of_any_kind_is_survived(tmp_path, layout, copies):
    events = random_events(2_000)
    if layout == "DSEC":
        dsec(tmp_path / "a.h5", events, chunks=(100,), compression="gzip", shuffle=True)
    else:
        write_layout(layout, tmp_path / "a.h5", events)
    data = (tmp_path / "a.h5").read_bytes()
    whole = 0
    for _, copy in mutated(data, 5, copies):
        (tmp_path / "b.h5").write_bytes(copy)
        found, _ = read_or_refuse(lambda: Hdf5Source(tmp_path / "b.h5", sensor=SENSOR))
        whole += found is not None and len(found.t) >= 1_800
    assert whole > copies / 8


def test_an_absurd_number_of_rows_neither_hangs_nor_fills_the_memory(tmp_path):
    events = random_events(300)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, column in zip("txyp", events, strict=True):
            held = file.create_dataset(
                f"events/{name}", (1 << 55,), column.dtype, chunks=(100,), maxshape=(None,)
            )
            held[:300] = column
    found, report = read_all(Hdf5Source(tmp_path / "a.h5", sensor=SENSOR))
    assert same(found, events) and "rows 300 to 36028797018963968" in report.damage[0]
    with h5py.File(tmp_path / "b.h5", "w") as file:
        for name, column in zip("txyp", events, strict=True):
            file.create_dataset(
                f"events/{name}", data=column, maxshape=(None,), chunks=(1 << 23,), compression="gzip"
            )
    with pytest.raises(SourceError, match=r"chunks of .* bytes in a file of"):
        Hdf5Source(tmp_path / "b.h5", sensor=SENSOR)


# --- ECF


def test_the_ecf_chunk_of_the_reference():
    chunk = bytes.fromhex("0c000000 6400000000000000 03 a300 5401 83")
    assert [list(column) for column in ecf.decode(chunk, 3)] == [[100] * 3, [10, 11, 13], [5] * 3, [1] * 3]
    assert ecf_encoder.encode([100] * 3, [10, 11, 13], [5] * 3, [1] * 3, "runs") == chunk


def test_marks_behind_the_last_event_mean_nothing():
    """The reference encoder compares with columns behind the end, which hold what they held before."""
    chunk = bytes.fromhex("0c000000 6400000000000000 03 a300 5f01 83")
    assert ecf.decode(chunk, 3)[1].tolist() == [10, 11, 12]


@st.composite
def bursts(draw):
    """Events as sensors give them: several at one time, on one row, next to each other."""
    rows = []
    t = draw(st.integers(0, 1 << 40))
    for _ in range(draw(st.integers(1, 12))):
        t += draw(st.sampled_from([0, 1, 14, 15, 16, 300, 70_000]))
        y, x = draw(st.integers(0, 2_047)), draw(st.integers(0, 2_040))
        for k in range(draw(st.sampled_from([1, 2, 14, 15, 16, 31, 130]))):
            rows.append((t, (x + k * draw(st.integers(0, 3))) % 2_048, y, draw(st.integers(0, 1))))
    return [list(column) for column in zip(*rows, strict=True)]


@settings(deadline=None, max_examples=60)
@given(bursts(), st.sampled_from(["yxp", "xp", "runs"]))
def test_what_is_packed_is_unpacked(events, mode):
    chunk = ecf_encoder.encode(*events, mode)
    assert [column.tolist() for column in ecf.decode(chunk, len(events[0]))] == events
    for stop in range(len(chunk)):
        with pytest.raises(SourceError, match="ECF chunk"):
            ecf.decode(chunk[:stop], len(events[0]))


@pytest.mark.parametrize("mode", ["yxp", "xp", "runs"])
def test_a_damaged_ecf_chunk_never_leaves_its_bounds(mode):
    events = random_events(200)
    chunk = ecf_encoder.encode(*events, mode)
    for _, copy in mutated(chunk, 3, 2_000):
        try:
            found = ecf.decode(copy, 200)
        except SourceError:
            continue
        assert [len(column) for column in found] == [200] * 4
    with pytest.raises(SourceError, match="declares 1073741823 events"):
        ecf.decode(b"\xff" * 40, 1)


def test_ecf_chunks_left_bare_and_damaged(tmp_path):
    events = random_events(1_000)
    prophesee(tmp_path / "a.h5", events, "runs", bare=(2, 15))
    assert same(read_all(Hdf5Source(tmp_path / "a.h5"))[0], events)
    with h5py.File(tmp_path / "a.h5") as file:
        at = file["CD/events"].id.get_chunk_info(4)
    data = bytearray((tmp_path / "a.h5").read_bytes())
    data[at.byte_offset : at.byte_offset + 4] = struct.pack("<I", 1 << 30)
    (tmp_path / "a.h5").write_bytes(data)
    found, report = read_all(Hdf5Source(tmp_path / "a.h5"))
    assert same(found, Events(*(np.delete(column, range(256, 320)) for column in events)))
    assert "/CD/events, rows 256 to 320: cannot be read: an ECF chunk" in report.damage[0]


# --- the writer


def written(path, events, sizes=(70_000,), **keywords):
    writer = Hdf5Writer(path, SENSOR, **keywords)
    first = 0
    while first < len(events.t):
        for size in sizes:
            part = events.slice(first, first + size)
            if len(part.t):
                writer.add(EventPacket(*part, int(part.t[-1])))
            first += size
    return writer.close()


def test_a_written_file_is_what_readers_of_dsec_take(tmp_path):
    events = random_events(150_000)
    assert written(tmp_path / "a.h5", events, (1, 777, 65_536)) == 150_000
    with h5py.File(tmp_path / "a.h5") as file:
        for name, kind in zip("txyp", ("i8", "u2", "u2", "u1"), strict=True):
            held = file[f"events/{name}"]
            assert held.dtype == kind and np.array_equal(held[()], getattr(events, name))
        assert file["t_offset"][()] == 0
        index = file["ms_to_idx"][()]
        assert np.array_equal(index, np.searchsorted(events.t, 1_000 * np.arange(events.t[-1] // 1_000 + 1)))
        assert (file["events"].attrs["width"], file["events"].attrs["height"]) == (16, 12)
    source = open_source(tmp_path / "a.h5")
    found, report = read_all(source)
    assert same(found, events) and source.sensor == SENSOR and report.damage == []


@pytest.mark.parametrize("start_us", [-5_000, 1_700_000_000_000_000])
def test_an_index_that_no_reader_could_use_is_left_out(tmp_path, start_us):
    events = random_events(1_000, start_us=start_us)
    written(tmp_path / "a.h5", events)
    with h5py.File(tmp_path / "a.h5") as file:
        assert "ms_to_idx" not in file
    assert same(read_all(open_source(tmp_path / "a.h5"))[0], events)


def test_a_file_without_events_and_one_with_two_clocks(tmp_path):
    assert Hdf5Writer(tmp_path / "a.h5", SENSOR).close() == 0
    found, report = read_all(open_source(tmp_path / "a.h5"))
    assert len(found.t) == 0 and report.damage == []
    writer = Hdf5Writer(tmp_path / "b.h5", SENSOR)
    one = random_events(5)
    writer.add(EventPacket(*one, int(one.t[-1])))
    with pytest.raises(SourceError, match=r"epoch 1 begins at .* us; HDF5: its one clock is at"):
        writer.add(EventPacket(*one._replace(t=one.t - 4_000_000), 0, 1))
    writer.discard()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5"]
