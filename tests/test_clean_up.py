"""Clean-up stages against slow twins and dv-processing: the same events however the packets are cut."""

import doctest
import os
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import slow_clean_up as slow
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.drivers import open_source
from spikeline.pipeline import clean_up, clean_up_settings, clean_up_stages
from spikeline.pipeline.clean_up import CleanUp
from spikeline.pipeline.clean_up_settings import KINDS, CleanUpError, chosen, departure, parse
from spikeline.pipeline.events import EventPacket, Sensor, clock_mark

from strategies import cuts, event_streams, packets_of

SMALL = Sensor(8, 6, "TEST")
DATA = Path(os.environ.get("SPIKELINE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "recordings"

STAGES = st.sampled_from(
    [
        "background(us=300)",
        "background(us=1)",
        "refractory(us=700)",
        "refractory(us=700,all)",
        "hot-pixels(hz=8,times=2)",
        "crop(x=1,y=2,w=5,h=4)",
        "flip(x)",
        "flip(x,y)",
        "transpose",
        "polarity(on)",
        "polarity(off)",
        "polarity(swap)",
        "rate(limit=2000,us=3000)",
        "rate(limit=1)",
    ]
)


@st.composite
def chains(draw):
    """Up to three stages that fit one after another on the small sensor."""
    texts, sensor = [], SMALL
    for text in draw(st.lists(STAGES, min_size=1, max_size=3)):
        try:
            sensor = CleanUp(parse(text), sensor).sensor
        except CleanUpError:  # a crop of what is too small by now
            continue
        texts.append(text)
    return ",".join(texts)


def rows_of(packets):
    rows = [(p.t.tolist(), p.x.tolist(), p.y.tolist(), p.p.tolist()) for p in packets]
    return [row for columns in rows for row in zip(*columns, strict=True)]


def slowly(chain, sensor, rows):
    stages = []
    for one in parse(chain):
        stages.append((one, sensor))
        sensor = CleanUp([one], sensor).sensor
    return slow.clean(stages, sensor, rows)


def cleaned(chain, packets, sensor=SMALL):
    stages = CleanUp(parse(chain), sensor)
    return [stages.clean(packet) for packet in packets], stages


def random_stream(seed, n, sensor, span_us, start_us=0):
    rng = np.random.default_rng(seed)
    t = start_us + np.sort(rng.integers(0, span_us, n))
    x, y = rng.integers(0, sensor.width, n), rng.integers(0, sensor.height, n)
    return (
        t.astype(np.int64),
        x.astype(np.uint16),
        y.astype(np.uint16),
        rng.integers(0, 2, n).astype(np.uint8),
    )


# the grammar


@given(st.lists(STAGES, max_size=5))
def test_what_is_written_out_reads_back_the_same(texts):
    stages = parse(", ".join(texts))
    assert parse(",".join(map(str, stages))) == stages
    assert [one.NAME for one in stages] == [text.partition("(")[0] for text in texts]


def test_every_stage_has_settings_a_kernel_and_a_twin():
    assert set(KINDS.values()) == set(clean_up_stages.STAGES)
    assert set(KINDS) == set(slow.TWINS)
    for module in (clean_up, clean_up_settings):
        results = doctest.testmod(module)
        assert results.attempted and not results.failed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("background(us=0)", "background: us=0; wanted 1 to"),
        ("background(us=2.5)", "us=2.5; wanted a whole number"),
        ("background(us=nan)", "us=nan; wanted a whole number"),
        ("background(us=1e999)", "us=1e999; wanted a whole number"),
        ("background(5000)", "background: '5000'; it takes us=N"),
        ("refractory(us=1,us=2)", "refractory: us is given twice"),
        ("refractory(all,kept)", "refractory: all is given twice"),
        ("hot-pixels(hz=7)", "hot-pixels: hz=7; wanted 8 to"),
        ("crop(w=4)", "crop: no h; wanted h=N"),
        ("crop(w=4,h=0)", "crop: h=0; wanted 1 to 65536"),
        ("flip", "flip: no direction; wanted flip"),
        ("flip(z)", "flip: 'z'; it takes x, y"),
        ("transpose(x)", "transpose: 'x'; it takes no settings"),
        ("polarity", "polarity: nothing said; wanted on, off or swap"),
        ("rate", "rate: no limit; wanted limit=N"),
        ("rate(limit=1e10)", "rate: limit=10000000000; wanted 1 to"),
        ("smooth", "no stage 'smooth'; choose from background, "),
        ("flip(x),", "wanted name"),
        ("flip(x)transpose", "wanted name"),
        ("flip(x", "wanted name"),
        (" ", "wanted name"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(text, says):
    with pytest.raises(CleanUpError) as error:
        parse(text)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_crop_outside_the_sensor_before_it_is_refused_naming_both():
    with pytest.raises(CleanUpError, match=r"crop\(x=0,y=0,w=8,h=6\): the sensor before it is 6x8"):
        CleanUp(parse("transpose,crop(w=8,h=6)"), SMALL)


def test_the_model_decides_unless_asked_and_a_departure_is_said():
    own = ["flip(x)", "background(us=2000)"]
    assert chosen(own, "") == parse("flip(x),background")
    assert chosen(own, "none") == ()
    assert chosen(own, "transpose") == parse("transpose")
    assert chosen(own, "+transpose") == parse("transpose,flip(x),background")
    assert departure(own, "") == departure(own, "flip(x),background(us=2e3)") == departure([], "none") == ""
    assert departure(own, "none") == (
        "clean-up is none; the model was trained with flip(x),background(us=2000)"
    )


# what the stages keep


@settings(deadline=None, max_examples=300)
@given(chains(), event_streams(most=80), st.data())
def test_a_chain_keeps_what_its_slow_twins_keep_however_packets_are_cut(chain, stream, data):
    rows = rows_of([EventPacket(*stream, 0)])
    wanted = slowly(chain, SMALL, rows)
    for cut in ([], data.draw(cuts(len(rows))), range(len(rows))):
        packets = list(packets_of(*stream, cut, 10**9, origin_us=-5))
        before = [[column.copy() for column in (p.t, p.x, p.y, p.p)] for p in packets]
        out, stages = cleaned(chain, packets)
        assert rows_of(out) == wanted
        assert stages.filtered == len(rows) - len(wanted) == sum(s.filtered for s in stages.stages)
        assert [(p.until_us, p.epoch, p.origin_us) for p in out] == [
            (p.until_us, p.epoch, p.origin_us) for p in packets
        ]
        for packet, columns in zip(packets, before, strict=True):  # the source's arrays are its own
            for column, copy in zip((packet.t, packet.x, packet.y, packet.p), columns, strict=True):
                np.testing.assert_array_equal(column, copy)


@st.composite
def steady_pixels(draw):
    """Noise, and pixels that fire every 15 to 140 ms for a while, over up to nine seconds."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    span_us = int(rng.integers(1, 9_000_000))
    t, x, y, p = random_stream(int(rng.integers(2**32)), int(rng.integers(0, 300)), SMALL, span_us)
    for _ in range(rng.integers(0, 5)):
        period_us = int(rng.integers(15_000, 140_000))
        times = np.arange(rng.integers(0, span_us), span_us, period_us)
        times = times + rng.integers(0, 10_000, len(times))
        t = np.concatenate([t, times])
        x = np.concatenate([x, np.full(len(times), rng.integers(0, SMALL.width), np.uint16)])
        y = np.concatenate([y, np.full(len(times), rng.integers(0, SMALL.height), np.uint16)])
        p = np.concatenate([p, np.zeros(len(times), np.uint8)])
    order = np.argsort(t, kind="stable")
    return t[order] + int(rng.integers(-(10**12), 10**12)), x[order], y[order], p[order]


@settings(deadline=None, max_examples=150)
@given(steady_pixels(), st.sampled_from([1, 2, 10]), st.data())
def test_hot_pixels_are_those_of_the_slow_twin_however_packets_are_cut(stream, times, data):
    chain = f"hot-pixels(hz=8,times={times})"
    rows = rows_of([EventPacket(*stream, 0)])
    wanted = slowly(chain, SMALL, rows)
    for cut in ([], data.draw(cuts(len(rows)))):
        out, _ = cleaned(chain, packets_of(*stream, cut, 10**13))
        assert rows_of(out) == wanted


def test_ten_pixels_at_50_khz_are_masked_and_named():
    sensor = Sensor(64, 48)
    t, x, y, p = random_stream(1, 60_000, sensor, 4_000_000)  # 5 events a second and pixel
    hot = [(3, 4), (3, 5), (0, 0), (63, 47), (20, 0), (31, 31), (40, 12), (50, 40), (10, 30), (60, 5)]
    times = np.arange(0, 4_000_000, 20)
    t = np.concatenate([t, *(times + k for k in range(len(hot)))])
    x = np.concatenate([x, *(np.full(len(times), a, np.uint16) for a, _ in hot)])
    y = np.concatenate([y, *(np.full(len(times), b, np.uint16) for _, b in hot)])
    p = np.concatenate([p, np.zeros(len(times) * len(hot), np.uint8)])
    order = np.argsort(t, kind="stable")
    stream = (t[order], x[order], y[order], p[order])
    out, stages = cleaned("hot-pixels", packets_of(*stream, range(0, len(t), 65_536), 4_000_000), sensor)
    row = stages.report()[0]
    assert row["stage"] == "hot-pixels(hz=20,times=10)"
    assert sorted(map(tuple, row["pixels"])) == sorted(hot)
    late = [event for event in rows_of(out) if event[0] >= 2_000_000]
    assert not {event[1:3] for event in late} & set(hot)
    at_hot = sum((stream[1] == a) & (stream[2] == b) for a, b in hot).astype(bool)
    assert row["filtered"] == int((at_hot & (stream[0] - stream[0][0] >= 2_000_000)).sum())


def test_hot_pixels_of_a_simulated_camera_are_found_and_nothing_else():
    """Pixels that the simulator made hot are told by their rate while nothing else happens there."""
    with open_source("sim:gesture?seed=3&duration_s=12") as source:
        packets = list(source)
        sensor = source.sensor
    _, stages = cleaned("hot-pixels", packets, sensor)
    found = stages.report()[0]["pixels"]
    x, y = (np.concatenate([getattr(p, name) for p in packets]).astype(int) for name in "xy")
    rate = (
        np.bincount(y * sensor.width + x, minlength=sensor.width * sensor.height).reshape(sensor[1::-1]) / 12
    )
    assert len(found) >= 8
    for a, b in found:
        around = rate[max(b - 1, 0) : b + 2, max(a - 1, 0) : a + 2]
        assert rate[b, a] >= 15 and rate[b, a] > 3 * np.median(around)


@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 5_000), st.integers(1, 20_000), event_streams(most=200, gap_us=300), st.integers(0, 2**40)
)
def test_no_stretch_of_time_holds_more_than_the_rate_allows(limit, us, stream, start_us):
    t, x, y, p = stream
    out, _ = cleaned(f"rate(limit={limit},us={us})", [EventPacket(t + start_us, x, y, p, 2**41)])
    kept = out[0].t
    most = max(1, limit * us / 1e6)
    for i in range(0, len(kept), 3):
        for j in range(i, len(kept), 3):
            assert j - i + 1 <= most + (kept[j] - kept[i]) * limit / 1e6 + 1e-9


# packets, clocks, epochs


def test_clock_marks_pass_and_the_grid_begins_at_the_first_event_kept_or_not():
    t, x, y, p = (np.array([v], kind) for v, kind in ((7, "i8"), (3, "u2"), (3, "u2"), (1, "u1")))
    packets = [clock_mark(5, 0, None), EventPacket(t, x, y, p, 7), clock_mark(90, 0, None)]
    out, stages = cleaned("background", packets)
    assert [(len(q), q.until_us, q.origin_us) for q in out] == [(0, 5, None), (0, 7, 7), (0, 90, 7)]
    assert stages.report() == [{"stage": "background(us=2000)", "filtered": 1}]


@settings(deadline=None, max_examples=60)
@given(chains(), event_streams(), event_streams())
def test_a_new_epoch_starts_from_a_fresh_state(chain, one, two):
    second = list(packets_of(*two, [], 10**9, epoch=4))
    both, _ = cleaned(chain, [*packets_of(*one, [], 10**9), *second])
    alone, _ = cleaned(chain, second)
    assert rows_of(p for p in both if p.epoch == 4) == rows_of(alone)
    assert [p.origin_us for p in both if p.epoch == 4] == [p.origin_us for p in alone]


def test_without_stages_the_packet_is_the_same_one():
    packet = clock_mark(3, 0, None)
    stages = CleanUp((), SMALL)
    assert stages.clean(packet) is packet
    assert (stages.sensor, stages.filtered, stages.report(), str(stages)) == (SMALL, 0, [], "")


def test_a_masked_pixel_stays_in_the_report_when_its_epoch_is_over():
    t = np.arange(0, 3_000_000, 10_000)
    one = np.ones(len(t), np.uint16)
    stages = CleanUp(parse("hot-pixels"), SMALL)
    first = stages.clean(EventPacket(t, one, one, one.astype(np.uint8), 3_000_000))
    assert len(first) == 200 and stages.stages[0].mask.sum() == 1
    again = stages.clean(EventPacket(t[:50], one[:50], one[:50], one[:50].astype(np.uint8), 10**6, epoch=1))
    assert len(again) == 50 and not stages.stages[0].mask.any()
    assert stages.report()[0]["pixels"] == [[1, 1]]


# dv-processing as the oracle


def dv_store(t, x, y, p):
    import dv_processing as dv

    store = dv.EventStore()
    for row in zip(t.tolist(), x.tolist(), y.tolist(), p.astype(bool).tolist(), strict=True):
        store.push_back(*row)
    return store


def dv_rows(filters, store):
    filters.accept(store)
    events = filters.generateEvents().numpy()
    return [(int(e["timestamp"]), int(e["x"]), int(e["y"]), int(e["polarity"])) for e in events]


def agrees_with_dv(stream, sensor):
    """Every stage that both have, event for event. dv takes a pixel that never fired to have fired at 0, so
    times here are far from 0; and it leaves the coordinates of a region as they are."""
    import dv_processing as dv

    store = dv_store(*stream)
    cut = range(0, len(stream[0]), 4_999)
    packets = list(packets_of(*stream, cut, int(stream[0][-1]) + 1))
    size = (sensor.width, sensor.height)
    for us in (200, 2_000, 50_000):
        out, _ = cleaned(f"background(us={us})", packets, sensor)
        theirs = dv_rows(dv.noise.BackgroundActivityNoiseFilter(size, timedelta(microseconds=us)), store)
        assert rows_of(out) == theirs
    for word in ("on", "off"):
        out, _ = cleaned(f"polarity({word})", packets, sensor)
        assert rows_of(out) == dv_rows(dv.EventPolarityFilter(word == "on"), store)
    x, y, w, h = sensor.width // 5, sensor.height // 3, sensor.width // 2, sensor.height // 2
    out, _ = cleaned(f"crop(x={x},y={y},w={w},h={h})", packets, sensor)
    theirs = dv_rows(dv.EventRegionFilter((x, y, w, h)), store)
    assert [(t, a + x, b + y, p) for t, a, b, p in rows_of(out)] == theirs
    chain = dv.EventFilterChain()
    chain.addFilter(dv.noise.BackgroundActivityNoiseFilter(size, timedelta(microseconds=2_000)))
    chain.addFilter(dv.EventPolarityFilter(True))
    out, _ = cleaned("background(us=2000),polarity(on)", packets, sensor)
    assert rows_of(out) == dv_rows(chain, store)


@pytest.mark.parametrize("size", [(2, 2), (16, 9), (128, 128), (346, 260)])
def test_the_same_events_as_dv_processing_on_random_streams(size):
    sensor = Sensor(*size)
    span_us = 40_000_000 // sensor.width
    agrees_with_dv(random_stream(sum(size), 20_000, sensor, span_us, start_us=10**9), sensor)


def test_the_same_events_as_dv_processing_on_simulated_people():
    with open_source("sim:gesture?seed=5&duration_s=2") as source:
        packets, sensor = list(source), source.sensor
    t, x, y, p = (np.concatenate([getattr(q, name) for q in packets]) for name in "txyp")
    agrees_with_dv((t + 10**9, x, y, p), sensor)


@pytest.mark.parametrize("name", ["dvs128_hand_a.aedat4", "davis346.aedat4"])
def test_the_same_events_as_dv_processing_on_real_recordings(name):
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not here")
    with open_source(DATA / name) as source:
        packets, sensor = list(source), source.sensor
    stream = [np.concatenate([getattr(q, field) for q in packets])[:120_000] for field in "txyp"]
    agrees_with_dv(stream, sensor)


def test_a_found_mask_leaves_out_what_dv_processing_leaves_out_with_it():
    import dv_processing as dv

    with open_source("sim:gesture?seed=2&duration_s=6") as source:
        packets, sensor = list(source), source.sensor
    stages = CleanUp(parse("hot-pixels"), sensor)
    for packet in packets:
        stages.clean(packet)
    mask = stages.stages[0].mask
    assert mask.any()
    t, x, y, p = (np.concatenate([getattr(q, name) for q in packets]) for name in "txyp")
    theirs = dv_rows(dv.EventMaskFilter((~mask).astype(np.uint8)), dv_store(t, x, y, p))
    assert len(theirs) == int((~mask[y, x]).sum())


@pytest.mark.parametrize("name", ["dvs128_hand_a.aedat4", "dvs128_hand_c.aedat4", "davis346.aedat4"])
def test_real_hands_have_next_to_no_hot_pixels(name):
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not here")
    with open_source(DATA / name) as source:
        packets, sensor = list(source), source.sensor
    out, stages = cleaned("hot-pixels", packets, sensor)
    assert len(stages.report()[0]["pixels"]) <= 2
    assert stages.filtered <= 0.005 * sum(map(len, packets))
    assert all(a.until_us <= b.until_us for a, b in pairwise(out) if a.epoch == b.epoch)
