"""A camera for tests, run as a process of its own: `python dv_camera.py PORT [SECONDS]`.

Writes random events of a 64x64 sensor to a DV network port, 2 ms of events every 2 ms, until it is
killed or its time is over. Prints a line when it is ready.
"""

import sys
import time

import dv_processing as dv
import numpy as np


def main(port: int, seconds: float) -> None:
    stream = dv.io.Stream.EventStream(0, "events", "TEST_64", (64, 64))
    writer = dv.io.NetworkWriter("127.0.0.1", port, stream)
    print("ready", flush=True)
    rng = np.random.default_rng(1)
    began_ns = time.monotonic_ns()
    slice_us = 2_000
    k = 0
    while k * slice_us < seconds * 1e6:
        due_ns = began_ns + (k + 1) * slice_us * 1_000
        time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
        store = dv.EventStore()
        for t in np.sort(rng.integers(k * slice_us, (k + 1) * slice_us, 20)).tolist():
            x, y = rng.integers(0, 64, 2).tolist()
            store.push_back(1_000_000 + t, x, y, bool(t % 2))
        writer.writeEvents(store)
        k += 1


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1e9)
