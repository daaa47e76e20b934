"""How fast are files decoded? Our readers beside every peer that is installed, in one interleaved run.

Seeded recordings at two sensor sizes, half noise and half a moving edge, are written in each format and read
from the page cache, to the last event, by each reader in turn: rounds in a random order, medians over rounds.
A reader that gives another number of events than were written has no rate. Rates are events by the process's
CPU time (every thread counts), and by the clock; our readers check every event's place and order, which few
peers do. `ours, reuse` hands out the same arrays again; `NumPy` is what can be done in a few lines of it.

    python tools/bench_decode.py [--events 10000000] [--rounds 7] [--formats evt2,dat] [--json FILE]

Peers: expelliarmus, evlib, faery, eventcv, dv-processing, aedat, event_stream; those not installed are named.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import random
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from spikeline.drivers.formats import reader_of
from spikeline.drivers.writers import open_writer
from spikeline.pipeline.events import EventPacket, Sensor

RECORDINGS = ((Sensor(346, 260), 2e6), (Sensor(1280, 720), 10e6))  # size, events a second
FORMATS = {"evt2": ".raw", "evt3": ".raw", "dat": ".dat", "es": ".es", "aedat4": ".aedat4"}
PEERS = ("expelliarmus", "evlib", "faery", "eventcv", "dv-processing", "aedat", "event_stream")
SEED = 1
PIECE = 100_000  # events a packet of writers, and a chunk of a reader that wants to know

Reader = Callable[[Path], int]


def make_events(sensor: Sensor, rate: float, n: int) -> EventPacket:
    """Half noise, half the vertical edge of something that crosses the image in half a second; in rows."""
    rng = np.random.default_rng(SEED)
    t = np.sort(rng.integers(0, int(n / rate * 1e6), n))
    noise = rng.random(n) < 0.5
    edge = (t * sensor.width // 500_000 + rng.integers(0, 12, n)) % sensor.width
    x = np.where(noise, rng.integers(0, sensor.width, n), edge).astype(np.uint16)
    y = rng.integers(0, sensor.height, n).astype(np.uint16)
    order = np.lexsort((x, y, t))  # a sensor reads out a row at a time
    return EventPacket(t, x[order], y[order], rng.integers(0, 2, n).astype(np.uint8), int(t[-1]))


def write(path: Path, sensor: Sensor, events: EventPacket, name: str) -> None:
    writer = open_writer(path, sensor, format=name)
    for start in range(0, len(events), PIECE):
        writer.add(events.part(start, min(len(events), start + PIECE)))
    writer.close()


def ours(name: str, **keywords: bool) -> Reader:
    reader = reader_of(name)

    def read(path: Path) -> int:
        with reader(path, **keywords) as source:
            return sum(len(packet) for packet in source)

    return read


def readers_of(name: str) -> dict[str, Reader]:
    found = {"ours": ours(name)}
    if name != "aedat4":
        found["ours, reuse"] = ours(name, reuse=True)
    if name in NUMPY:
        found["NumPy"] = NUMPY[name]
    for peer in PEERS:
        make = MAKE[peer]
        with contextlib.suppress(ImportError), contextlib.redirect_stdout(io.StringIO()):
            reader = make(name)
            if reader is not None:
                found[peer] = reader
    return found


# Peers: each gives a reader of the format, or None


def expelliarmus(name: str) -> Reader | None:
    peer = import_module("expelliarmus")
    if name not in ("evt2", "evt3", "dat"):
        return None

    def read(path: Path) -> int:
        wizard = peer.Wizard(encoding=name, fpath=str(path), chunk_size=PIECE)
        return sum(len(chunk) for chunk in wizard.read_chunk())

    return read


def evlib(name: str) -> Reader | None:
    peer = import_module("evlib")
    if name == "es":
        return None
    return lambda path: peer.load_events(str(path), sort=False).collect().height


def faery(name: str) -> Reader | None:
    peer = import_module("faery")
    return lambda path: sum(len(chunk) for chunk in peer.events_stream_from_file(path))


def eventcv(name: str) -> Reader | None:
    peer = import_module("eventcv")
    return None if name == "es" else lambda path: len(peer.load(str(path)))


def dv_processing(name: str) -> Reader | None:
    peer = import_module("dv_processing")
    if name != "aedat4":
        return None

    def read(path: Path) -> int:
        recording, count = peer.io.MonoCameraRecording(str(path)), 0
        while (batch := recording.getNextEventBatch()) is not None:
            count += len(batch.numpy())
        return count

    return read


def aedat(name: str) -> Reader | None:
    peer = import_module("aedat")
    if name != "aedat4":
        return None
    return lambda path: sum(len(packet.get("events", ())) for packet in peer.Decoder(str(path)))


def event_stream(name: str) -> Reader | None:
    peer = import_module("event_stream")
    if name != "es":
        return None

    def read(path: Path) -> int:
        with peer.Decoder(str(path)) as decoder:
            return sum(len(chunk) for chunk in decoder)

    return read


MAKE = dict(
    zip(PEERS, (expelliarmus, evlib, faery, eventcv, dv_processing, aedat, event_stream), strict=True)
)


# What NumPy does alone, for these files only: no wraps, no triggers, no damage, all in memory


def numpy_evt2(path: Path) -> int:
    data = path.read_bytes()
    words = np.frombuffer(data, "<u4", offset=data.index(b"% end\n") + 6)
    kinds = words >> 28
    places = np.flatnonzero(kinds < 2)
    highs = np.maximum.accumulate(np.where(kinds == 8, (words & 0xFFF_FFFF).astype(np.int64) << 6, 0))
    events = words[places]
    t = highs[places] + ((events >> 22) & 63)
    x, y = ((events >> 11) & 2047).astype(np.uint16), (events & 2047).astype(np.uint16)
    return len({len(t), len(x), len(y)}) and len((events >> 28).astype(np.uint8))


def numpy_dat(path: Path) -> int:
    data = path.read_bytes()
    records = np.frombuffer(data, "<u4", offset=data.index(b"% end\n") + 8).reshape(-1, 2)
    t, where = records[:, 0].astype(np.int64), records[:, 1]
    x, y = (where & 0x3FFF).astype(np.uint16), ((where >> 14) & 0x3FFF).astype(np.uint16)
    return len({len(t), len(x), len(y)}) and len((where >> 28).astype(np.uint8))


NUMPY: dict[str, Reader] = {"evt2": numpy_evt2, "dat": numpy_dat}


# Measuring


def attempt(reader: Reader, path: Path) -> int | str:
    """How many events the reader gives, or why it gives none. Peers may panic, and print."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return reader(path)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:90]


def measure(readers: dict[str, Reader], path: Path, n: int, rounds: int) -> dict[str, dict[str, Any]]:
    results: dict[str, dict[str, Any]] = {}
    for name, reader in readers.items():  # also warms up
        found = attempt(reader, path)
        wrong = found if isinstance(found, str) else f"gives {found:,} of {n:,} events"
        results[name] = {"cpu_s": [], "wall_s": []} if found == n else {"wrong": wrong}
    names = [name for name in readers if "wrong" not in results[name]]
    shuffle = random.Random(SEED)
    for _ in range(rounds):
        shuffle.shuffle(names)
        for name in names:
            cpu_s, wall_s = time.process_time(), time.perf_counter()
            attempt(readers[name], path)
            results[name]["cpu_s"].append(time.process_time() - cpu_s)
            results[name]["wall_s"].append(time.perf_counter() - wall_s)
    for name in names:
        one = results[name]
        one["million_per_cpu_s"] = n / float(np.median(one["cpu_s"])) / 1e6
        one["million_per_s"] = n / float(np.median(one["wall_s"])) / 1e6
    return results


def show(name: str, sensor: Sensor, size: int, n: int, results: dict[str, dict[str, Any]]) -> None:
    own = results["ours"].get("million_per_cpu_s")
    print(f"\n{name}, {sensor.width}x{sensor.height}, {size / n:.1f} bytes an event")
    for reader, one in results.items():
        if "wrong" in one:
            print(f"  {reader:<14} {one['wrong']}")
        else:
            times = f"  ours {own / one['million_per_cpu_s']:5.1f} x" if own and reader != "ours" else ""
            print(f"  {reader:<14} {one['million_per_cpu_s']:7.0f} {one['million_per_s']:7.0f}{times}")


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def processor() -> str:
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--formats", default=",".join(FORMATS), help=f"of {', '.join(FORMATS)}")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    versions = {name: version_of(name) for name in ("numpy", "numba", *PEERS)}
    machine = f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    installed = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    print(f"{machine}; {installed}; seed {SEED}, {arguments.events:,} events, {arguments.rounds} rounds")
    if missing := [name for name in PEERS if not versions[name]]:
        print(f"not installed: {', '.join(missing)}")
    print("million events a second: by CPU time, by the clock; how many times as fast ours is, by CPU time")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for sensor, rate in RECORDINGS:
            events = make_events(sensor, rate, arguments.events)
            for name in arguments.formats.split(","):
                path = Path(folder, f"{sensor.width}-{name}{FORMATS[name]}")
                write(path, sensor, events, name)
                one = measure(readers_of(name), path, len(events), arguments.rounds)
                show(name, sensor, path.stat().st_size, len(events), one)
                results.append({"format": name, "sensor": sensor[:2], "rate": rate, "readers": one})
                path.unlink()
    if arguments.json:
        about = {"machine": machine, "versions": versions, "seed": SEED, "events": arguments.events}
        arguments.json.write_text(json.dumps({**about, "results": results}, indent=1))


if __name__ == "__main__":
    main()
