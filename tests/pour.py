"""A recording that never was a file: blocks of it, each later than the last, through a pipe into a reader.

python tests/pour.py evt2|evt3|csv MEGABYTES    events written, events read, the reader's peak in MB
"""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np

WRAP_US = 1 << 24  # EVT3's clock; a block of EVT3 lasts so long
SIDE = 512
READER = """
import resource, sys
from spikeline.drivers import open_source
from spikeline.pipeline.events import Sensor
with open_source("-", sensor=Sensor(512, 512)) as source:
    count = sum(map(len, source))
    report = source.report()
assert not (report.refused or report.reordered or report.damage or report.truncated), report
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def blocks(form: str) -> Iterator[tuple[bytes, int]]:
    """(bytes, events in them), without end."""
    yield from {"evt2": evt2, "evt3": evt3, "csv": csv}[form]()


def places(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rng.integers(0, SIDE, n), rng.integers(0, SIDE, n), rng.integers(0, 2, n)


def evt2() -> Iterator[tuple[bytes, int]]:
    """Sixteen events every 64 us, each time with a TIME_HIGH in front."""
    yield b"% evt 2.0\n% format EVT2;height=512;width=512\n% end\n", 0
    rng, periods = np.random.default_rng(1), 1 << 14
    x, y, p = (column.reshape(periods, 16) for column in places(rng, 16 * periods))
    low = np.sort(rng.integers(0, 64, (periods, 16)), axis=1)
    words = np.empty((periods, 17), "<u4")
    words[:, 1:] = p << 28 | low << 22 | x << 11 | y
    high = np.arange(periods)
    while True:
        words[:, 0] = 8 << 28 | high & 0xFFF_FFFF
        yield words.tobytes(), 16 * periods
        high += periods


def evt3() -> Iterator[tuple[bytes, int]]:
    """The clock wraps from block to block: all of them are the same bytes."""
    yield b"% evt 3.0\n% format EVT3;height=512;width=512\n% end\n", 0
    rng, periods = np.random.default_rng(1), 1 << 12
    steps = 64  # in a TIME_HIGH's 4,096 us, each with one row of 16 events
    words = np.empty((periods, 1 + 18 * steps), "<u2")
    x, y, p = places(rng, periods * steps * 16)
    rows = np.empty((periods, steps, 18), "<u2")
    rows[:, :, 0] = 6 << 12 | np.arange(steps) * 64
    rows[:, :, 1] = y.reshape(periods, steps, 16)[:, :, 0]
    rows[:, :, 2:] = (2 << 12 | p << 11 | x).reshape(periods, steps, 16)
    words[:, 0] = 8 << 12 | np.arange(periods)
    words[:, 1:] = rows.reshape(periods, 18 * steps)
    block = words.tobytes()
    while True:
        yield block, periods * steps * 16


def csv() -> Iterator[tuple[bytes, int]]:
    """Lines of one width; the upper digits of the time are those of the block."""
    yield b"t,x,y,p\n", 0
    rng, n = np.random.default_rng(1), 100_000
    x, y, p = places(rng, n)
    t = np.sort(rng.integers(0, 10**6, n))
    lines = "".join(f"00000000{t[k]:06d},{x[k]:03d},{y[k]:03d},{p[k]}\n" for k in range(n)).encode()
    table = np.frombuffer(lines, np.uint8).reshape(n, -1).copy()
    second = 0
    while True:
        table[:, :8] = np.frombuffer(f"{second:08d}".encode(), np.uint8)
        yield table.tobytes(), n
        second += 1


def main(form: str, megabytes: int) -> None:
    reader = subprocess.Popen([sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert reader.stdin is not None and reader.stdout is not None
    left, events = megabytes * 10**6, 0
    for data, count in blocks(form):
        if left <= 0:
            break
        reader.stdin.write(data)
        left -= len(data)
        events += count
    reader.stdin.close()
    answer = reader.stdout.read()
    if reader.wait(timeout=60):
        raise SystemExit("the reader failed")
    print(events, answer.decode().strip())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
