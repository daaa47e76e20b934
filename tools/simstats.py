"""Event statistics of streams side by side: a recording beside its simulated likeness, and their ratio.

    python tools/simstats.py RECORDING sim:hand?seed=1
    python tools/simstats.py A.aedat4 B.aedat4 "sim:gesture?class=1&duration_s=6" --json figures.json
    python tools/simstats.py hand_a.aedat4 sim:hand --figure docs/simulator.png

Sources are whatever `spikeline replay` takes, and three scenes made to look like recordings that we hold:
sim:hand (a close hand that waves), sim:away (somebody walks away from the camera) and sim:sit (somebody
sits down and gets up). Figures are over the first --seconds of a stream. Sources joined by a comma share a
column, which has their mean; the ratio is the last column over the first.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers import open_source
from spikeline.drivers.sim.camera import PRESETS
from spikeline.drivers.sim.gait import draw_gait, simulate_gait
from spikeline.drivers.sim.scene import draw_clip
from spikeline.drivers.sim.stepper import simulate
from spikeline.pipeline.events import SourceError

FRAME_US = 15_000
REBOUND_US = 5_000
DUPLICATE_US = 3
CELL, CELL_US, CELL_CHAINS = (
    8,
    200_000,
    8,
)  # a quiet cell, and how many event chains its surroundings may have


class Stream:
    """Events of one stream as arrays, sorted by time; t from 0."""

    def __init__(self, name: str, t: Any, x: Any, y: Any, p: Any, width: int, height: int) -> None:
        self.name, self.width, self.height = name, width, height
        self.t = np.asarray(t, np.int64) - (int(t[0]) if len(t) else 0)
        self.x, self.y, self.p = (np.asarray(a).astype(np.int64) for a in (x, y, p))
        self.seconds = max((int(self.t[-1]) + 1) * 1e-6, FRAME_US * 4e-6) if len(t) else 1.0


def read(uri: str, seconds: float) -> Stream:
    """The first `seconds` of a source, or one of the scenes of this tool."""
    kind, _, query = uri.partition("?")
    if kind in SCENES:
        options = dict(item.partition("=")[::2] for item in query.split("&") if item)
        return SCENES[kind](uri, int(options.get("seed", 1)), options.get("camera"), seconds)
    parts: list[tuple[Any, ...]] = []
    with open_source(uri) as source:
        first_us: int | None = None
        for packet in source:
            if len(packet):
                parts.append((packet.t, packet.x, packet.y, packet.p))
                first_us = int(packet.t[0]) if first_us is None else first_us
            if first_us is not None and packet.until_us - first_us > seconds * 1e6:
                break
        width, height = source.sensor.width, source.sensor.height
    t, x, y, p = (np.concatenate([part[i] for part in parts]) for i in range(4))
    order = np.argsort(t, kind="stable")
    order = order[t[order] - t[order[0]] < seconds * 1e6]
    return Stream(uri, t[order], x[order], y[order], p[order], width, height)


def hand(uri: str, seed: int, camera: str | None, seconds: float) -> Stream:
    """One arm close to the camera waves beside a body that stays still."""
    clip = draw_clip(seed, split="test", label=1, duration_s=seconds, preset=camera or "dvs128-hands")
    motion = clip.motion._replace(variant=1, hz=2.5, amp=0.8, coupling=0.0, dx=0.0, dy=0.0, dz=0.0)
    idle = clip.idle._replace(fidget=0.0, sway=0.0, nod=0.0)
    view = clip.view._replace(
        x_px=88.0, y_px=74.0, scale_px=142.0, yaw_turns=0.0, roll_turns=0.0, blur_px=0.8
    )
    clip = replace(clip, light=clip.light._replace(level=0.33), wall=clip.wall._replace(albedo=0.18))
    return _of(uri, simulate(replace(clip, motion=motion, idle=idle, view=view)), clip.preset)


def away(uri: str, seed: int, camera: str | None, seconds: float) -> Stream:
    """Somebody walks away from the camera, from larger than the image down to a third of it."""
    clip = draw_gait(seed, split="test", index=seed, duration_s=seconds, camera=camera or "dvs128-hands")
    path = clip.path._replace(
        heading=0.75, distance=1.6, scale_px=150.0, x_px=64.0, floor_px=138.0, eye=0.5, middle_s=0.0
    )
    return _of(uri, simulate_gait(replace(clip, path=path)), clip.preset)


def sit(uri: str, seed: int, camera: str | None, seconds: float) -> Stream:
    """Somebody sits down and gets up again, seen from the front."""
    clip = draw_clip(seed, split="test", label=11, duration_s=seconds, preset=camera or "dvs128-slow")
    motion = clip.motion._replace(variant=11, hz=0.8)
    return _of(uri, simulate(replace(clip, motion=motion)), clip.preset)


SCENES = {"sim:hand": hand, "sim:away": away, "sim:sit": sit}


def _of(uri: str, events: Any, preset: str) -> Stream:
    return Stream(uri, *events, PRESETS[preset].width, PRESETS[preset].height)


def figures(s: Stream) -> dict[str, float]:
    """All figures of a stream by name; nan where there is nothing to measure."""
    out: dict[str, float] = {"rate, k events/s": len(s.t) / s.seconds / 1e3}
    frames = int(s.seconds * 1e6) // FRAME_US
    per_frame = np.bincount(np.minimum(s.t // FRAME_US, frames - 1), minlength=frames)
    for q in (5, 50, 95, 99):
        out[f"rate of a frame, p{q}"] = float(np.percentile(per_frame, q)) / FRAME_US * 1e3
    out["ON share"] = float(s.p.mean())
    pixel = s.y * s.width + s.x
    key, count = np.unique((s.t // FRAME_US) * (s.width * s.height) + pixel, return_counts=True)
    active = np.bincount(np.minimum(key // (s.width * s.height), frames - 1), minlength=frames)
    share = 100.0 * active / (s.width * s.height)
    out["active pixels per frame, %"] = float(share.mean())
    out["active pixels per frame, p95 %"] = float(np.percentile(share, 95))
    out["events per active pixel"] = float(count.mean())
    out["events per active pixel, p99"] = float(np.percentile(count, 99))
    out |= _gaps(s, pixel)
    for ms in (1, 15):
        counts = np.bincount(s.t // (ms * 1_000))
        out[f"Fano factor, {ms} ms"] = float(counts.var() / counts.mean())
    rates = np.bincount(pixel, minlength=s.width * s.height) / s.seconds
    for q in (90, 99, 99.9, 100):
        out["pixel rate, max Hz" if q == 100 else f"pixel rate, p{q:g} Hz"] = float(np.percentile(rates, q))
    return out | _neighbours(s) | _quiet(s) | _mains(s)


def _gaps(s: Stream, pixel: NDArray[np.int64]) -> dict[str, float]:
    order = np.lexsort((s.t, pixel))
    where, t, p = pixel[order], s.t[order], s.p[order]
    same = np.diff(where) == 0
    gap = np.diff(t)[same]
    out = {f"gap of a pixel, p{q} ms": float(np.percentile(gap, q)) / 1e3 for q in (25, 50, 75, 95)}
    out["gap, coefficient of variation"] = float(gap.std() / gap.mean())
    near = same & (np.diff(t) < FRAME_US)
    out["same sign in gaps < 15 ms, %"] = (
        100.0 * float((np.diff(p) == 0)[near].mean()) if near.any() else np.nan
    )
    double = np.append(False, same & (np.diff(t) <= DUPLICATE_US) & (np.diff(p) == 0))
    out["duplicates, %"] = 100.0 * float(double.mean())
    where, t, p = where[~double], t[~double], p[~double]
    same = np.diff(where) == 0
    gap, before, after = np.diff(t), p[:-1], p[1:]
    for sign, name in ((0, "ON within 5 ms after OFF"), (1, "OFF within 5 ms after ON")):
        soon = same & (gap < REBOUND_US) & (before == sign) & (after == 1 - sign)
        out[name] = float(soon.sum() / max((p == sign).sum(), 1))
    short = gap[same]
    for q in (0.1, 1):
        out[f"smallest gaps, p{q:g} ms"] = float(np.percentile(short, q)) / 1e3
    return out


def _neighbours(s: Stream) -> dict[str, float]:
    """How much neighbouring pixels do the same: correlation of count frames moved against themselves."""
    frames = min(int(s.seconds * 1e6) // FRAME_US, 400)
    kept = s.t < frames * FRAME_US
    counts = np.zeros((2, frames, s.height, s.width), np.float32)
    np.add.at(counts, (s.p[kept], s.t[kept] // FRAME_US, s.y[kept], s.x[kept]), 1)
    total, signed = counts.sum(0), counts[1] - counts[0]
    out = {
        f"count correlation, dx {d}": _correlation(total[:, :, d:], total[:, :, :-d]) for d in (1, 2, 4, 8)
    }
    out |= {f"count correlation, dy {d}": _correlation(total[:, d:], total[:, :-d]) for d in (1, 2, 4, 8)}
    out["signed correlation, dx 1"] = _correlation(signed[:, :, 1:], signed[:, :, :-1])
    for lag in (1, 2):
        out[f"frame autocorrelation, lag {lag}"] = _correlation(total[lag:], total[:-lag])
    out["isolated events, %"] = 100.0 * _isolated(s)
    return out


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    a, b = (c.astype(np.float64) - c.mean(0) for c in (a, b))  # what moves, not where it mostly is
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def _isolated(s: Stream, within_us: int = 10_000) -> float:
    """Share of events without another in the eight pixels around within 10 ms."""
    return float(_count_alone(s.t, s.x, s.y, s.width, s.height, within_us) / len(s.t))


@numba.njit(cache=True)
def _count_alone(t, x, y, width, height, within_us):
    last = np.full((height + 2, width + 2), -(1 << 60), np.int64)
    index = np.full((height + 2, width + 2), -1, np.int64)
    alone = np.ones(t.shape[0], np.uint8)
    for i in range(t.shape[0]):
        for dy in range(3):
            for dx in range(3):
                row, column = y[i] + dy, x[i] + dx
                if (dx != 1 or dy != 1) and last[row, column] > t[i] - within_us:
                    alone[i] = 0
                    alone[index[row, column]] = 0
        last[y[i] + 1, x[i] + 1] = t[i]
        index[y[i] + 1, x[i] + 1] = i
    return alone.sum()


def _quiet(s: Stream) -> dict[str, float]:
    """What pixels send where nothing happens: cells of 8x8 pixels and 200 ms with hardly an event around."""
    columns, rows, times = s.width // CELL, s.height // CELL, max(int(s.seconds * 1e6) // CELL_US, 1)
    order = np.lexsort((s.t, s.y * s.width + s.x))
    new_chain = np.ones(len(s.t), bool)
    new_chain[order[1:]] = ~(
        (np.diff((s.y * s.width + s.x)[order]) == 0) & (np.diff(s.t[order]) < REBOUND_US)
    )
    cx, cy, ct = s.x // CELL, s.y // CELL, s.t // CELL_US
    inside = (cx < columns) & (cy < rows) & (ct < times)
    chains = np.zeros((times + 2, rows + 2, columns + 2))
    first = inside & new_chain
    np.add.at(chains, (ct[first] + 1, cy[first] + 1, cx[first] + 1), 1)
    most = np.zeros((times, rows, columns))
    for a, b, c in np.ndindex(3, 3, 3):
        np.maximum(most, chains[a : a + times, b : b + rows, c : c + columns], out=most)
    quiet = most <= CELL_CHAINS
    chosen = inside.copy()
    chosen[inside] = quiet[ct[inside], cy[inside], cx[inside]]
    pixel_seconds = quiet.sum() * CELL * CELL * CELL_US * 1e-6
    if pixel_seconds == 0 or chosen.sum() == 0:
        return {"quiet cells, Hz per pixel": np.nan, "quiet cells, ON share": np.nan}
    return {
        "quiet cells, Hz per pixel": float(chosen.sum() / pixel_seconds),
        "quiet cells, ON share": float(s.p[chosen].mean()),
    }


def _mains(s: Stream) -> dict[str, float]:
    """The strongest of 50, 60, 100 and 120 Hz in the rate, against the spectrum around it."""
    counts = np.bincount(s.t // 1_000).astype(np.float64)
    power = np.abs(np.fft.rfft(counts - counts.mean())) ** 2
    hz = np.fft.rfftfreq(len(counts), 1e-3)
    best = 0.0
    for line in (50.0, 60.0, 100.0, 120.0):
        near = np.abs(hz - line) < 0.5
        far = (np.abs(hz - line) < 8.0) & ~near
        if near.any() and far.any():
            best = max(best, float(power[near].max() / np.median(power[far])))
    return {"mains line, x median": best}


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def table(names: list[str], rows: list[dict[str, float]]) -> str:
    """Markdown: a row per figure, a column per stream, and the last column over the first."""
    heads = ["figure", *names, *(["ratio"] if len(rows) > 1 else [])]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name in rows[0]:
        values = [row[name] for row in rows]
        cells = [name, *(f"{value:.3g}" for value in values)]
        if len(values) > 1:
            cells.append(f"{values[-1] / values[0]:.2f}" if values[0] else "-")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(streams: list[Stream], path: Path) -> None:
    """Event images, the rate, and the distribution of gaps, a row per stream."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("--figure: needs matplotlib: pip install spikeline[plots]") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(streams), 5, figsize=(11, 2.2 * len(streams)), squeeze=False)
    for row, s in zip(axes, streams, strict=True):
        for k in range(3):
            middle = s.seconds * 1e6 * (k + 0.8) / 3.6
            near = np.abs(s.t - middle) < FRAME_US
            image = np.full((s.height, s.width, 3), 255, np.uint8)
            image[s.y[near & (s.p == 0)], s.x[near & (s.p == 0)]] = (60, 90, 200)
            image[s.y[near & (s.p == 1)], s.x[near & (s.p == 1)]] = (210, 60, 40)
            row[k].imshow(image, interpolation="nearest")
            row[k].set_xticks([])
            row[k].set_yticks([])
        row[0].set_ylabel(Path(s.name).stem if Path(s.name).exists() else s.name, fontsize=8)
        counts = np.bincount(s.t // FRAME_US)
        row[3].plot(np.arange(len(counts)) * FRAME_US * 1e-6, counts / FRAME_US * 1e3, linewidth=0.6)
        row[3].set_title("k events/s over s", fontsize=8)
        pixel = s.y * s.width + s.x
        order = np.lexsort((s.t, pixel))
        gap = np.diff(s.t[order])[np.diff(pixel[order]) == 0]
        row[4].hist(np.log10(np.maximum(gap, 1)), bins=80, histtype="step", density=True)
        row[4].set_title("log10 of a pixel's gaps, us", fontsize=8)
        for k in (3, 4):
            row[k].tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--figure", type=Path, help="a picture of the streams, SVG or PNG")
    asked = parser.parse_args()
    try:
        groups = [[read(uri, asked.seconds) for uri in group.split(",")] for group in asked.sources]
    except (SourceError, ValueError) as error:
        sys.exit(str(error))
    rows = [mean([figures(s) for s in group]) for group in groups]
    names = [
        ", ".join(Path(s.name).stem if Path(s.name).exists() else s.name for s in group) for group in groups
    ]
    print(table(names, rows))
    if asked.json:
        asked.json.write_text(json.dumps(dict(zip(asked.sources, rows, strict=True)), indent=1) + "\n")
    if asked.figure:
        draw([s for group in groups for s in group], asked.figure)


if __name__ == "__main__":
    main()
