"""How fast is clean-up? Each stage, in events a second, beside dv-processing's filter where it has one.

Seeded streams, half noise and half a moving edge, at three sensor sizes, in packets of 100 and of 10,000
events. Both sides get packets that exist already and make packets of what they keep; rounds are interleaved,
medians over rounds. That both keep the same number of events is checked.

    python tools/bench_clean_up.py [--events 400000] [--rounds 9] [--json FILE]
"""

import argparse
import json
import platform
import time
from datetime import timedelta

import dv_processing as dv
import numba
import numpy as np

from spikeline.pipeline.clean_up import CleanUp
from spikeline.pipeline.clean_up_settings import parse
from spikeline.pipeline.events import EventPacket, Sensor

SENSORS = (Sensor(128, 128), Sensor(640, 480), Sensor(1280, 720))
PER_PIXEL_HZ = 60
STAGES = (
    "background(us=2000)",
    "polarity(on)",
    "crop(x={w4},y={h4},w={w2},h={h2})",
    "hot-pixels",
    "background(us=2000),polarity(on)",
    "refractory(us=1000)",
    "rate(limit=1000000)",
    "flip(x)",
    "transpose",
    "polarity(swap)",
    "hot-pixels,background,refractory,polarity(on)",
)


def stream(sensor: Sensor, n: int, seed: int = 1) -> list[np.ndarray]:
    """Half of the events anywhere, half on an edge of four pixels that crosses the sensor."""
    rng = np.random.default_rng(seed)
    span_us = n * 1_000_000 // (sensor.width * sensor.height * PER_PIXEL_HZ)
    t = np.sort(rng.integers(0, span_us, n))
    x, y = rng.integers(0, sensor.width, n), rng.integers(0, sensor.height, n)
    edge = t * sensor.width // span_us + rng.integers(0, 4, n)
    x = np.where(rng.random(n) < 0.5, edge % sensor.width, x)
    return [t + 10**12, x.astype(np.uint16), y.astype(np.uint16), rng.integers(0, 2, n).astype(np.uint8)]


def theirs(text: str, sensor: Sensor):
    """dv-processing's filters for these stages, or None."""
    size = (sensor.width, sensor.height)
    filters = []
    for one in parse(text):
        if one.NAME == "background":
            filters.append(dv.noise.BackgroundActivityNoiseFilter(size, timedelta(microseconds=one.us)))
        elif one.NAME == "polarity" and one.what == "on":
            filters.append(dv.EventPolarityFilter(True))
        elif one.NAME == "crop":
            filters.append(dv.EventRegionFilter((one.x, one.y, one.w, one.h)))
        elif one.NAME == "hot-pixels":  # its mask is given; ours is found on the way
            filters.append(dv.EventMaskFilter(np.ones((sensor.height, sensor.width), np.uint8)))
        else:
            return None
    if len(filters) == 1:
        return filters[0]
    if "hot-pixels" in text:
        return None  # its chain takes no mask
    chain = dv.EventFilterChain()
    for one in filters:
        chain.addFilter(one)
    return chain


def run_ours(text: str, sensor: Sensor, packets: list[EventPacket]) -> tuple[float, int]:
    stages = CleanUp(parse(text), sensor)
    begin = time.perf_counter_ns()
    kept = sum(len(stages.clean(packet)) for packet in packets)
    return time.perf_counter_ns() - begin, kept


def run_theirs(text: str, sensor: Sensor, stores: list) -> tuple[float, int]:
    made = theirs(text, sensor)
    kept = 0
    begin = time.perf_counter_ns()
    for store in stores:
        made.accept(store)
        kept += made.generateEvents().size()
    return time.perf_counter_ns() - begin, kept


def cut(columns: list[np.ndarray], size: int) -> tuple[list[EventPacket], list]:
    """The stream as packets and as dv's stores."""
    packets, stores = [], []
    for start in range(0, len(columns[0]), size):
        part = [np.ascontiguousarray(column[start : start + size]) for column in columns]
        packets.append(EventPacket(*part, int(part[0][-1])))
        store = dv.EventStore()
        for t, x, y, p in zip(*(column.tolist() for column in part), strict=True):
            store.push_back(t, x, y, bool(p))
        stores.append(store)
    return packets, stores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    versions = f"numpy {np.__version__}, numba {numba.__version__}, dv-processing {dv.__version__}"
    print(f"{platform.machine()}, {versions}, seed 1, {arguments.events:,} events, {arguments.rounds} rounds")
    print("million events a second, medians")
    print(f"{'sensor':10s}{'packet':>8s}  {'stages':48s}{'ours':>8s}{'dv':>8s}{'ratio':>7s}{'kept':>7s}")
    rows = []
    for sensor in SENSORS:
        columns = stream(sensor, arguments.events)
        for size in (100, 10_000):
            packets, stores = cut(columns, size)
            half = {"w4": sensor.width // 4, "h4": sensor.height // 4}
            half |= {"w2": sensor.width // 2, "h2": sensor.height // 2}
            for text in (text.format(**half) for text in STAGES):
                ours_ns, theirs_ns = [], []
                for _ in range(arguments.rounds):
                    ns, kept = run_ours(text, sensor, packets)
                    ours_ns.append(ns)
                    if theirs(text, sensor) is not None:
                        ns, dv_kept = run_theirs(text, sensor, stores)
                        theirs_ns.append(ns)
                        if dv_kept != kept:
                            raise SystemExit(f"{text}: kept {kept}, dv-processing kept {dv_kept}")
                ours = arguments.events * 1e3 / float(np.median(ours_ns))
                dvs = arguments.events * 1e3 / float(np.median(theirs_ns)) if theirs_ns else None
                size_text = f"{sensor.width}x{sensor.height}"
                beside = f"{dvs:8.1f}{ours / dvs:7.2f}" if dvs else f"{'-':>8s}{'-':>7s}"
                share = kept / arguments.events
                print(f"{size_text:10s}{size:8d}  {text:48s}{ours:8.1f}{beside}{share:7.1%}", flush=True)
                rows.append(
                    {
                        "sensor": size_text,
                        "packet": size,
                        "stages": text,
                        "ours": ours,
                        "dv": dvs,
                        "kept": share,
                    }
                )
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
