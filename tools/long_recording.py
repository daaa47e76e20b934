"""Recordings that many kills and much damage cannot make wrong: suites of long_run.py."""

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import mutations
import recording_victim

from spikeline.drivers.formats.mcap import McapSource
from spikeline.drivers.mcap_recorder import McapRecorder


def killed_recorders(trials: int = 200) -> str:
    """kill -9 at random moments while 50,000 events a second are recorded."""
    rng = np.random.default_rng(200)
    lost = []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(trials):
            path = Path(folder) / f"{k}.mcap"
            try:
                lost.append(recording_victim.check_kill(path, float(rng.uniform(0, 1.5)))[1])
            except AssertionError as error:
                raise SystemExit(f"killed recorders: kill {k}: {error}") from None
            path.unlink()
    most = recording_victim.CHUNK_EVENTS
    return f"{trials} kills: lost {np.median(lost):.0f} events median, {max(lost)} most, of a chunk's {most}"


def mutated_recordings(trials: int = 10_000) -> str:
    """Damaged copies of a recording: nothing wrong may come out, and nothing may be lost in silence."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mcap"
        recorder = McapRecorder(path, recording_victim.SENSOR, by_sensor_clock=True)
        packets = [recording_victim.packet_of(k) for k in range(100)]
        for packet in packets:
            recorder.add(packet)
        recorder.close()
        rows = {(p.until_us, p.t.tobytes() + p.x.tobytes() + p.y.tobytes() + p.p.tobytes()) for p in packets}
        data, kept, refused = path.read_bytes(), 0, 0
        for _, mutant in mutations.mutated(data, 5, trials):
            path.write_bytes(mutant)
            try:
                with McapSource(path, sensor=recording_victim.SENSOR) as source:
                    found = list(source)
            except ValueError:
                refused += 1
                continue
            wrong = any(
                (p.until_us, p.t.tobytes() + p.x.tobytes() + p.y.tobytes() + p.p.tobytes()) not in rows
                for p in found
            )
            if wrong or (len(found) < len(packets) and not source.report().damage):
                raise SystemExit(f"mutated recordings: {'a wrong packet' if wrong else 'a silent loss'}")
            kept += len(found)
        share = kept / (len(packets) * (trials - refused))
    return f"{trials}: 0 wrong, 0 silent losses, {share:.1%} of the events kept, {refused} refused"
