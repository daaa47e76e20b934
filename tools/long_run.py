"""The suites that take many minutes: run each, print and keep one dated table.

    make test-long                            -> docs/long-runs.md gets a row per suite
    python tools/long_run.py killed_recorders -> only this suite

Now: a simulated hour of camera through the shipped model without waiting (memory, state, digest), ten
thousand mutated model packages and as many mutated recordings, two hundred killed recorders; a thousand
damaged files of every format, each cut at every byte, and recordings of 10 GB through a pipe.
"""

import datetime
import platform
import resource
import sys
import time
from pathlib import Path

import numpy as np
from long_formats import cut_formats, holed_formats, mutated_formats, poured_recordings
from long_recording import killed_recorders, mutated_recordings

from spikeline.pipeline import open_pipeline
from spikeline.pipeline.package import PackageError, find_package, parse

TABLE = Path(__file__).parent.parent / "docs" / "long-runs.md"
HEAD = """# Long runs

Written by `make test-long`.

| date | machine | suite | figure | took |
|---|---|---|---|---|
"""


def an_hour_of_camera() -> str:
    """Windows, finite state, and how much memory grew from the tenth second to the end."""
    with open_pipeline("sim:gesture?seed=5&duration_s=3600") as session:
        early = 0
        for result in session:
            if result.seq == 200:
                early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        state = session.pipeline.engine.snapshot(session.pipeline.state)
        windows = session.summary()["windows"]
    if windows != 72_000 or not all(np.isfinite(array).all() for array in state.values()):
        raise SystemExit(f"an hour of camera: {windows} windows, wanted 72000 and a finite state")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - early) / 1024
    return f"{windows} windows, memory +{grown:.0f} MB"


def mutated_packages(trials: int = 10_000) -> str:
    data = find_package("gesture").read_bytes()
    rng = np.random.default_rng(1)
    loaded = 0
    for _ in range(trials):
        mutant = bytearray(data)
        for i in rng.integers(len(mutant), size=rng.integers(1, 17)):
            mutant[i] ^= 1 << rng.integers(8)
        try:
            parse(bytes(mutant))
            loaded += bytes(mutant) != data
        except PackageError:
            pass
    if loaded:
        raise SystemExit(f"mutated packages: {loaded} of {trials} loaded, wanted 0")
    return f"0 of {trials} loaded"


def main() -> None:
    rows = []
    suites = (
        mutated_packages,
        mutated_recordings,
        killed_recorders,
        mutated_formats,
        cut_formats,
        holed_formats,
        poured_recordings,
        an_hour_of_camera,
    )
    for suite in suites:
        if len(sys.argv) > 1 and suite.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        figure = suite()
        date = datetime.date.today().isoformat()
        took = f"{(time.monotonic() - began) / 60:.1f} min"
        rows.append(
            f"| {date} | {platform.machine()} | {suite.__name__.replace('_', ' ')} | {figure} | {took} |"
        )
        print(rows[-1], flush=True)
    text = TABLE.read_text() if TABLE.exists() else HEAD
    TABLE.write_text(text + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
