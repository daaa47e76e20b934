"""AEDAT 1.0, 2.0 and 3: equal to slow readers, however the bytes are cut; wraps, damage, real recordings."""

import os
import struct
from itertools import pairwise
from pathlib import Path

import make_aedat as make
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_aedat import DAVIS346, DVS128, events_of
from mutations import is_part, mutated, read_all, read_or_refuse, same
from test_sources_writers import Events

from spikeline.drivers.formats.aedat2 import Aedat2Source
from spikeline.drivers.formats.aedat3 import Aedat3Source
from spikeline.drivers.formats.aedat_header import known_sensor
from spikeline.drivers.formats.fixed_fields import AEDAT1, DAVIS, END_US
from spikeline.drivers.formats.fixed_fields import DVS128 as DVS128_LAYOUT
from spikeline.drivers.formats.fixed_records import FixedDecoder
from spikeline.drivers.formats.rooms import Rooms
from spikeline.pipeline.events import Sensor, SourceError

RECORDINGS = Path(os.environ.get("SPIKELINE_DATA", Path(__file__).parents[2] / "shared/data")) / "recordings"
REAL = {  # events, records of other kinds, span in us, width
    "dvs128_walking_alex_1.aedat": (125_028, 0, 8_043_874, 128),
    "dvs128_walking_alex_2.aedat": (19_182, 0, 6_886_550, 128),
    "dvs128_standing_up_alex.aedat": (290_292, 0, 25_085_667, 128),
    "dvs128_right_clamp.aedat": (110_228, 0, 18_018_985, 128),
    "dvs128_pencil.aedat": (249_545, 0, 36_444_251, 128),
    "dvs128_scissors.aedat": (263_941, 0, 33_007_781, 128),
    "davis240_rotating_disk_imu_aps.aedat": (374_296, 51_688, 3_166_759, 240),
    "tmpdiff128_aedat1.dat": (121_270, 0, 21_890_580, 128),
}
VERSIONS = {"aedat1": (1, DVS128), "dvs128": (2, DVS128), "davis": (2, DAVIS346)}
LAYOUTS = {"aedat1": AEDAT1, "dvs128": DVS128_LAYOUT, "davis": DAVIS}
EACH_LAYOUT = pytest.mark.parametrize("layout", VERSIONS)


def random_events(n, *, chip=DVS128, seed=1, start_us=5_000_000, gap_us=200):
    rng = np.random.default_rng(seed)
    width, height = make.SIZES[chip]
    return Events(
        start_us + np.cumsum(rng.integers(0, gap_us, n)),
        rng.integers(0, width, n).astype(np.uint16),
        rng.integers(0, height, n).astype(np.uint16),
        rng.integers(0, 2, n).astype(np.uint8),
    )


def body_of(layout, events, others=()):
    version, chip = VERSIONS[layout]
    return make.aedat1(events, others) if version == 1 else make.aedat2(events, chip, others)


def header_of(layout):
    version, chip = VERSIONS[layout]
    return make.aedat_header(f"{version}.0", chip if version == 2 else None)


def written(path, data):
    path.write_bytes(data)
    return path


def read(path, **keywords):
    source = Aedat2Source(path, **keywords)
    events, report = read_all(source)
    return events, report, source


def others_for(layout, events, rng):
    """A few special records, and for a DAVIS frames and IMU samples, each at the time of the next event."""
    _, chip = VERSIONS[layout]
    others = []
    for index in sorted(rng.choice(len(events.t), min(6, len(events.t)), replace=False).tolist()):
        t = int(events.t[index])
        if chip == DVS128:
            others.append((index, make.SPECIAL_DVS128 | int(rng.integers(1 << 15)), t))
        else:
            kinds = [[make.SPECIAL_DAVIS], make.imu_addresses(int(rng.integers(1 << 16)))]
            kinds.append([make.APS | int(x) << 12 | 1 << 10 | 300 for x in rng.integers(0, 346, 5)])
            others += [(index, address, t) for address in kinds[int(rng.integers(3))]]
    return others


# Whole files


@EACH_LAYOUT
@settings(deadline=None, max_examples=25)
@given(st.integers(0, 700), st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 90_000))
def test_every_record_is_read_as_the_slow_reader_does(tmp_path_factory, layout, n, seed, start_us):
    version, chip = VERSIONS[layout]
    rng = np.random.default_rng(seed)
    events = random_events(
        n, chip=chip, seed=seed, start_us=start_us, gap_us=int(rng.choice([2, 300, 90_000]))
    )
    others = others_for(layout, events, rng)
    body = body_of(layout, events, others)
    expected, other_records = make.slow_aedat12(body, version, chip)
    path = written(tmp_path_factory.mktemp("a") / "a.aedat", header_of(layout) + body)
    found, report, source = read(path)
    assert same(found, events_of(expected)) and same(found, events)
    assert sum(source.others.values()) == other_records == len(others)
    assert (report.refused, report.damage, report.truncated) == (0, [], False)
    assert report.bytes == path.stat().st_size


@EACH_LAYOUT
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_any_cut_of_the_bytes_gives_the_same_events(layout, data):
    version, chip = VERSIONS[layout]
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    n = data.draw(st.integers(1, 900))
    events = random_events(
        n, chip=chip, seed=seed, start_us=2**31 - n * 60, gap_us=int(rng.choice([120, 4_000_000]))
    )
    body = np.frombuffer(body_of(layout, events, others_for(layout, events, rng)), np.uint8)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    decoder = FixedDecoder(LAYOUTS[layout], Sensor(*make.SIZES[chip]))
    found, used = [], 0
    for stop in [*sorted(cuts), len(body)]:
        more = True
        while more:
            room = Rooms(reuse=False).take().part(0, data.draw(st.integers(100, 1_000)))
            step = decoder.decode(body[used:stop], room, stop == len(body))
            assert not step.odd and not step.refused
            found += make.rows(Events(*room.part(0, step.events)))
            used += step.used
            more = step.used > 0
    assert used == len(body)
    assert found == make.slow_aedat12(body.tobytes(), version, chip)[0]


VECTORS = {
    "1.0 DVS128": (
        "1.0",
        None,
        "6bea000003e8 7f01000003eb 8000000003ec",
        [(1000, 10, 20, 1), (1003, 127, 0, 0)],
        1,
    ),
    "2.0 DVS128": ("2.0", DVS128, "00006beafffffffb 000000ff00000003", [(-5, 10, 20, 1), (3, 0, 127, 0)], 0),
    "2.0 wrap": (
        "2.0",
        None,
        "00007efc7fffffff 00007efd80000000",
        [(2147483647, 1, 1, 1), (2147483648, 1, 1, 0)],
        0,
    ),
    "2.0 DAVIS346": (
        "2.0",
        "Davis346red",
        "40d5980000000064 803b4c00000007d0 81407541000007d1 00000000000007d2",
        [(100, 0, 0, 1), (2002, 345, 259, 0)],
        2,
    ),
    "2.0 DAVIS240": ("2.0", "DAVIS240C", "03c0b800000536ae", [(341678, 228, 164, 1)], 0),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(tmp_path, name):
    version, chip, records, expected, others = VECTORS[name]
    path = written(tmp_path / "a.aedat", make.aedat_header(version, chip) + bytes.fromhex(records))
    found, report, source = read(path)
    assert make.rows(found) == expected
    assert (sum(source.others.values()), report.refused, report.damage) == (others, 0, [])


# The clock


@EACH_LAYOUT
def test_ten_wraps_from_fifty_offsets_around_one(tmp_path, layout):
    rng = np.random.default_rng(5)
    _, chip = VERSIONS[layout]
    for offset in rng.choice([1, 10, 1_000, 10**6, 10**9], 50) * rng.integers(-3, 4, 50):
        steps = rng.choice([0, 1, 100, 900_000], 1_000)
        long = rng.choice(1_000, 60, replace=False)
        steps[long] = rng.integers(1, 1_800_000_000, 60)
        t = END_US[AEDAT1] + int(offset) + np.cumsum(steps)
        t += make.signed(int(t[0])) - int(t[0])
        assert t[-1] - t[0] > 10 * 2**32
        events = random_events(len(t), chip=chip)._replace(t=t)
        path = written(tmp_path / "a.aedat", header_of(layout) + body_of(layout, events))
        found, report, _ = read(path)
        assert same(found, events), offset
        assert (report.epochs, report.refused, report.damage) == (1, 0, [])


@EACH_LAYOUT
def test_a_late_event_across_a_wrap_is_late_and_no_more(tmp_path, layout):
    _, chip = VERSIONS[layout]
    events = random_events(900, chip=chip, start_us=2**31 - 20_000, gap_us=100)
    at = int(np.searchsorted(events.t, 2**31))
    late = events._replace(t=events.t.copy())
    late.t[at + 2] = 2**31 - 300
    found, report, source = read(written(tmp_path / "a.aedat", header_of(layout) + body_of(layout, late)))
    late.t[at + 2] = late.t[at + 1]
    assert same(found, late)
    assert (report.reordered, report.epochs, source.others) == (1, 1, {})


@EACH_LAYOUT
def test_a_clock_set_back_begins_an_epoch_with_the_times_it_counts(tmp_path, layout):
    _, chip = VERSIONS[layout]
    before = random_events(500, chip=chip, start_us=1_500_000_000)
    after = random_events(500, chip=chip, start_us=20, seed=2)
    events = Events(*(np.concatenate(both) for both in zip(before, after, strict=True)))
    found, report, _ = read(written(tmp_path / "a.aedat", header_of(layout) + body_of(layout, events)))
    assert same(found, events)
    assert (report.epochs, report.refused, report.damage) == (2, 0, [])


def test_a_wrap_that_a_new_clock_could_have_made_is_counted(tmp_path):
    before = random_events(300, start_us=2**31 - 400_000_000)
    after = random_events(300, start_us=5 - 2**31, seed=2)
    events = Events(*(np.concatenate(both) for both in zip(before, after, strict=True)))
    path = written(tmp_path / "a.aedat", header_of("dvs128") + make.aedat2(events))
    found, report, source = read(path)
    assert same(found, events._replace(t=np.concatenate((before.t, after.t + 2**32))))
    assert source.others == {"ambiguous clock wrap": 1} and report.epochs == 1


@EACH_LAYOUT
def test_sparse_events_are_no_damage(tmp_path, layout):
    _, chip = VERSIONS[layout]
    rng = np.random.default_rng(8)
    t = np.cumsum(rng.integers(1, 1_500, 400) * 10**6)
    events = random_events(len(t), chip=chip)._replace(t=t)
    found, report, _ = read(written(tmp_path / "a.aedat", header_of(layout) + body_of(layout, events)))
    assert same(found, events)
    assert (report.refused, report.epochs, report.damage) == (0, 1, [])


# Damage


@EACH_LAYOUT
@pytest.mark.parametrize("bit", range(32))
def test_a_flipped_bit_in_one_time_costs_at_most_that_event(tmp_path, layout, bit):
    _, chip = VERSIONS[layout]
    events = random_events(2_000, chip=chip, start_us=1_000_000_000)
    body = bytearray(body_of(layout, events))
    unit = len(body) // 2_000
    for index in (0, 1, 777, 1_998):
        damaged = bytearray(body)
        damaged[unit * index + unit - 1 - bit // 8] ^= 1 << (bit % 8)
        found, report, _ = read(written(tmp_path / "a.aedat", header_of(layout) + damaged))
        lost = len(events.t) - len(found.t)
        assert lost == report.refused <= 1, index
        moved = (
            np.flatnonzero(np.delete(events.t, index)[: len(found.t)] != np.delete(found.t, index))
            if not lost
            else []
        )
        assert report.epochs == 1 and len(moved) <= 20, index  # late by at most 1 ms: clamped


@EACH_LAYOUT
def test_cut_at_every_byte_all_whole_events_come(tmp_path, layout):
    _, chip = VERSIONS[layout]
    events = random_events(40, chip=chip)
    header, body = header_of(layout), body_of(layout, events)
    unit = len(body) // 40
    for cut in range(len(body) + 1):
        path = written(tmp_path / "a.aedat", header + body[:cut])
        found, report, _ = read(path)
        assert same(found, events.slice(0, cut // unit))
        assert report.truncated == (cut % unit > 0)
        if report.truncated:
            assert len(report.damage) == 1
            assert f"bytes {len(header) + cut // unit * unit} to {len(header) + cut}" in report.damage[0]
            assert f"{cut % unit} of {unit} bytes" in report.damage[0]


@EACH_LAYOUT
@pytest.mark.parametrize("size", [3, 16, 64, 250, 1_024])
def test_noise_costs_little_more_than_the_events_it_lies_on(tmp_path, layout, size):
    _, chip = VERSIONS[layout]
    events = random_events(20_000, chip=chip)
    body = body_of(layout, events)
    unit = len(body) // len(events.t)
    rng = np.random.default_rng(size)
    for _ in range(6):
        at = int(rng.integers(unit, len(body) - size - unit))
        damaged = body[:at] + rng.bytes(size) + body[at + size :]
        found, report, _ = read(written(tmp_path / "a.aedat", header_of(layout) + damaged))
        outside = 20_000 - (at + size - 1) // unit + at // unit - 1
        assert len(common(found, events)) >= 0.999 * outside
        assert (
            len(found.t) - len(common(found, events)) <= 20 + 0.02 * size
        )  # an event a little late moves others
        assert report.epochs == 1 and not report.truncated
        if size > 300:
            assert any(covers(line, len(header_of(layout)) + at, size) for line in report.damage)


@EACH_LAYOUT
@pytest.mark.parametrize("size", [1, 2, 5, 7, 333, 1_021])
def test_lost_bytes_cost_little_more_than_the_events_they_were(tmp_path, layout, size):
    _, chip = VERSIONS[layout]
    events = random_events(20_000, chip=chip)
    body = body_of(layout, events)
    unit = len(body) // len(events.t)
    rng = np.random.default_rng(size)
    for _ in range(6):
        at = int(rng.integers(unit, len(body) - size - 200 * unit))
        found, report, _ = read(
            written(tmp_path / "a.aedat", header_of(layout) + body[:at] + body[at + size :])
        )
        outside = 20_000 - -(-size // unit) - 1
        assert len(common(found, events)) >= 0.99 * outside, at
        assert report.epochs <= 2


def common(found, events):
    return set(make.rows(found)) & set(make.rows(events))


def covers(line, at, size):
    """Whether a damage line's bytes lie on the damaged ones."""
    words = line.split()
    return words[0] == "bytes" and int(words[1]) < at + size and int(words[3].rstrip(":")) > at


@EACH_LAYOUT
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full)])
def test_damage_of_any_kind_breaks_no_rule(tmp_path, layout, seed):
    _, chip = VERSIONS[layout]
    events = random_events(3_000, chip=chip)
    data = header_of(layout) + body_of(layout, events)
    path = tmp_path / "a.aedat"
    for kind, damaged in mutated(data, seed, 1_000 if seed else 60):
        found, report = read_or_refuse(lambda damaged=damaged: Aedat2Source(written(path, damaged)))
        if kind == "truncate" and found is not None:
            assert is_part(found, events), report


# Headers


def test_headers_with_and_without_an_end_mark(tmp_path):
    events = random_events(50)
    settings_dump = ["#Start of Preferences for this AEChip", '#<?xml version="1.0" encoding="UTF-8"?>']
    settings_dump += [f'#    <entry key="DVS128.IPot.cas{k}" value="54"/>' for k in range(2_500)]
    settings_dump += ["#End of Preferences for this AEChip", "# User name: J\xf6rg"]
    for end_mark in (True, False):
        for ending in (b"\r\n", b"\n"):
            for extra in ([], settings_dump):
                header = make.aedat_header("2.0", DVS128, end_mark=end_mark, ending=ending, extra=extra)
                found, report, source = read(written(tmp_path / "a.aedat", header + make.aedat2(events)))
                assert same(found, events) and report.damage == []
                assert source.sensor == Sensor(128, 128, "DVS128")


@pytest.mark.parametrize("layout", ["aedat1", "dvs128"])
def test_a_header_cut_short_gives_no_events(tmp_path, layout):
    header = header_of(layout)
    for cut in range(12, len(header)):
        found, report, _ = read(written(tmp_path / "a.aedat", header[:cut]))
        assert len(found.t) == 0 and report.truncated == (header[cut - 1 : cut] != b"\n"), cut
        assert len(report.damage) == report.truncated


def test_a_first_event_that_begins_like_a_header_line(tmp_path):
    one = events_of([(679_877_510, 3, 127 - 35, 1), (679_877_610, 4, 9, 0)])
    assert make.aedat1(one).startswith(b"#")
    found, report, _ = read(
        written(tmp_path / "a.dat", make.aedat_header("1.0", end_mark=False) + make.aedat1(one))
    )
    assert same(found, one) and report.damage == []


def test_without_a_camera_name_the_records_tell(tmp_path):
    for chip in (DVS128, DAVIS346):
        events = random_events(200, chip=chip)
        path = written(tmp_path / "a.aedat", make.aedat_header("2.0") + make.aedat2(events, chip))
        if chip == DAVIS346:
            with pytest.raises(SourceError, match=r"those of a DAVIS.*--sensor WIDTHxHEIGHT"):
                Aedat2Source(path)
            assert same(read(path, options={"chip": "DAVIS346"})[0], events)
        found, _, source = read(path, sensor=Sensor(*make.SIZES[chip]))
        assert same(found, events) and source.sensor[:2] == make.SIZES[chip]


def test_without_any_header_the_user_says_the_version(tmp_path):
    events = random_events(200)
    for version, body in ((1, make.aedat1(events)), (2, make.aedat2(events))):
        found, _, source = read(written(tmp_path / "a.bin", body), options={"format": f"aedat{version}"})
        assert same(found, events) and source.format == f"AEDAT {version}.0"


@pytest.mark.parametrize(
    ("header", "keywords", "message"),
    [
        (
            make.aedat_header("2.0", "CochleaAMS1c"),
            {},
            "recorded with .*CochleaAMS1c; wanted a DVS128, DAVIS",
        ),
        (make.aedat_header("2.0", "DVS640"), {}, "recorded with .*DVS640"),
        (make.aedat_header("2.0", DVS128), {"sensor": Sensor(346, 260)}, "is 128x128; --sensor says 346x260"),
        (make.aedat_header("1.0", "DAVIS240C"), {}, "AEDAT 1.0 of a .*DAVIS240C; wanted a DVS128"),
        (make.aedat_header("3.1"), {}, "is AEDAT 3.1; wanted AEDAT 1.0 or 2.0"),
        (make.aedat_header("2.0"), {"options": {"format": "aedat1"}}, "is AEDAT 2.0; .format says aedat1"),
        (
            make.aedat_header("2.0"),
            {"options": {"speed": "1"}},
            "unknown option speed; choose from chip, format",
        ),
        (b"#" + b" header\r\n# x" * 400_000, {}, "4 MiB of header"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, header, keywords, message):
    path = written(tmp_path / "a.aedat", header + make.aedat2(random_events(5)))
    with pytest.raises(SourceError, match=message) as caught:
        Aedat2Source(path, **keywords)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("ch.unizh.ini.jaer.chip.retina.DVS128", (128, 128)),
        ("ch.unizh.ini.caviar.chip.retina.Tmpdiff128", (128, 128)),
        ("eDVS128", (128, 128)),
        ("eu.seebetter.ini.chips.davis.DAVIS240C", (240, 180)),
        ("DVS240", (240, 180)),
        ("eu.seebetter.ini.chips.davis.Davis346red", (346, 260)),
        ("DAVIS346", (346, 260)),
        ("Davis208PixelParade", (208, 192)),
        ("Davis128", (128, 128)),
        ("Davis640Color", (640, 480)),
        ("DVS640", None),
        ("DavisRGBW640", None),
        ("Davis3460", None),
        ("CochleaAMS1c", None),
        ("", None),
    ],
)
def test_cameras_by_name(name, size):
    found = known_sensor(name)
    assert (found and found[:2]) == size


# AEDAT 3


def read3(path, **keywords):
    source = Aedat3Source(path, **keywords)
    events, report = read_all(source)
    return events, report, source


def davis3(events, packet_events=300):
    return make.aedat3_header(sources=["#Source 1: DAVIS346"]), make.aedat3(events, packet_events)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2_000), st.integers(1, 700), st.integers(0, 2**32 - 1), st.integers(0, 2**34))
def test_packets_are_read_as_the_slow_reader_does(tmp_path_factory, n, packet_events, seed, start_us):
    events = random_events(n, chip=DAVIS346, seed=seed, start_us=start_us)
    header, packets = davis3(events, packet_events)
    path = written(tmp_path_factory.mktemp("a") / "a.aedat", header + b"".join(packets))
    found, report, source = read3(path)
    assert same(found, events) and same(found, events_of(make.slow_aedat3(b"".join(packets))))
    assert (report.refused, report.damage, report.truncated, report.epochs) == (0, [], False, int(n > 0))
    assert source.sensor == Sensor(346, 260, "DAVIS346")


def test_vector_of_packets(tmp_path):
    packets = bytes.fromhex(
        "010001000800000004000000000000000300000003000000020000008f012200ffffff7f18000a00ffffff7f0100fe00ffffff7f"
        "0000010008000000040000000100000001000000010000000100000001000000000000000100010008000000040000000100000001000000"
        "0100000001000000ff01000000000000"
    )
    found, report, source = read3(written(tmp_path / "a.aedat", make.aedat3_header() + packets))
    assert make.rows(found) == [(2147483647, 17, 99, 1), (2147483647, 127, 0, 0), (2147483648, 0, 127, 1)]
    assert source.others == {"special event": 1, "event marked as not valid": 1}
    assert (report.refused, report.damage) == (0, [])


def test_other_packets_and_other_sources_are_counted_and_passed_over(tmp_path):
    events = random_events(900, chip=DAVIS346)
    header, packets = davis3(events)
    stranger = make.polarity_packet(random_events(40, seed=3), source=2)
    frame = make.aedat3_packet(2, bytes(36 + 2 * 346 * 260), 1, size=36 + 2 * 346 * 260, time_at=12)
    imu = make.aedat3_packet(3, bytes(36 * 5), 5, size=36)
    external = make.aedat3_packet(0, struct.pack("<II", 1 | 2 << 1, 77), 1)
    data = header + b"".join(
        (external, packets[0], frame, frame, stranger, imu, packets[1], external, packets[2], imu)
    )
    found, report, source = read3(written(tmp_path / "a.aedat", data))
    assert same(found, events)
    assert source.others == {
        "special event": 2, "frame": 2, "IMU sample (6 axes)": 10, "event of another source": 40,
    }  # fmt: skip
    assert (report.damage, report.epochs) == ([], 1)
    wanted = {"sensor": Sensor(128, 128), "options": {"source": "2"}}
    assert same(read3(written(tmp_path / "a.aedat", data), **wanted)[0], random_events(40, seed=3))


def test_the_first_source_that_sends_events_is_read_with_its_own_camera(tmp_path):
    events = random_events(40)
    sources = ["#Source 1: DAVIS240C", "#Source 2: DVS128 ID-3 SN-00245"]
    data = make.aedat3_header(sources=sources) + make.polarity_packet(events, source=2)
    found, _, source = read3(written(tmp_path / "a.aedat", data))
    assert same(found, events) and source.sensor == Sensor(128, 128, "DVS128")


def test_a_reset_of_the_clock_begins_an_epoch_even_a_small_one(tmp_path):
    first = random_events(60, start_us=40_000, gap_us=20)
    second = random_events(60, start_us=39_000, gap_us=20)
    reset = make.aedat3_packet(0, struct.pack("<II", 1 | 1 << 1, 0), 1)
    data = (
        make.aedat3_header()
        + reset
        + b"".join((*make.aedat3(first, 25), reset, reset, *make.aedat3(second, 25)))
    )
    found, report, source = read3(written(tmp_path / "a.aedat", data))
    assert same(found, Events(*(np.concatenate(both) for both in zip(first, second, strict=True))))
    assert (report.epochs, report.refused, report.reordered) == (2, 0, 0)
    assert source.others == {"special event": 3}


def test_a_packet_larger_than_any_buffer_and_capacity_beyond_number(tmp_path):
    events = random_events(150_000, gap_us=10)
    big = make.polarity_packet(events.slice(0, 120_000))
    spare = make.polarity_packet(events.slice(120_000, 120_100), capacity=200) + bytes(8 * 100)
    rest = make.aedat3(events.slice(120_100, 150_000), 5_000)
    data = make.aedat3_header() + big + spare + b"".join(rest)
    found, report, _ = read3(written(tmp_path / "a.aedat", data))
    assert same(found, events) and report.damage == []


def test_version_3_0_has_its_origin_below(tmp_path):
    events = random_events(500, chip=DAVIS346)
    body = make.polarity_packet(events, old_height=260)
    header = make.aedat3_header("3.0", ["#Source 1: DAVIS346"])
    found, report, source = read3(written(tmp_path / "a.aedat", header + body))
    assert same(found, events) and same(found, events_of(make.slow_aedat3(body, old_height=260)))
    assert (source.format, report.damage) == ("AEDAT 3.0", [])


def test_without_a_known_camera_the_user_says_the_size(tmp_path):
    data = make.aedat3_header(sources=["#Source 1: Speck"]) + make.polarity_packet(random_events(9))
    path = written(tmp_path / "a.aedat", data)
    with pytest.raises(SourceError, match="--sensor WIDTHxHEIGHT"):
        Aedat3Source(path)
    assert same(read3(path, sensor=Sensor(128, 128))[0], random_events(9))
    with pytest.raises(SourceError, match="source=one; wanted a whole number"):
        Aedat3Source(path, sensor=Sensor(128, 128), options={"source": "one"})
    with pytest.raises(SourceError, match=r"is AEDAT 2.0; wanted AEDAT 3.0 or 3.1"):
        Aedat3Source(written(path, make.aedat_header("2.0")))


def test_packets_cut_at_every_byte(tmp_path):
    events = random_events(60, chip=DAVIS346)
    header, packets = davis3(events, 12)
    body, ends = b"".join(packets), np.cumsum([0, *map(len, packets)])
    path = tmp_path / "a.aedat"
    for cut in range(len(body) + 1):
        found, report, _ = read3(written(path, header + body[:cut]))
        inside = cut - ends[ends <= cut][-1]
        whole = 12 * (np.count_nonzero(ends <= cut) - 1) + max(0, int(inside) - 28) // 8
        assert same(found, events.slice(0, whole)), cut
        assert report.truncated == (cut not in ends)
        if report.truncated:
            assert len(report.damage) == 1 and f"to {len(header) + cut}: the file ends" in report.damage[0]


@pytest.mark.parametrize("size", [16, 64, 300, 1_024])
def test_noise_costs_the_packets_it_lies_in(tmp_path, size):
    events = random_events(20_000, chip=DAVIS346)
    header, packets = davis3(events, 250)
    body, ends = b"".join(packets), np.cumsum([0, *map(len, packets)])
    rng = np.random.default_rng(size)
    for _ in range(12):
        at = int(rng.integers(0, len(body) - size))
        hit = [k for k, (a, b) in enumerate(pairwise(ends)) if a < at + size and b > at]
        outside = [row for k, row in enumerate(make.rows(events)) if k // 250 not in hit]
        damaged = header + body[:at] + rng.bytes(size) + body[at + size :]
        found, report, _ = read3(written(tmp_path / "a.aedat", damaged))
        assert len(set(make.rows(found)) & set(outside)) >= 0.99 * len(outside)
        assert report.epochs == 1 and (report.damage or report.refused or len(found.t) == len(events.t))


@pytest.mark.parametrize("size", [1, 4, 8, 29, 1_000])
def test_lost_bytes_cost_the_packets_they_were_in(tmp_path, size):
    events = random_events(20_000, chip=DAVIS346)
    header, packets = davis3(events, 250)
    body, ends = b"".join(packets), np.cumsum([0, *map(len, packets)])
    rng = np.random.default_rng(size)
    for _ in range(12):
        at = int(rng.integers(0, len(body) - size))
        hit = [k for k, (a, b) in enumerate(pairwise(ends)) if a < at + size and b > at]
        outside = [row for k, row in enumerate(make.rows(events)) if k // 250 not in hit]
        found, report, _ = read3(written(tmp_path / "a.aedat", header + body[:at] + body[at + size :]))
        assert len(set(make.rows(found)) & set(outside)) >= 0.99 * len(outside), at
        assert report.epochs == 1 and report.damage


def test_a_damaged_number_or_overflow_in_a_header_costs_nothing_around_it(tmp_path):
    events = random_events(2_000, chip=DAVIS346)
    header, packets = davis3(events, 100)
    for field, value in (
        (20, 2_000_000_000),
        (20, 99),
        (16, 2_000_000_000),
        (12, 3_000),
        (4, 1 << 20),
        (0, 500),
    ):
        damaged = bytearray(packets[7])
        struct.pack_into("<i" if field else "<h", damaged, field, value)
        data = header + b"".join((*packets[:7], damaged, *packets[8:]))
        found, report, _ = read3(written(tmp_path / "a.aedat", data))
        outside = Events(*(np.delete(column, range(700, 800)) for column in events))
        assert is_part(outside, found), (field, value)
        assert report.epochs == 1


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full)])
def test_damaged_packets_break_no_rule(tmp_path, seed):
    events = random_events(3_000, chip=DAVIS346)
    header, packets = davis3(events, 250)
    path = tmp_path / "a.aedat"
    for kind, damaged in mutated(header + b"".join(packets), seed, 1_000 if seed else 100):
        found, report = read_or_refuse(lambda damaged=damaged: Aedat3Source(written(path, damaged)))
        if kind == "truncate" and found is not None:
            assert is_part(found, events), report


# Real recordings


@pytest.mark.parametrize("name", REAL)
def test_real_recordings_come_whole(name):
    path = RECORDINGS / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    count, others, span_us, width = REAL[name]
    found, report, source = read(path)
    assert (len(found.t), int(found.t[-1] - found.t[0]), source.sensor.width) == (count, span_us, width)
    assert (report.refused, report.reordered, report.epochs) == (0, 0, 1)
    assert (report.truncated, report.damage, report.bytes) == (False, [], path.stat().st_size)
    assert source.others == ({"IMU value": others} if others else {})
    version, chip = (1, DVS128) if name.endswith(".dat") else (2, DVS128 if width == 128 else "DAVIS240C")
    body = path.read_bytes()[-(6 if version == 1 else 8) * (count + others) :]
    assert same(found, events_of(make.slow_aedat12(body, version, chip)[0]))
