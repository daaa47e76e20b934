"""N-MNIST: equal to a slow reader, however the bytes are cut; the clock's overflows and wraps; damage."""

import os
from pathlib import Path

import make_aedat as make
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_aedat import events_of
from mutations import is_part, mutated, read_all, read_or_refuse, same
from test_sources_writers import Events

from spikeline.drivers.formats.fixed_fields import NMNIST
from spikeline.drivers.formats.fixed_records import FixedDecoder
from spikeline.drivers.formats.nmnist import NmnistSource
from spikeline.drivers.formats.rooms import Rooms
from spikeline.pipeline.events import Sensor, SourceError

RECORDINGS = Path(os.environ.get("SPIKELINE_DATA", Path(__file__).parents[2] / "shared/data")) / "recordings"
SENSOR = Sensor(34, 34, "N-MNIST")


def random_events(n, *, seed=1, start_us=100, gap_us=100, width=34, height=34):
    rng = np.random.default_rng(seed)
    return Events(
        start_us + np.cumsum(rng.integers(0, gap_us, n)),
        rng.integers(0, width, n).astype(np.uint16),
        rng.integers(0, height, n).astype(np.uint16),
        rng.integers(0, 2, n).astype(np.uint8),
    )


def written(path, data):
    path.write_bytes(data)
    return path


def read(path, **keywords):
    source = NmnistSource(path, **keywords)
    events, report = read_all(source)
    return events, report, source


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 900), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 900), max_size=5))
def test_every_record_is_read_as_the_slow_reader_does(tmp_path_factory, n, seed, overflows):
    events = random_events(n, seed=seed, start_us=100_000, gap_us=9_000)
    body = make.nmnist(events, overflows)
    path = written(tmp_path_factory.mktemp("a") / "a.bin", body)
    found, report, source = read(path)
    assert same(found, events_of(make.slow_nmnist(body))) and same(found, events)
    assert sum(source.others.values()) == sum(k < n for k in overflows)
    assert (report.refused, report.damage, report.truncated) == (0, [], False)
    assert (report.bytes, source.sensor) == (len(body), SENSOR)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_cut_of_the_bytes_gives_the_same_events(data):
    n = data.draw(st.integers(1, 900))
    events = random_events(
        n,
        start_us=50_000,
        seed=data.draw(st.integers(0, 2**32 - 1)),
        gap_us=data.draw(st.sampled_from([50, 30_000])),
    )
    body = np.frombuffer(make.nmnist(events, [n // 2]), np.uint8)
    decoder = FixedDecoder(NMNIST, SENSOR)
    found, used = [], 0
    for stop in [*sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8))), len(body)]:
        more = True
        while more:
            room = Rooms(reuse=False).take().part(0, data.draw(st.integers(100, 1_000)))
            step = decoder.decode(body[used:stop], room, stop == len(body))
            assert not step.odd and not step.refused
            found += make.rows(Events(*room.part(0, step.events)))
            used += step.used
            more = step.used > 0
    assert used == len(body) and same(events_of(found), events)


def test_vectors(tmp_path):
    first = bytes.fromhex("030580012c21210493e0")
    assert make.rows(read(written(tmp_path / "a.bin", first))[0]) == [(300, 3, 5, 1), (300_000, 33, 33, 0)]
    second = bytes.fromhex("030581000000f0000000040501000a")
    found, _, source = read(written(tmp_path / "a.bin", second))
    assert make.rows(found) == [(65_536, 3, 5, 1), (73_738, 4, 5, 0)]
    assert source.others == {"time overflow": 1}


def test_ten_wraps_from_fifty_offsets_around_one(tmp_path):
    rng = np.random.default_rng(3)
    for offset in rng.choice([1, 100, 10_000, 10**6], 50) * rng.integers(-4, 5, 50):
        steps = rng.choice([0, 10, 1_000, 400_000], 1_200, p=[0.2, 0.3, 0.2, 0.3])
        t = (2**23 + int(offset)) % 2**23 + np.cumsum(steps)
        t -= 2**23 if t[0] >= 2**23 else 0
        assert t[-1] > 10 * 2**23
        events = random_events(len(t))._replace(t=t)
        found, report, _ = read(written(tmp_path / "a.bin", make.nmnist(events)))
        assert same(found, events), offset
        assert (report.epochs, report.refused, report.damage) == (1, 0, [])


def test_the_size_is_the_users_word_or_that_of_n_mnist(tmp_path):
    events = random_events(500, width=200, height=170)
    path = written(tmp_path / "a.bin", make.nmnist(events))
    with pytest.raises(
        SourceError, match=r"lie outside 34x34, up to 199,169; say it with --sensor WIDTHxHEIGHT"
    ):
        NmnistSource(path)
    with pytest.raises(SourceError, match="coordinates have 8 bits; --sensor says 640x480"):
        NmnistSource(path, sensor=Sensor(640, 480))
    found, report, source = read(path, sensor=Sensor(240, 180))
    assert same(found, events) and report.refused == 0 and source.sensor == (240, 180, "")
    with pytest.raises(SourceError, match="unknown option chip; it takes none"):
        NmnistSource(path, options={"chip": "a"})


def test_cut_at_every_byte_all_whole_events_come(tmp_path):
    events = random_events(60)
    body = make.nmnist(events)
    for cut in range(len(body) + 1):
        found, report, _ = read(written(tmp_path / "a.bin", body[:cut]))
        assert same(found, events.slice(0, cut // 5))
        assert report.truncated == (cut % 5 > 0)
        if report.truncated:
            assert (
                f"bytes {cut // 5 * 5} to {cut}" in report.damage[0]
                and f"{cut % 5} of 5 bytes" in report.damage[0]
            )


@pytest.mark.parametrize("size", [3, 64, 1_024])
@pytest.mark.parametrize("lost", [False, True], ids=["noise", "lost"])
def test_damage_costs_little_more_than_the_events_it_lies_on(tmp_path, size, lost):
    events = random_events(20_000, gap_us=30)
    body = make.nmnist(events)
    rng = np.random.default_rng(size)
    for _ in range(8):
        at = int(rng.integers(5, len(body) - size - 500))
        damaged = body[:at] + (b"" if lost else rng.bytes(size)) + body[at + size :]
        found, report, _ = read(written(tmp_path / "a.bin", damaged))
        common = set(make.rows(found)) & set(make.rows(events))
        assert len(common) >= 0.998 * (len(set(make.rows(events))) - size // 5 - 2)
        assert report.epochs == 1 and (size < 300 or report.damage)


@pytest.mark.parametrize("bit", range(23))
def test_a_flipped_bit_in_one_time_costs_at_most_that_event(tmp_path, bit):
    events = random_events(2_000)
    body = make.nmnist(events)
    for index in (0, 1, 777, 1_998):
        damaged = bytearray(body)
        damaged[5 * index + 4 - bit // 8] ^= 1 << (bit % 8)
        found, report, _ = read(written(tmp_path / "a.bin", damaged))
        assert len(events.t) - len(found.t) == report.refused <= 1, index
        assert report.epochs == 1


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full)])
def test_damage_of_any_kind_breaks_no_rule(tmp_path, seed):
    events = random_events(3_000)
    path = tmp_path / "a.bin"
    for kind, damaged in mutated(make.nmnist(events), seed, 1_000 if seed else 100):
        found, report = read_or_refuse(lambda damaged=damaged: NmnistSource(written(path, damaged)))
        if kind == "truncate" and found is not None:
            assert is_part(found, events), report


def test_a_real_recording_comes_whole():
    path = RECORDINGS / "nmnist_one.bin"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    found, report, source = read(path)
    assert (len(found.t), source.sensor) == (5_999, SENSOR)
    assert (report.refused, report.epochs, report.damage, report.truncated) == (0, 1, [], False)
    assert same(found, events_of(make.slow_nmnist(path.read_bytes())))
