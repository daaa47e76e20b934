"""Which memory layout should a packet have? Decode -> clean-up -> bin -> publish, three layouts.

    arrays   t, x, y, p as four contiguous arrays
    record   16-byte structured array (t i8, x u2, y u2, p u1, 3 bytes pad)
    packed   13-byte structured array

Each round takes the decoder's 13-byte records into the layout (decode), checks order and range and
drops repeats within 1 ms per pixel (clean-up), counts into a 2 x 32 x 32 frame (bin) and writes wire
bytes: t, x, y, p one after another (publish). Interleaved, medians over rounds.

    python tools/bench_packet.py [--json FILE]
"""

import argparse
import json
import platform
import time

import numba
import numpy as np

PACKED = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
RECORD = np.dtype({"names": ["t", "x", "y", "p"], "formats": ["<i8", "<u2", "<u2", "u1"],
                   "offsets": [0, 8, 10, 12], "itemsize": 16})  # fmt: skip


@numba.njit
def clean_arrays(t, x, y, p, n, last, keep):
    previous = np.int64(-1)
    kept = 0
    for i in range(n):
        ok = x[i] < 128 and y[i] < 128 and p[i] < 2 and t[i] >= previous
        previous = t[i]
        if ok and t[i] - last[y[i], x[i]] > 1000:
            last[y[i], x[i]] = t[i]
            keep[kept] = i
            kept += 1
    return kept


@numba.njit
def clean_records(e, n, last, keep):
    previous = np.int64(-1)
    kept = 0
    for i in range(n):
        ok = e[i].x < 128 and e[i].y < 128 and e[i].p < 2 and e[i].t >= previous
        previous = e[i].t
        if ok and e[i].t - last[e[i].y, e[i].x] > 1000:
            last[e[i].y, e[i].x] = e[i].t
            keep[kept] = i
            kept += 1
    return kept


@numba.njit
def bin_arrays(x, y, p, start, stop, frame):
    for i in range(start, stop):
        frame[p[i], y[i] >> 2, x[i] >> 2] += np.uint16(1)


@numba.njit
def bin_records(e, start, stop, frame):
    for i in range(start, stop):
        frame[e[i].p, e[i].y >> 2, e[i].x >> 2] += np.uint16(1)


def decode_arrays(raw):
    return (np.ascontiguousarray(raw["t"]), np.ascontiguousarray(raw["x"]),
            np.ascontiguousarray(raw["y"]), np.ascontiguousarray(raw["p"]))  # fmt: skip


def round_of(layout: str, raw: np.ndarray, frame, last, keep) -> dict[str, float]:
    n = len(raw)
    clock = time.perf_counter_ns
    t0 = clock()
    if layout == "arrays":
        events = decode_arrays(raw)
    elif layout == "record":
        events = raw.astype(RECORD)
    else:
        events = raw
    t1 = clock()
    if layout == "arrays":
        clean_arrays(*events, n, last, keep)
    else:
        clean_records(events, n, last, keep)
    t2 = clock()
    if layout == "arrays":
        bin_arrays(*events[1:], 0, n, frame)
    else:
        bin_records(events, 0, n, frame)
    t3 = clock()
    parts = events if layout == "arrays" else [events[k] for k in "txyp"]
    b"".join([part.tobytes() for part in parts])
    t4 = clock()
    return {"decode": t1 - t0, "clean-up": t2 - t1, "bin": t3 - t2, "publish": t4 - t3, "all": t4 - t0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    rng = np.random.default_rng(1)
    rows = []
    for n, rounds in ((1, 20_000), (10_000, 600)):
        raw = np.zeros(n, PACKED)
        raw["t"] = np.sort(rng.integers(0, n * 20, n))
        raw["x"], raw["y"] = rng.integers(0, 128, (2, n))
        raw["p"] = rng.integers(0, 2, n)
        taken: dict[str, list] = {"arrays": [], "record": [], "packed": []}
        for i in range(rounds):
            for layout, rows_of in taken.items():
                frame = np.zeros((2, 32, 32), np.uint16)
                spent = round_of(layout, raw, frame, np.full((128, 128), -(10**6)), np.zeros(n, np.int64))
                if i >= rounds // 10:
                    rows_of.append(spent)
        for layout, rows_of in taken.items():
            median = {k: float(np.median([r[k] for r in rows_of])) / 1000 for k in rows_of[0]}
            p99 = float(np.percentile([r["all"] for r in rows_of], 99)) / 1000
            rows.append({"events": n, "layout": layout, **median, "all_p99": p99})
    print(f"{platform.machine()}, numpy {np.__version__}, numba {numba.__version__}, seed 1")
    print("microseconds per packet, medians\nevents layout   decode clean-up    bin publish    all  (p99)")
    for r in rows:
        print(f"{r['events']:6d} {r['layout']:7s} {r['decode']:8.2f} {r['clean-up']:8.2f} {r['bin']:6.2f} "
              f"{r['publish']:7.2f} {r['all']:6.2f} {r['all_p99']:6.2f}")  # fmt: skip
    if path := parser.parse_args().json:
        with open(path, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
