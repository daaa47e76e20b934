"""What a file is by its first bytes, then by its name and what its bytes may mean; and who reads it."""

import gzip
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from test_sources_writers import aedat4, random_events, records

from spikeline.drivers import open_source
from spikeline.drivers.detect import HEAD_BYTES, detect
from spikeline.drivers.formats import EXTENSIONS, FORMATS, extension_of, reader_of
from spikeline.pipeline.events import Sensor, SourceError

RECORDINGS = Path(os.environ.get("SPIKELINE_DATA", Path(__file__).parents[2] / "shared/data")) / "recordings"
SENSOR = Sensor(16, 12)


def mcap(profile):
    """Magic and Header record of an MCAP file."""
    body = struct.pack("<I", len(profile)) + profile + struct.pack("<I", 0)
    return b"\x89MCAP0\r\n\x01" + struct.pack("<Q", len(body)) + body


def evt2_words(n=500, seed=0, width=320, height=320):
    """A headerless stream: a time base, then a few events, again and again."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, width, n, np.uint32), rng.integers(0, height, n, np.uint32)
    p, low = rng.integers(0, 2, n, np.uint32), np.arange(n, dtype=np.uint32) % 10 * 6
    events = p << 28 | low << 22 | x << 11 | y
    base = np.arange(n, dtype=np.uint32) // 10 + 1_000 | 8 << 28
    return np.stack([base, events], axis=1)[:].astype("<u4").tobytes()


def nmnist_records(n=300, seed=0):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 300_000, n))
    rows = [rng.integers(0, 34, n), rng.integers(0, 34, n), rng.integers(0, 2, n) << 7 | t >> 16, t >> 8, t]
    return (np.stack(rows, axis=1) & 0xFF).astype(np.uint8).tobytes()


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"#ROSBAG V2.0\nxx", "rosbag"),
        (b"#!AER-DAT4.0\r\nxx", "aedat4"),
        (b"#!AER-DAT3.1\r\nxx", "aedat3"),
        (b"#!AER-DAT2.0\r\nxx", "aedat2"),
        (b"#!AER-DAT1.0\r\nxx", "aedat1"),
        (b"# created by jAER\r\n\x00\x01\x80\xff", "aedat1"),
        (b"# t x y p\n0.5 1 2 1\n", "csv"),
        (b"t,x,y,p\r\n10,1,2,1\r\n", "csv"),
        (b"t,x@640,y@480,on\r\n10,1,2,1\r\n", "csv"),
        (b"240 180\n1.5e-3 1 2 1\n", "csv"),
        (b"10,1,2,True\n11,1,2,False\n", "csv"),
        (b"x;y;p;t\n1;2;-1;10\n", "csv"),
        (b"1,2,1,10\n\xff\x00\x80garbage\n1,2,1,11\n3,4,0,12\n", "csv"),
        (gzip.compress(b"1 2 3 1\n" * 50, mtime=0), "csv"),
        (b"Event Stream\x02\x00\x00", "es"),
        (b"% Data file containing CD events.\n% Version 2\n\x00\x08", "dat"),
        (b"% Date 2020-01-01\n% Version 2\n\x00\x08", "dat"),
        (b"% Date 2020-01-01\n% evt 2.0\n\x00", "evt2"),
        (b"% evt 2.1\n% Version 2\n\x00", "evt21"),
        (b"% Date 2020-01-01\n% evt 3.0\n\x00", "evt3"),
        (b"% camera x\n% format EVT2;height=480\n\x00", "evt2"),
        (b"% format EVT21;endianness=legacy;height=720;width=1280\n% end\n", "evt21"),
        (b"% format EVT3;width=1280;height=720\n% end\n", "evt3"),
        (b"% Date 2020-01-01\n" + evt2_words(), "evt2"),
        (b"\x89HDF\r\n\x1a\nxx", "hdf5"),
        (b"MATLAB 7.3" + b" " * 502 + b"\x89HDF\r\n\x1a\n", "hdf5"),
        (b"\x93NUMPY\x01\x00", "npy"),
        (b"PK\x03\x04xx", "npz"),
        (b"PK\x05\x06xx", "npz"),
        (mcap(b""), "mcap"),
        (mcap(b"ros1"), "rosmcap"),
        (mcap(b"ros2"), "rosmcap"),
        (b"\x89MCAP0\r\n", "mcap"),
        (b"SQLite format 3\x00", "db3"),
        (evt2_words(), "evt2"),
    ],
)
def test_the_first_bytes_decide_whatever_the_name(head, name):
    for file in ("a.dat", "a.raw", "a.bin", "a.aedat", "a", ""):
        assert detect(head, file).format == name


@pytest.mark.parametrize(
    ("head", "title"),
    [
        (b"MATLAB 5.0 MAT-file, x", "a MATLAB 5 file"),
        (gzip.compress(b"\x00\x01" * 500, mtime=0), "a gzip file"),
        (b"% format EVT4;height=480;width=640\n", "Prophesee EVT4"),
        (b"% format HISTO3D;height=480;width=640\n", "Prophesee HISTO3D"),
        (b"\x00\x01\x02\x03", ""),
        (b"\x00" * 4_000, ""),
        (b"hello", ""),
        ("# a page · in UTF-8\n\nwords\n".encode(), ""),
        (b"12 34\n", ""),
        (b"% a comment and nothing else\n", ""),
        (b"\x1f\x8b", "a gzip file"),
        (b"", ""),
    ],
)
def test_what_cannot_be_read_is_named_where_it_is_known(tmp_path, head, title):
    found = detect(head, "a.dat", len(head))
    assert (found.format, found.title) == (None, title)
    (tmp_path / "a.dat").write_bytes(head)
    with pytest.raises(SourceError) as caught:
        open_source(tmp_path / "a.dat")
    what = "is empty" if not head else f"is {title or 'in no format we know'}"
    assert str(caught.value).startswith(f"{tmp_path}/a.dat: {what}; this version reads AEDAT 1 to 4, ")
    assert "\n" not in str(caught.value) and str(caught.value).endswith("?format=NAME says which")


def test_words_without_a_header_are_only_what_they_can_be_alone():
    digits = nmnist_records()
    assert detect(digits, "a.bin").format == "nmnist" and not detect(digits, "a.bin").sure
    assert detect(digits, "a.raw").format is None  # the name is part of the evidence
    assert detect(digits + b"\0", "a.bin").format is None  # and so is the size
    assert detect(digits[::-1], "a.bin").format is None  # times that fall
    words = evt2_words()
    assert detect(words, "").format == "evt2" and not detect(words, "").sure
    assert detect(words[4:], "").format == "evt2"  # beginning with an event
    assert detect(words[1:], "").format is None  # out of phase
    shuffled = np.random.default_rng(3).permutation(np.frombuffer(words, "<u4")).tobytes()
    assert detect(shuffled, "").format is None
    damaged = bytearray(words)
    damaged[800:820] = b"\xff" * 20
    assert detect(bytes(damaged), "").format == "evt2"


def test_noise_is_nothing():
    rng = np.random.default_rng(1)
    for size in (*range(0, 200), 4_096, 65_536):
        for name in ("a.bin", "a.raw", ""):
            assert detect(rng.bytes(size), name, size).format is None


def test_every_prefix_of_every_head_is_looked_at_without_a_fault():
    heads = [
        evt2_words(60),
        nmnist_records(40),
        b"t,x,y,p\r\n10,1,2,1\r\n",
        mcap(b"ros2"),
        b"% evt 3.0\n% end\n",
    ]
    for head in [*heads, gzip.compress(b"1 2 3 1\n" * 50, mtime=0), b"#!AER-DAT4.0\r\n"]:
        for stop in range(len(head)):
            found = detect(head[:stop], "a.bin", stop)
            assert found.format is None or found.format in FORMATS


def test_content_wins_over_the_name_and_the_difference_is_reported(tmp_path):
    events = random_events(100)
    data = aedat4([events]).data
    for name, noted in (("a.npz", True), ("a.raw", True), ("a.aedat", False), ("a", False), ("a.tmp", False)):
        (tmp_path / name).write_bytes(data)
        with open_source(tmp_path / name) as source:
            assert source.format == "AEDAT4" and sum(map(len, source)) == 100
            expected = [f"named {name[1:]}, but its content is AEDAT4, and is read as such"] if noted else []
            assert source.report().damage == expected


def test_the_user_may_say_the_format(tmp_path):
    events = random_events(100)
    (tmp_path / "a.npz").write_bytes(aedat4([events]).data)
    with open_source(f"{tmp_path}/a.npz?format=aedat4") as source:
        assert sum(map(len, source)) == 100 and source.report().damage == []
    with pytest.raises(SourceError, match="not a whole zip file"):
        open_source(f"{tmp_path}/a.npz?format=npz")
    with pytest.raises(SourceError, match=r"format=avi; choose from aedat1, aedat2, .*, rosmcap"):
        open_source(f"{tmp_path}/a.npz?format=avi")


def test_the_word_of_the_user_goes_to_all_files_of_a_glob_and_to_standard_input(tmp_path, monkeypatch):
    import io
    import sys

    np.save(tmp_path / "a0.npy", records(random_events(10)))
    np.save(tmp_path / "a1.npy", records(random_events(20)))
    with open_source(f"{tmp_path}/a*.npy?format=npy", sensor=SENSOR) as source:
        assert [len(packet) for packet in source] == [10, 20]
    data = (tmp_path / "a0.npy").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    with open_source("-?format=npy", sensor=SENSOR) as source:
        assert sum(map(len, source)) == 10
    with pytest.raises(SourceError, match="read only once"):
        open_source("-?format=npy", loop=2)


def test_the_documents_name_every_format_and_option():
    table = (Path(__file__).parents[1] / "docs" / "formats.md").read_text()
    rows = [line.split("|")[1:4] for line in table.splitlines() if line.startswith("| `")][1:]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert named == set(FORMATS)
    for formats, _, options in rows:
        for name in re.findall(r"`(\w+)`", formats):
            told = set(re.findall(r"`(\w+)` ", options + " "))
            wanted = {option for option in reader_of(name).OPTIONS if option != "format"}
            assert wanted <= told, f"{name}: {wanted - told}"


def test_the_table_of_formats_is_sound():
    assert all(extension.startswith(".") for extension in EXTENSIONS)
    assert (
        extension_of("/tmp/a.b/C.RAW") == ".raw" and extension_of("/tmp/a.b/.raw") == extension_of("x") == ""
    )


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="../shared/data/recordings is not here")
def test_real_recordings():
    wanted = {
        "davis346.aedat4": "aedat4",
        "dvs128_pencil.aedat": "aedat2",
        "davis240_rotating_disk_imu_aps.aedat": "aedat2",
        "tmpdiff128_aedat1.dat": "aedat1",
        "gen3_evt2.raw": "evt2",
        "gen41_evt3.raw": "evt3",
        "scene_dvs.es": "es",
        "ncars_car.dat": "dat",
        "ncars_background.dat": "dat",
        "nmnist_one.bin": "nmnist",
        "evk_evt3_eventpacket.bag": "rosbag",
        "genx320_headerless_evt2.bin": "evt2",
    }
    found = {}
    for name in wanted:
        with open(RECORDINGS / name, "rb") as file:
            found[name] = detect(file.read(HEAD_BYTES), name, os.path.getsize(RECORDINGS / name)).format
    assert found == wanted
