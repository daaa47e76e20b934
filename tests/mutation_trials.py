"""Damaged copies of a file of every format, each read in a process of its own: what comes of it.

    python tests/mutation_trials.py --count 200 evt3 csv      one JSON line per format

A trial is a process forked from this one, in which everything is imported and compiled already. It may take
1 s and 20 times what the whole file takes, of processor time, so that a busy machine fails nobody; and 64 MB
and four times the file's size of memory, both as a limit and as measured. Linux only.
"""

import argparse
import gc
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads and forks do not mix
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import format_files
import numpy as np
from made import seeded_stream
from mutations import read_all
from test_sources_writers import Events

from spikeline.pipeline.events import SourceError

ROUND = {
    "truncate": 50, "flip one": 40, "flip 16": 20, "noise": 20, "delete": 20, "swap": 15, "head": 20,
    "huge size": 10, "empty": 1, "one byte": 1, "append": 1, "another format": 2,
}  # fmt: skip
ROUND_TRIALS = sum(ROUND.values())
OWN_BYTES, FILE_TIMES = 64 << 20, 4
OWN_S, PRISTINE_TIMES = 1.0, 20
UNLIMITED = 1 << 40
BLOCKED_S = 60  # without using the processor
FAR_US = 10_000_000  # from all true times: an absurd one


class Trial(NamedTuple):
    kind: str
    number: int
    verdict: str  # see `FAILURES` and `HARMLESS`
    why: str  # for people: the error's or the assertion's words
    told: bool  # the report says that something was wrong
    cut: bool  # and that the file is cut
    held: float  # of the events that are whole before the first damaged byte, the share that came out
    cpu_s: float
    peak: int  # bytes of memory above the start


FAILURES = ("crash", "hang", "memory", "exception", "contract")
HARMLESS = ("refused", "identical", "loss", "altered", "wrong time")


def mutants(
    name: str, data: bytes, count: int, others: dict[str, bytes]
) -> Iterator[tuple[str, int, int, bytes]]:
    """(kind, number, first byte changed, bytes) of `count` damaged copies; fewer are spread over a round."""
    plan = [(kind, k) for kind, share in ROUND.items() for k in range(share)]
    step = max(1, ROUND_TRIALS // count)
    for k in range(count):
        turn, at = divmod(k * step, ROUND_TRIALS) if count < ROUND_TRIALS else divmod(k, ROUND_TRIALS)
        kind, number = plan[at]
        number += turn * ROUND[kind]
        rng = random.Random(f"{name}/{kind}/{number}")
        yield kind, number, *_mutant(data, kind, rng, [others[key] for key in sorted(others) if key != name])


def _mutant(data: bytes, kind: str, rng: random.Random, others: list[bytes]) -> tuple[int, bytes]:
    """(first byte changed, bytes)"""
    n, copy = len(data), bytearray(data)
    if kind == "truncate":
        at = rng.randrange(1, n)
        del copy[at:]
    elif kind in ("flip one", "flip 16"):
        places = [rng.randrange(n) for _ in range(1 if kind == "flip one" else 16)]
        at = min(places)
        for place in places:
            copy[place] ^= 1 << rng.randrange(8)
    elif kind == "noise":
        size = min(rng.choice([16, 64, 256, 1_024]), n // 4)
        at = rng.randrange(n - size)
        copy[at : at + size] = rng.randbytes(size)
    elif kind == "delete":
        size = min(rng.choice([1, 2, 3, 7, 16, 100, 512, 4_096]), n // 4)
        at = rng.randrange(n - size)
        del copy[at : at + size]
    elif kind == "swap":
        size = min(rng.choice([64, 512, 4_096]), n // 4)
        at = rng.randrange(n - 2 * size + 1)
        other = rng.randrange(at + size, n - size + 1)
        copy[at : at + size], copy[other : other + size] = data[other : other + size], data[at : at + size]
    elif kind == "head":
        places = [rng.randrange(min(n, 256)) for _ in range(rng.choice([1, 2, 4]))]
        at = min(places)
        for place in places:
            copy[place] = rng.choice([0, 0xFF, 0x7F, 0x80, rng.randrange(256)])
    elif kind == "huge size":
        size = rng.choice([b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x40", b"\xff" * 7 + b"\x7f"])
        at = rng.randrange(min(n, 2_048) - 8) if rng.random() < 0.7 else rng.randrange(n - 8)
        copy[at : at + len(size)] = size
    elif kind == "append":
        at = n
        copy += rng.randbytes(4_096)
    else:
        whole = {
            "empty": lambda: b"",
            "one byte": lambda: data[:1],
            "another format": lambda: rng.choice(others),
        }
        at, copy = 0, bytearray(whole[kind]())
    return at, bytes(copy)


class Bench:
    """Trials on copies of one file, in this folder."""

    def __init__(self, name: str, events: Events, folder: Path) -> None:
        self.name, self.events = name, events
        self.made = format_files.make(name, events)
        self.path = folder / format_files.FILES[name].file
        self._keys, self._ends = _keys(events), self.made.ends(len(events.t))
        self.path.write_bytes(self.made.data)
        found, _ = read_all(format_files.open_file(name, self.path))  # loads what it needs
        if not all(np.array_equal(a, b) for a, b in zip(found, events, strict=True)):
            raise SystemExit(f"{name}: the undamaged file does not give its events")
        gc.freeze()
        runs = [self._once("pristine", k, len(self.made.data), self.made.data, BLOCKED_S) for k in range(3)]
        self.pristine_s = min(run.cpu_s for run in runs)
        self.pristine_peak = max(run.peak for run in runs)
        self.limit_s = OWN_S + PRISTINE_TIMES * self.pristine_s

    def trial(self, kind: str, number: int, at: int, data: bytes) -> Trial:
        """A failure must be one again once all is compiled that this needs and nothing else did."""
        found = self._once(kind, number, at, data, self.limit_s)
        if found.verdict in FAILURES:
            self._once(kind, number, at, data, BLOCKED_S, limited=False)
            found = self._once(kind, number, at, data, self.limit_s)
        return found

    def _once(
        self, kind: str, number: int, at: int, data: bytes, limit_s: float, *, limited: bool = True
    ) -> Trial:
        self.path.write_bytes(data)
        limit = OWN_BYTES + FILE_TIMES * len(data) if limited else UNLIMITED
        get, put = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(get)
            try:
                self._read(put, limit, limit_s, at)
            finally:
                os._exit(77)  # only if `_read` did not
        os.close(put)
        answer, late = _answer(get, BLOCKED_S + limit_s)
        if late:
            os.kill(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
        cpu_s = used.ru_utime + used.ru_stime
        found = json.loads(answer) if answer else {}
        why, verdict = found.get("why", ""), found.get("verdict", "crash")
        if late or cpu_s > limit_s or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
            verdict, why = "hang", f"{cpu_s:.1f} s of {limit_s:.1f} s"
        elif os.WIFSIGNALED(status):
            verdict, why = "crash", signal.Signals(os.WTERMSIG(status)).name
        elif not found:
            why = f"exit code {os.waitstatus_to_exitcode(status)}"
        elif found["peak"] > limit:
            verdict, why = "memory", f"{found['peak']} bytes; the limit is {limit}"
        marks = (found.get(key, False) for key in ("told", "cut"))
        return Trial(kind, number, verdict, why, *marks, found.get("held", 0.0), cpu_s, found.get("peak", 0))

    def _read(self, put: int, limit: int, limit_s: float, at: int) -> None:
        """In the child."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        pages, resident = (int(count) for count in Path("/proc/self/statm").read_text().split()[:2])
        page = resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit_s) + 2, int(limit_s) + 3))
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (pages * page + limit, hard))
        found, report = None, None
        try:
            found, report = read_all(format_files.open_file(self.name, self.path))
            verdict, why = "", ""
        except SourceError as error:
            verdict, why = "refused" if "\n" not in str(error) else "contract", str(error)
        except AssertionError as error:
            verdict, why = "contract", _where(error)
        except BaseException as error:  # a foreign panic, or anything that nobody thought of
            verdict, why = "exception", f"{type(error).__name__}: {_where(error)}: {error}"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024 - resident * page
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        answer = {"verdict": verdict, "why": why[:400], "peak": peak}
        if found is not None:
            answer |= self._compared(found, report, at)
        os.write(put, json.dumps(answer).encode())
        os._exit(0)

    def _compared(self, found: Events, report: object, at: int) -> dict:
        told = bool(report.damage or report.truncated or report.refused or report.reordered or report.dropped)
        keys = _keys(found)
        front = self._keys[self._ends <= at]
        held = float(np.isin(front, keys).mean()) if len(front) else 1.0
        if len(keys) == len(self._keys) and np.array_equal(keys, self._keys):
            verdict = "identical"
        elif np.isin(keys, self._keys).all():
            verdict = "loss"
        elif found.t.max() > self.events.t[-1] + FAR_US or found.t.min() < self.events.t[0] - FAR_US:
            verdict = "wrong time"
        else:
            verdict = "altered"
        return {"verdict": verdict, "told": told, "cut": report.truncated, "held": held}


def _keys(events: Events) -> np.ndarray:
    """A number for each event, the same for the same one."""
    t, x, y, p = (np.asarray(column).astype(np.uint64) for column in events)
    key = t * np.uint64(0x9E37_79B9_7F4A_7C15)
    key ^= x << np.uint64(17) | y << np.uint64(1) | p
    return key * np.uint64(0xD6E8_FEB8_6659_FD93)


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""


def _answer(pipe: int, limit_s: float) -> tuple[bytes, bool]:
    """What the child says before it ends, and True if it does not end in time."""
    answer, end_s = b"", time.monotonic() + limit_s
    try:
        while (left_s := end_s - time.monotonic()) > 0:
            if select.select([pipe], [], [], left_s)[0]:
                piece = os.read(pipe, 1 << 16)
                if not piece:
                    return answer, False
                answer += piece
        return answer, True
    finally:
        os.close(pipe)


def summary(bench: Bench, trials: list[Trial]) -> dict:
    """A line of the table, and every failure in words."""
    number = {verdict: sum(t.verdict == verdict for t in trials) for verdict in (*FAILURES, *HARMLESS)}
    cuts = [t for t in trials if t.kind == "truncate"]
    return {
        "name": bench.name,
        "trials": len(trials),
        **number,
        "silent loss": sum(t.verdict == "loss" and not t.told for t in trials),
        "silently altered": sum(t.verdict in ("altered", "wrong time") and not t.told for t in trials),
        "cuts": len(cuts),
        "silent cuts": sum(t.verdict in HARMLESS[1:] and not t.cut for t in cuts),
        "held before the cut": float(np.median([t.held for t in cuts])) if cuts else 1.0,
        "slowest_s": max(t.cpu_s for t in trials),
        "pristine_s": bench.pristine_s,
        "peak": max(t.peak for t in trials),
        "pristine_peak": bench.pristine_peak,
        "failures": [f"{t.kind} {t.number}: {t.verdict}: {t.why}" for t in trials if t.verdict in FAILURES],
    }


def run(names: list[str], count: int, n: int) -> Iterator[dict]:
    events = seeded_stream(n)
    others = {name: format_files.make(name, events.slice(0, 500)).data for name in format_files.FILES}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            bench = Bench(name, events, Path(folder))
            trials = [
                bench.trial(kind, number, at, data)
                for kind, number, at, data in mutants(name, bench.made.data, count, others)
            ]
            yield summary(bench, trials)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--count", type=int, default=ROUND_TRIALS)
    parser.add_argument("--events", type=int, default=20_000)
    asked = parser.parse_args()
    for line in run(asked.names or list(format_files.FILES), asked.count, asked.events):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
