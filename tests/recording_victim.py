"""A process that records 50,000 events a second until it is killed or cannot write; and how to kill one.

    python tests/recording_victim.py FILE [--limit BYTES] [--packets N]

After each packet of 500 events it prints how many packets it has handed to the recorder. --limit: no file
may grow beyond this, as on a full disk. --packets: so many, without waiting, then close.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np

from spikeline.drivers.formats.mcap import McapSource
from spikeline.drivers.mcap_layout import CHUNK_BYTES
from spikeline.drivers.mcap_recorder import McapRecorder
from spikeline.pipeline.events import EventPacket, Sensor

SENSOR = Sensor(346, 260)
PACKET = 500
PACKET_US = 10_000
CHUNK_EVENTS = CHUNK_BYTES // 13
LIMIT_S = 60.0


def packet_of(k):
    """Packet k of the stream, always the same."""
    rng = np.random.default_rng(k)
    t = np.sort(rng.integers(k * PACKET_US, (k + 1) * PACKET_US, PACKET)).astype(np.int64)
    x, y = rng.integers(0, SENSOR.width, PACKET), rng.integers(0, SENSOR.height, PACKET)
    p = rng.integers(0, 2, PACKET).astype(np.uint8)
    return EventPacket(t, x.astype(np.uint16), y.astype(np.uint16), p, (k + 1) * PACKET_US, 0, 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--packets", type=int)
    asked = parser.parse_args()
    if asked.limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked.limit, asked.limit))
    recorder = McapRecorder(asked.file, SENSOR)
    begun_s, k = time.monotonic(), 0
    while asked.packets is None or k < asked.packets:
        packet = packet_of(k)
        if asked.packets is None:
            time.sleep(max(0.0, begun_s + (k + 1) * PACKET_US / 1e6 - time.monotonic()))
        recorder.add(packet)
        k += 1
        os.write(1, b"%d\n" % k)
    events = recorder.close()
    print("closed", events, recorder.stopped, flush=True)


def run(*arguments):
    """A victim with these arguments, started."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", __file__, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def kill_after(path, pause_s):
    """(packets handed over, what the file gives, its report) of a victim killed so long after its first."""
    victim = run(path)
    assert victim.stdout and victim.stderr
    try:
        lines = [victim.stdout.readline()]
        time.sleep(pause_s)
        victim.send_signal(signal.SIGKILL)
        out, err = victim.communicate(timeout=LIMIT_S)
    finally:
        victim.kill()
        victim.wait()
    assert err == ""
    lines += out.splitlines()
    handed = max(int(line) for line in lines if line.strip())
    with McapSource(path) as source:
        packets = list(source)
    return handed, packets, source.report()


def check_kill(path, pause_s):
    """Kill one victim: what its file holds is the begin of the stream, exactly.

    Returns the events recovered and lost.
    """
    handed, packets, report = kill_after(path, pause_s)
    for k, packet in enumerate(packets):
        truth = packet_of(k)
        assert packet.until_us == truth.until_us and packet.epoch == 0 and packet.origin_us == 0
        for name in "txyp":
            np.testing.assert_array_equal(getattr(packet, name), getattr(truth, name))
    recovered = PACKET * len(packets)
    assert report.events == recovered and report.packets == len(packets)
    assert report.truncated and len(report.damage) == 1
    last = f"{len(packets) * PACKET_US} us" if packets else "the beginning"
    assert report.damage[0].endswith(f"what came after {last} is lost")
    lost = handed * PACKET - recovered
    assert lost <= CHUNK_EVENTS, f"{lost} events lost, wanted at most a chunk of {CHUNK_EVENTS}"
    return recovered, max(0, lost)


if __name__ == "__main__":
    main()
