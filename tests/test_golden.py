"""The original authors' modules against ours, where the golden vectors are at hand, and the tool itself."""

import importlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import slow_vectors

TOOLS = Path(__file__).parents[1] / "tools"
DATA = Path(os.environ.get("SPIKELINE_DATA", Path(__file__).parents[2] / "shared" / "data"))
FOLDER = DATA.parent / "golden"
FILES = sorted(FOLDER.glob("*.npz"))


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(TOOLS))
    try:
        yield importlib.import_module("check_golden")
    finally:
        sys.path.remove(str(TOOLS))


@pytest.mark.skipif(not FILES, reason=f"no golden vectors in {FOLDER}")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_our_modules_give_what_the_originals_gave(tool, path):
    report = tool.check(path)
    assert report.passed, report.line()


def write(folder, name="simam_a", *, lam=1e-3, **changes):
    """A SimAM vector written from its formula in NumPy, some of its arrays replaced or added."""
    x = np.random.default_rng(3).normal(0, 1, (4, 2, 3, 5, 6))
    square = (x - x.mean((3, 4), keepdims=True)) ** 2
    gate = 1 / (1 + np.exp(-(square / (4 * (square.sum((3, 4), keepdims=True) / 29 + lam)) + 0.5)))
    path = folder / f"{name}.npz"
    np.savez(path, config_json=json.dumps({"lam": lam}), **({"x": x, "y": x * gate} | changes))
    return path


@pytest.mark.parametrize(
    ("name", "settings", "arrays"),
    [
        ("ma_tcsa_a", {}, slow_vectors.ma_tcsa(1)),
        ("ma_tcsa_b", {}, slow_vectors.ma_tcsa(2, B=1, T=4, C=5, t_hidden=4, c_hidden=1, kernel=3)),
        ("tasnn_tlayer_a", {}, slow_vectors.tasnn_tlayer(1)),
        ("tasnn_tlayer_b", {}, slow_vectors.tasnn_tlayer(2, T=9, hidden=1)),
        ("ta_prefix_a", {"fill": "mean"}, slow_vectors.ta_prefix(1)),
        ("gac_gau_a", {}, slow_vectors.gac_gau(1)),
        ("gac_gau_b", {}, slow_vectors.gac_gau(2, T=3, C=4, between=4, kernel=4, hidden=1)),
        ("ms_block_a", {}, slow_vectors.ms_block(1)),
        ("ms_block_b", {}, slow_vectors.ms_block(2, stride=1, channels=3)),
        ("ms_block_c", {}, slow_vectors.ms_block(3, stride=1, channels=4)),
    ],
)
def test_vectors_of_other_sizes_from_the_formulas(tool, tmp_path, name, settings, arrays):
    path = tmp_path / f"{name}.npz"
    np.savez(path, config_json=json.dumps(settings), **arrays)
    report = tool.check(path)
    assert report.passed, report.line()
    arrays = arrays | {"y": arrays["y"] + 1e-4}
    np.savez(path, config_json=json.dumps(settings), **arrays)
    assert not tool.check(path).passed


def test_a_vector_of_other_shapes_and_settings_passes(tool, tmp_path, capsys):
    write(tmp_path)
    write(tmp_path, "simam_b", lam=0.1)
    assert tool.main([str(tmp_path)]) == 0
    assert "2 of 2 pass" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: {"y": y + 1e-5}, "y: 1.0e-05"),
        (lambda y: {"y": np.where(y == y.max(), np.nan, y)}, "y: nan"),
        (lambda y: {"y": y[:1]}, "y: shape"),
        (lambda y: {"y": np.zeros_like(y)}, "y: "),
        (lambda y: {"z": y}, "array z is not known to this family"),
        (lambda y: {"sd/w": y}, "weight w is not used"),
    ],
)
def test_a_vector_that_is_off_fails_and_says_where(tool, tmp_path, capsys, change, words):
    with np.load(write(tmp_path)) as arrays:
        y = arrays["y"]
    write(tmp_path, **change(y))
    assert tool.main([str(tmp_path)]) == 1
    assert words in capsys.readouterr().out


def test_float32_arrays_are_held_to_a_wider_tolerance(tool, tmp_path):
    with np.load(write(tmp_path)) as arrays:
        y = arrays["y"]
    assert tool.check(write(tmp_path, y=(y + 2e-5).astype(np.float32))).passed
    assert not tool.check(write(tmp_path, y=(y + 1e-3).astype(np.float32))).passed


@pytest.mark.parametrize(
    ("name", "words"),
    [("newpaper_gate", "unknown family"), ("eca_a", "'conv.weight'"), ("ta_prefix_a", "'mlp.0.weight'")],
)
def test_a_file_no_family_can_run_fails(tool, tmp_path, capsys, name, words):
    write(tmp_path, name)
    assert tool.main([str(tmp_path)]) == 1
    assert words in capsys.readouterr().out


def test_spikes_are_compared_exactly(tool, tmp_path):
    x = np.linspace(-1, 1, 9)
    arrays = {"x": x, "out_atan": (x >= 0).astype(float), "grad_atan": 1 / (1 + (np.pi * x) ** 2)}
    path = tmp_path / "sj_surrogates_a.npz"
    np.savez(path, config_json=json.dumps({"atan_alpha": 2.0}), **arrays)
    assert tool.check(path).passed
    arrays["out_atan"][4] = 0.0  # at the threshold it fires
    np.savez(path, config_json=json.dumps({"atan_alpha": 2.0}), **arrays)
    assert not tool.check(path).passed


def test_an_empty_folder_is_not_a_pass(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path)]) == 1
    assert "found no .npz file" in capsys.readouterr().err


def test_a_familys_name_is_its_longest_prefix(tool):
    families = sys.modules["golden"]
    assert families.family_of("ma_csa_per_step_b") is families.FAMILIES["ma_csa_per_step"]
    assert families.family_of("ma_csa_b") is families.FAMILIES["ma_csa"]
    assert families.family_of("sj_plifnet_big") is families.FAMILIES["sj_plifnet"]
    assert families.family_of("sj_plif_tau4") is families.FAMILIES["sj_plif"]
