"""Files of every format, damaged, cut and holed, and recordings of 10 GB: suites of long_run.py.

`mutated_formats` also writes the table of docs/robustness.md, ours beside that of other readers.
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import damage
from format_files import FILES, make
from made import seeded_stream

from spikeline.drivers.formats import hdf5

TESTS = Path(__file__).parent.parent / "tests"
PAGE = Path(__file__).parent.parent / "docs" / "robustness.md"
PEERS = Path(__file__).with_name("peers_robustness.csv")
PEER_TRIALS = 200
BEGIN, END = "<!-- the table: written by make test-long -->\n", "<!-- end of the table -->\n"
HEAD = (
    "format", "reader", "refused", "all there", "some lost, told", "some lost, silent", "altered, told",
    "altered, silent", "beyond the sensor", "absurd times", "crash, hang, memory", "cuts not told",
    "whole before the cut",
)  # fmt: skip
POURED_MB = 10_000
MOST_MB = 300


def mutated_formats(trials: int = 1_000) -> str:
    """Every format's file damaged in a thousand ways, each read in a process of its own."""
    command = [sys.executable, str(TESTS / "mutation_trials.py"), "--count", str(trials)]
    found = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            found.append(json.loads(line))
            print(f"  {found[-1]['name']}: {len(found[-1]['failures'])} failures", flush=True)
    failures = [f"{line['name']}: {failure}" for line in found for failure in line["failures"]]
    if process.returncode or failures:
        raise SystemExit("\n".join(["mutated formats:", *failures]))
    _write_table(found)
    peak = max(line["peak"] for line in found) / 1e6
    slowest = max(line["slowest_s"] for line in found)
    return f"{len(found)} formats, {trials} each: 0 failures, {peak:.0f} MB and {slowest:.2f} s at most"


def _write_table(found: list[dict]) -> None:
    with open(PEERS) as file:
        peers = list(csv.DictReader(file))
    rows = [HEAD, ("---",) * len(HEAD)]
    for line in found:
        rows.append(_our_row(line))
        rows += [_peer_row(peer) for peer in peers if peer["format"] == line["name"]]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + table + END + rest.split(END)[1])


def _our_row(line: dict) -> tuple[str, ...]:
    n = line["trials"]
    altered, silent = line["altered"] + line["wrong time"], line["silently altered"]
    counts = (
        line["refused"], line["identical"], line["loss"] - line["silent loss"], line["silent loss"],
        altered - silent, silent, 0, line["wrong time"], 0,
    )  # fmt: skip
    shares = (f"{100 * count / n:.1f} %" for count in counts)
    cuts = f"{100 * line['silent cuts'] / line['cuts']:.0f} %"
    return line["name"], "**spikeline**", *shares, cuts, f"{100 * line['held before the cut']:.1f} %"


def _peer_row(peer: dict[str, str]) -> tuple[str, ...]:
    """A peer's reader says what is wrong by raising, or not at all."""
    wrong = sum(int(peer[key]) for key in ("beyond the sensor", "wrong time", "altered"))
    broken = sum(int(peer[key]) for key in ("crash", "hang", "memory"))
    counts = (
        int(peer["refused"]), int(peer["identical"]), 0, int(peer["silent loss"]), 0, wrong,
        int(peer["beyond the sensor"]), int(peer["wrong time"]), broken,
    )  # fmt: skip
    shares = (f"{100 * count / PEER_TRIALS:.1f} %" for count in counts)
    cuts = 100 * int(peer["silent cuts"]) // 50
    return "", peer["reader"], *shares, f"{cuts} %", f"{peer['held before the cut']} %"


def cut_formats() -> str:
    """A small file of every format cut at every byte."""
    look, hdf5.why_unsafe = hdf5.why_unsafe, lambda path, size: None  # in another process: 0.2 s each
    events, cuts, wrong = seeded_stream(300), 0, []
    for name in FILES:
        made = make(name, events)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILES[name].file
            for size in damage.cut_sizes(made, None):
                cuts += 1
                if why := damage.wrong_at_cut(name, made, events, path, size):
                    wrong.append(f"{name}, {size} bytes: {why}")
    hdf5.why_unsafe = look
    if wrong:
        raise SystemExit("\n".join(["cut formats:", *wrong]))
    return f"{len(FILES)} formats, {cuts} cuts: every whole event read, every cut told that can be seen"


def holed_formats(holes: int = 100) -> str:
    """Up to 1 KiB of noise in the middle of a file of every format."""
    events, least, wrong = seeded_stream(20_000), {}, []
    for name in FILES:
        made = make(name, events)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILES[name].file
            found = [
                damage.wrong_at_hole(name, made, events, path, hole) for hole in damage.holes(made, holes)
            ]
        wrong += [f"{name}: {why}" for why, _ in found if why]
        least[name] = min(held for _, held in found)
    if wrong:
        raise SystemExit("\n".join(["holed formats:", *wrong]))
    worst = min(least, key=lambda name: least[name])
    median = np.median(list(least.values()))
    return (
        f"{len(FILES)} formats, {holes} holes each: of the events outside, at least {least[worst]:.2%} "
        f"({worst}; the median format {median:.2%})"
    )


def poured_recordings(megabytes: int = POURED_MB) -> str:
    """Recordings that are never on a disk, through a pipe."""
    found = []
    for form in ("evt2", "evt3", "csv"):
        command = [sys.executable, str(TESTS / "pour.py"), form, str(megabytes)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"poured recordings: {form}: {done.stderr[-500:]}")
        written, read, peak_mb = (int(word) for word in done.stdout.split())
        if written != read or peak_mb > MOST_MB:
            raise SystemExit(f"poured recordings: {form}: {read} of {written} events, {peak_mb} MB")
        found.append(f"{form} {read / 1e9:.2f} G events, {peak_mb} MB")
    return f"{megabytes / 1_000:g} GB each: {'; '.join(found)}"
