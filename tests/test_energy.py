"""Three columns of energy: arithmetic on exact counts, and a meter that is there or is not."""

import numpy as np
import pytest

from spikeline.pipeline.energy import PowerMeter, Ran, dense_step, paper_pj
from spikeline.pipeline.engines import open_engine
from spikeline.pipeline.evaluation import evaluate

from helpers import small_graph


def test_a_dense_step_counts_what_it_computes_and_moves():
    """input 2x16x16 - conv 6 - pool 8x8 - neurons - conv 8, stride 2 - neurons - linear 3 - neurons."""
    graph = small_graph(1)
    step = dense_step(graph)
    convs = 6 * 2 * 9 * 256 + 8 * 6 * 9 * 16 + 3 * 8 * 16
    neurons = 6 * 64 + 8 * 16 + 3
    values = 2 * 256 + 6 * 256 + 6 * 64 + 6 * 64 + 8 * 16 + 8 * 16 + 3 + 3 + 3
    weights = 6 * 2 * 9 + 6 + 8 * 6 * 9 + 8 + 3 * 128 + 3
    assert (step.mac, step.ac, step.updates) == (convs, 0, neurons)
    assert step.bytes == 4 * (weights + 2 * (neurons + values))
    assert step.picojoules == pytest.approx(4.6 * (convs + neurons) + 12.5 * step.bytes)
    assert paper_pj(10, 100) == pytest.approx(46 + 90)


def test_a_dense_engine_runs_the_same_whatever_spikes_and_less_where_it_idles():
    graph = small_graph(1)
    rng = np.random.default_rng(1)
    samples = [(rng.poisson(0.5, (4, 2, 16, 16)).astype(np.uint16), 0) for _ in range(3)]
    silent = [(np.zeros((4, 2, 16, 16), np.uint16), 0)]
    engine = open_engine("onnx", graph, "window")
    loud, quiet = evaluate(engine, samples), evaluate(engine, silent)
    assert loud.ran == quiet.ran == dense_step(graph)
    assert loud.energy_uj > quiet.energy_uj
    half = evaluate(engine, samples, skip_ratio=0.5)
    assert half.ran.mac == pytest.approx(loud.ran.mac * half.processed)
    assert half.ran.updates == loud.ran.updates


def meter_at(root, microjoules, wraps_at=1_000_000):
    for i, value in enumerate(microjoules):
        folder = root / f"intel-rapl:{i}"
        folder.mkdir(exist_ok=True)
        (folder / "energy_uj").write_text(f"{value}\n")
        (folder / "max_energy_range_uj").write_text(f"{wraps_at}\n")
        (root / f"intel-rapl:{i}:0").mkdir(exist_ok=True)  # a part of the package, counted in it


def test_a_meter_adds_its_packages_and_unwraps_them(tmp_path):
    meter_at(tmp_path, [900_000, 10])
    meter = PowerMeter(tmp_path)
    meter_at(tmp_path, [100_000, 30])
    assert meter.joules() == pytest.approx(0.2 + 20e-6)
    assert meter.joules() == 0


def test_no_meter_is_said_and_not_guessed(tmp_path):
    assert PowerMeter(tmp_path / "none").joules() is None
    meter_at(tmp_path, ["no number"])
    assert PowerMeter(tmp_path).joules() is None


def test_what_ran_adds_up():
    assert Ran(1, 2, 3, 4).scaled(0.5) == Ran(0.5, 1, 1.5, 2)
