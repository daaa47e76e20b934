"""The simulated hand beside the real one: figures of tools/simstats.py within ranges of a recording's."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).parent.parent / "tools" / "simstats.py"
REAL = {  # means of the recordings dvs128_hand_a and dvs128_hand_b
    "rate, k events/s": 63.4,
    "active pixels per frame, %": 2.63,
    "events per active pixel": 2.21,
    "duplicates, %": 13.0,
    "ON within 5 ms after OFF": 0.75,
    "OFF within 5 ms after ON": 0.255,
    "count correlation, dx 1": 0.168,
    "same sign in gaps < 15 ms, %": 23.3,
    "quiet cells, Hz per pixel": 0.13,
    "smallest gaps, p1 ms": 0.353,
}


@pytest.fixture(scope="module")
def simstats():
    spec = importlib.util.spec_from_file_location("simstats", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["simstats"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def simulated(simstats):
    rows = [simstats.figures(simstats.read(f"sim:hand?seed={seed}", 2.0)) for seed in (1, 2, 3)]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def test_figures_lie_near_those_of_the_recordings(simulated):
    ratio = {name: simulated[name] / real for name, real in REAL.items()}
    assert 0.5 < ratio["rate, k events/s"] < 2.0
    assert 0.6 < ratio["active pixels per frame, %"] < 1.6
    assert 0.8 < ratio["events per active pixel"] < 1.25
    assert abs(simulated["duplicates, %"] - REAL["duplicates, %"]) < 1.5
    assert abs(simulated["ON within 5 ms after OFF"] - REAL["ON within 5 ms after OFF"]) < 0.1
    assert abs(simulated["OFF within 5 ms after ON"] - REAL["OFF within 5 ms after ON"]) < 0.1
    assert abs(simulated["count correlation, dx 1"] - REAL["count correlation, dx 1"]) < 0.1
    assert 0.5 < ratio["quiet cells, Hz per pixel"] < 2.0
    assert 0.8 < ratio["smallest gaps, p1 ms"] < 1.25
    assert 0.40 < simulated["ON share"] < 0.58


def stream(simstats, t, x, y, p):
    return simstats.Stream("made", np.array(t), np.array(x), np.array(y), np.array(p), 32, 32)


def test_duplicates_rebounds_and_lone_events_are_counted(simstats):
    """Twenty OFF events far apart: each doubled after 1 us, ten of them followed by an ON after 1 ms."""
    t, p, x = [], [], []
    for k in range(20):
        t += [k * 50_000, k * 50_000 + 1]
        p += [0, 0]
        x += [k, k]
        if k % 2:
            t.append(k * 50_000 + 1_000)
            p.append(1)
            x.append(k)
    found = simstats.figures(stream(simstats, t, x, [16] * len(t), p))
    assert found["duplicates, %"] == pytest.approx(100 * 20 / 50)
    assert found["ON within 5 ms after OFF"] == pytest.approx(0.5)
    assert found["OFF within 5 ms after ON"] == 0.0
    assert found["isolated events, %"] == 100.0
    assert found["ON share"] == pytest.approx(0.2)
    assert found["rate, k events/s"] == pytest.approx(50 / found_seconds(t) / 1e3)


def found_seconds(t):
    return (t[-1] + 1) * 1e-6


def test_a_ripple_of_the_mains_is_found(simstats):
    rng = np.random.default_rng(1)
    t = np.sort(rng.uniform(0, 3e6, 60_000))
    kept = rng.random(len(t)) < 0.5 + 0.4 * np.cos(2 * np.pi * 120e-6 * t)
    t = t[kept].astype(np.int64)
    cells = rng.integers(0, 32, (2, len(t)))
    ripple = simstats.figures(stream(simstats, t, *cells, rng.integers(0, 2, len(t))))
    even = np.sort(rng.integers(0, 3_000_000, len(t)))
    calm = simstats.figures(stream(simstats, even, *cells, rng.integers(0, 2, len(t))))
    assert ripple["mains line, x median"] > 100 > 30 > calm["mains line, x median"]


def test_neighbours_that_fire_together_correlate(simstats):
    rng = np.random.default_rng(2)
    t = np.sort(rng.integers(0, 2_000_000, 4_000))
    x, y = rng.integers(0, 31, 4_000), rng.integers(0, 32, 4_000)
    alone = simstats.figures(stream(simstats, t, x, y, np.ones(4_000, int)))
    pairs = simstats.figures(
        stream(
            simstats, np.repeat(t, 2), np.stack([x, x + 1], 1).ravel(), np.repeat(y, 2), np.ones(8_000, int)
        )
    )
    assert abs(alone["count correlation, dx 1"]) < 0.02
    assert 0.4 < pairs["count correlation, dx 1"] < 0.6
    assert pairs["isolated events, %"] == 0.0


def test_the_table_has_a_ratio_for_two_streams(simstats):
    rng = np.random.default_rng(3)
    t = np.sort(rng.integers(0, 500_000, 2_000))
    made = stream(
        simstats, t, rng.integers(0, 32, 2_000), rng.integers(0, 32, 2_000), rng.integers(0, 2, 2_000)
    )
    rows = [simstats.figures(made)] * 2
    lines = simstats.table(["made", "made"], rows).splitlines()
    assert lines[0] == "| figure | made | made | ratio |"
    assert all(line.endswith(("| 1.00 |", "| nan |", "| - |")) for line in lines[2:])
