"""numpy files: names, types and polarities of others, labelled sets, damage, and nothing guessed."""

import io
import zipfile

import numpy as np
import pytest
from test_sources_writers import DATA, labelled_set, random_events, records

from spikeline.drivers.formats.arrays import NpzSource
from spikeline.drivers.formats.npy import NpySource
from spikeline.pipeline.events import MAX_ABS_US, PACKET_EVENTS, Sensor, SourceError

SENSOR = Sensor(16, 12)


def joined(source):
    """All events of a source as (t, x, y, p) lists, and its report."""
    with source:
        packets = list(source)
        columns = [[v for packet in packets for v in getattr(packet, name).tolist()] for name in "txyp"]
        return columns, source.report()


def save_npz(path, **entries):
    np.savez_compressed(path, **{"width": 16, "height": 12, **entries})


DTYPES = {
    "ours": [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")],
    "tonic": [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")],
    "dv": [("timestamp", "<i8"), ("x", "<i2"), ("y", "<i2"), ("polarity", "u1")],
    "aedat": [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), (("p", "on"), "?")],
    "evlib": [("x", "<i8"), ("y", "<i8"), ("t", "<i8"), ("polarity", "i1")],
    "big-endian": [("t", ">i8"), ("x", ">u2"), ("y", ">u2"), ("p", "u1")],
    "more-fields": [("t", "<i8"), ("x", "<u2"), ("z", "<f8"), ("y", "<u2"), ("p", "<f4")],
}


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
def test_columns_are_taken_by_name_in_both_containers(tmp_path, dtype):
    events = random_events(500)
    expected = [column.tolist() for column in events]
    array = (
        records(events._replace(), [field for field in dtype if field[0] != "z"])
        if "z" not in str(dtype)
        else None
    )
    if array is None:
        array = np.zeros(500, dtype)
        for name in "txyp":
            array[name] = getattr(events, name)
    np.save(tmp_path / "a.npy", array)
    assert joined(NpySource(tmp_path / "a.npy", sensor=SENSOR))[0] == expected
    save_npz(tmp_path / "a.npz", **{name: array[name] for name in array.dtype.names})
    assert joined(NpzSource(tmp_path / "a.npz"))[0] == expected


def test_an_array_of_many_packets_is_read_piece_by_piece(tmp_path):
    events = random_events(2 * PACKET_EVENTS + 5)
    np.save(tmp_path / "a.npy", records(events))
    with NpySource(tmp_path / "a.npy", sensor=SENSOR) as source:
        assert [len(packet) for packet in source] == [PACKET_EVENTS, PACKET_EVENTS, 5]
        assert source.report().bytes == (tmp_path / "a.npy").stat().st_size


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.array([False, True, True]), [0, 1, 1]),
        (np.array([0, 1, 1], np.uint32), [0, 1, 1]),
        (np.array([-1, 1, 1], np.int8), [0, 1, 1]),
        (np.array([-1, -1, -1], np.int64), [0, 0, 0]),
        (np.array([1, 1, 1], np.int64), [1, 1, 1]),
        (np.array([0.0, 1.0, 0.0]), [0, 1, 0]),
        (np.array([-1.0, 1.0, -1.0], np.float32), [0, 1, 0]),
    ],
)
def test_polarities_of_every_convention_become_0_and_1(tmp_path, stored, expected):
    zeros = np.zeros(3, np.uint16)
    save_npz(tmp_path / "a.npz", t=np.arange(3), x=zeros, y=zeros, p=stored)
    assert joined(NpzSource(tmp_path / "a.npz"))[0][3] == expected


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        (np.array([-1, 0, 1], np.int8), "-1, 0, 1"),
        (np.array([0, 1, 2], np.uint8), "0, 1, 2"),
        (np.array([1, 4294967295, 1], np.uint32), "1, 4294967295"),  # v2e issue 47: -1 in an unsigned column
        (np.array([0.5, 1, 0]), r"0.0, 0.5, 1.0"),
        (np.array([np.nan, 1, 0]), "nan"),
        (np.array(["a", "b", "c"]), "<U1"),
    ],
)
def test_other_polarities_are_refused_with_the_values_found(tmp_path, stored, found):
    zeros = np.zeros(3, np.uint16)
    save_npz(tmp_path / "a.npz", t=np.arange(3), x=zeros, y=zeros, p=stored)
    with pytest.raises(SourceError, match=f"p (holds|is) .*{found}.*wanted bool, 0/1 or -1/"):
        joined(NpzSource(tmp_path / "a.npz"))


def test_float_times_are_seconds_and_impossible_ones_are_refused(tmp_path):
    t = np.array([0.5, 0.5000014, 1.0, np.nan, np.inf, -np.inf, 1e300, 1.5])
    zeros = np.zeros(len(t), np.uint16)
    save_npz(tmp_path / "a.npz", t=t, x=zeros, y=zeros, p=zeros)
    (times, *_), report = joined(NpzSource(tmp_path / "a.npz"))
    assert times == [500_000, 500_001, 1_000_000, 1_500_000]
    assert (report.events, report.refused) == (4, 4)


def test_numbers_that_do_not_fit_are_refused_never_wrapped(tmp_path):
    t = np.array([10, 2**63 + 20, 2**64 - 1, 30], np.uint64)
    zeros = np.zeros(4, np.uint16)
    save_npz(tmp_path / "t.npz", t=t, x=zeros, y=zeros, p=zeros)
    (times, *_), report = joined(NpzSource(tmp_path / "t.npz"))
    assert (times, report.refused) == ([10, 30], 2)
    x = np.array([3, -1, 65_536 + 3, 2**40, 15], np.int64)
    save_npz(tmp_path / "x.npz", t=np.arange(5), x=x, y=np.zeros(5, np.int8), p=np.zeros(5, bool))
    (_, xs, _, _), report = joined(NpzSource(tmp_path / "x.npz"))
    assert (xs, report.refused) == ([3, 15], 3)
    assert MAX_ABS_US > 2**60


@pytest.mark.parametrize(
    "wrong", [{"t": None}, {"timestamp": np.arange(3)}, {"x": np.zeros(3)}, {"x": np.zeros(2, int)}]
)
def test_missing_doubled_and_ill_fitting_columns_are_named(tmp_path, wrong):
    zeros = np.zeros(3, np.uint16)
    entries = {"t": np.arange(3), "x": zeros, "y": zeros, "p": zeros, **wrong}
    save_npz(tmp_path / "a.npz", **{name: value for name, value in entries.items() if value is not None})
    with pytest.raises(SourceError, match=f"{next(iter(wrong))}") as caught:
        joined(NpzSource(tmp_path / "a.npz"))
    assert "wanted" in str(caught.value)


def test_the_sensor_is_never_guessed(tmp_path):
    np.save(tmp_path / "a.npy", records(random_events(5)))
    with pytest.raises(SourceError, match="--sensor WxH"):
        NpySource(tmp_path / "a.npy")
    events = random_events(5)
    np.savez(tmp_path / "a.npz", **events._asdict())
    with pytest.raises(SourceError, match="--sensor WxH"):
        NpzSource(tmp_path / "a.npz")
    with NpzSource(tmp_path / "a.npz", sensor=SENSOR) as source:
        assert source.sensor == SENSOR
    np.savez(tmp_path / "b.npz", **events._asdict(), width=0, height=12)
    with pytest.raises(SourceError, match="0x12 pixels; wanted"):
        NpzSource(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", **events._asdict(), width=[1, 2], height=12)
    with pytest.raises(SourceError, match="wanted two integers"):
        NpzSource(tmp_path / "c.npz")


@pytest.mark.parametrize(
    "array", [np.zeros((5, 4)), np.zeros(5), np.zeros((2, 2), DTYPES["ours"]), np.float64(1)]
)
def test_an_array_without_names_is_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(SourceError, match="wanted one structured array"):
        NpySource(tmp_path / "a.npy", sensor=SENSOR)


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"t": 1}], object), allow_pickle=True)
    with pytest.raises(SourceError, match="Python objects, which are never loaded"):
        NpySource(tmp_path / "a.npy", sensor=SENSOR)
    zeros = np.zeros(1, np.uint16)
    np.savez(tmp_path / "a.npz", t=np.array([None], object), x=zeros, y=zeros, p=zeros, width=4, height=4)
    with pytest.raises(SourceError, match=r"entry t: .*Python objects"):
        joined(NpzSource(tmp_path / "a.npz"))


def test_each_clip_of_a_labelled_set_is_an_epoch_numbered_like_the_clip(tmp_path):
    events = random_events(90)
    t = np.concatenate([np.arange(30), np.arange(30), 5_000 + np.arange(30)])
    events = events._replace(t=t)
    path = tmp_path / "set.npz"
    labelled_set(path, events, [0, 0, 30, 60, 60, 90], [4, 0, 1, 7, 2], SENSOR)
    with NpzSource(path) as source:
        packets = list(source)
        assert source.labels.tolist() == [4, 0, 1, 7, 2]
        assert [(packet.epoch, len(packet)) for packet in packets] == [(1, 30), (2, 30), (4, 30)]
        assert (source.report().epochs, source.report().refused) == (5, 0)
    with NpzSource(path, options={"clip": "4"}) as source:
        (packet,) = source
        np.testing.assert_array_equal(packet.x, events.x[60:])
    with pytest.raises(SourceError, match="clip=5; wanted 0 to 4"):
        NpzSource(path, options={"clip": "5"})


@pytest.mark.parametrize("offsets", [[0, 50, 40], [-1, 90], [0, 91], [], [0.0, 90.0]])
def test_offsets_that_do_not_fit_are_refused(tmp_path, offsets):
    labelled_set(tmp_path / "a.npz", random_events(90), offsets, [0] * max(0, len(offsets) - 1), SENSOR)
    with pytest.raises(SourceError, match="offsets"):
        joined(NpzSource(tmp_path / "a.npz"))


def test_a_set_with_the_wrong_number_of_labels_is_refused(tmp_path):
    labelled_set(tmp_path / "a.npz", random_events(90), [0, 40, 90], [0], SENSOR)
    with pytest.raises(SourceError, match=r"labels of shape \(1,\); wanted \(2,\)"):
        NpzSource(tmp_path / "a.npz")


def test_an_npy_file_cut_at_any_byte_keeps_its_whole_records(tmp_path):
    events = random_events(20)
    np.save(tmp_path / "a.npy", records(events))
    data = (tmp_path / "a.npy").read_bytes()
    size = records(events).dtype.itemsize
    head = len(data) - 20 * size
    for cut in range(len(data)):
        (tmp_path / "cut.npy").write_bytes(data[:cut])
        if cut < head:
            with pytest.raises(SourceError, match=r"cut\.npy"):
                NpySource(tmp_path / "cut.npy", sensor=SENSOR)
            continue
        whole = (cut - head) // size
        (times, *_), report = joined(NpySource(tmp_path / "cut.npy", sensor=SENSOR))
        assert times == events.t[:whole].tolist()
        assert report.truncated and f"after {whole} of 20 records" in report.damage[0]
    (tmp_path / "long.npy").write_bytes(data + b"abc")
    _, report = joined(NpySource(tmp_path / "long.npy", sensor=SENSOR))
    assert not report.truncated and "bytes after the last record" in report.damage[0]


def zip_bytes(path):
    """Where each entry's packed bytes lie in a zip file."""
    with zipfile.ZipFile(path) as archive:
        return [(info.header_offset, info.compress_size, info.filename) for info in archive.infolist()]


def test_a_damaged_npz_is_refused_never_half_read(tmp_path, capfd):
    events = random_events(400)
    path = tmp_path / "a.npz"
    save_npz(path, **events._asdict())
    data = path.read_bytes()
    expected = [column.tolist() for column in events]
    rng = np.random.default_rng(5)
    messages = []
    for k in range(100):
        damaged = bytearray(data)
        at = int(rng.integers(len(data)))
        if k % 2:
            damaged[at] ^= 1 << int(rng.integers(8))
        else:
            del damaged[at:]
        (tmp_path / "b.npz").write_bytes(damaged)
        try:
            columns, report = joined(NpzSource(tmp_path / "b.npz"))
        except SourceError as error:
            messages.append(str(error))
        else:  # a bit that no reader looks at, such as a date
            assert columns == expected and not report.damage
    assert len(messages) > 80 and not any("\n" in message for message in messages)
    assert capfd.readouterr() == ("", "")


def test_declared_sizes_are_checked_before_memory_is_asked_for(tmp_path):
    zeros = np.zeros(3, np.uint16)
    entries = {
        "t": np.arange(3),
        "x": zeros,
        "y": zeros,
        "p": zeros,
        "width": np.int64(4),
        "height": np.int64(4),
    }
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, array in entries.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            data = buffer.getvalue()
            if name == "t":
                data = data.replace(b"(3,), }" + b" " * 12, b"(3000000000000,), }")
            archive.writestr(f"{name}.npy", data)
    with pytest.raises(SourceError, match="entry t: 24 bytes; wanted 24000000000000"):
        joined(NpzSource(tmp_path / "a.npz"))
    np.save(tmp_path / "a.npy", records(random_events(3)))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "b.npy").write_bytes(data.replace(b"(3,), }" + b" " * 12, b"(3000000000000,), }"))
    (times, *_), report = joined(NpySource(tmp_path / "b.npy", sensor=SENSOR))
    assert len(times) == 3 and report.truncated


@pytest.mark.parametrize(
    ("name", "clips", "events"), [("nmnist_small_train", 1_000, 4_133_231), ("dvs_sign3_train", 120, None)]
)
def test_real_labelled_sets(name, clips, events):
    path = DATA / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with NpzSource(path) as source:
        total = sum(len(packet) for packet in source)
        report = source.report()
        assert (report.epochs, len(source.labels)) == (clips, clips)
        assert total + report.refused == int(source._integers("offsets")[-1]) and report.refused == 0
        assert events is None or total == events
