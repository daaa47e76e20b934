"""spikeline evaluate, by calling it: recordings with a truth file, labelled sets, reports and refusals."""

import json
from itertools import pairwise

import numpy as np
import pytest

from spikeline.drivers import open_source
from spikeline.drivers.recording import write_npz
from spikeline.pipeline.commands import run
from spikeline.pipeline.commands.evaluate_streams import simulated_streams
from spikeline.pipeline.engines import INT16
from spikeline.pipeline.events import EventPacket, Sensor
from spikeline.pipeline.package import load_package, save_package
from spikeline.pipeline.run import Pipeline, RunConfig

from helpers import small_graph, small_manifest

SECONDS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """small.safetensors, a recording stream.npz with truth.jsonl, and clips.npz with 24 labelled clips."""
    folder = tmp_path_factory.mktemp("evaluate")
    graph = small_graph(2)
    save_package(folder / "small.safetensors", small_manifest(graph), graph)
    rng = np.random.default_rng(5)
    t, x, y, p = events(rng, SECONDS * 1_000_000, 40_000)
    packet = EventPacket(t, x, y, p, SECONDS * 1_000_000, 0, 0)
    write_npz(folder / "stream.npz", [packet], Sensor(64, 64))
    rows = [
        ("left", 0.5, 0.9, 2.0),
        ("right", 2.4, 2.6, 3.5),
        ("none", 3.5, 3.5, 4.5),
        ("left", 4.6, 4.9, 5.6),
    ]
    names = ("onset_us", "full_us", "offset_us")
    lines = [
        {"label": name} | dict(zip(names, (round(s * 1e6) for s in times), strict=True))
        for name, *times in rows
    ]
    (folder / "truth.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "nothing.jsonl").write_text("")
    clips = [events(rng, 100_000, 700) for _ in range(24)]
    columns = {name: np.concatenate([clip[k] for clip in clips]) for k, name in enumerate("txyp")}
    np.savez(
        folder / "clips.npz",
        **columns,
        offsets=np.arange(25) * 700,
        labels=np.arange(24) % 3,
        names=np.array(["left", "right", "none"]),
        splits=np.array(["test", "train"] * 12),
        width=64,
        height=64,
    )
    return folder


def events(rng, length_us, n):
    t = np.sort(rng.integers(0, length_us, n)).astype(np.int64)
    x, y = rng.integers(0, 64, (2, n)).astype(np.uint16)
    return t, x, y, rng.integers(0, 2, n).astype(np.uint8)


def call(capsys, folder, *argv):
    words = ["evaluate", "--model", folder / "small.safetensors", "--cache", folder / "cache", *argv]
    code = run([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def figures(capsys, folder, *argv):
    code, out, err = call(capsys, folder, *argv, "--json")
    assert code == 0, err
    assert out.count("\n") == 1
    return json.loads(out)


def recorded(folder):
    return "--data", folder / "stream.npz", "--truth", folder / "truth.jsonl"


def test_a_recording_is_judged_against_its_truth(folder, capsys):
    facts = figures(capsys, folder, *recorded(folder))
    assert "clips" not in facts
    found = facts["continuous"]
    assert (found["positive_streams"], found["performances"], found["windows"]) == (1, 3, 600)
    assert found["positive_minutes"] == pytest.approx(0.1)
    assert (found["threshold"], found["hold_us"], found["settings_from"]) == (0, 0, "the model's, not tuned")
    for name in found["f1"]:
        assert found["hits"][name] + found["missed"][name] == {"left": 2, "right": 1}[name]
    assert found["truth_changes_per_minute"] == pytest.approx(6 / 0.1)
    assert facts["model_digest"] == load_package(folder / "small.safetensors").digest
    assert facts["command"].startswith("spikeline evaluate --model ") and facts["command"].endswith(" --json")
    assert set(facts["versions"]) >= {"spikeline", "numpy", "numba"}


def test_a_cut_recording_is_judged_as_far_as_it_goes_and_said_to_be_damaged(folder, capsys):
    whole = json.loads(call(capsys, folder, *text_recording(folder, ""), "--json")[1])["continuous"]
    code, out, err = call(capsys, folder, *text_recording(folder, "4800000 nonsense\n"), "--json")
    found = json.loads(out)["continuous"]
    assert (code, found["damaged_streams"]) == (1, 1) and "a line that is no event" in err
    assert found["f1"] == whole["f1"] and whole["damaged_streams"] == 0


def text_recording(folder, end):
    """The recording's events as text, and after them `end`."""
    with np.load(folder / "stream.npz") as stored:
        columns = [stored[name][::10] for name in "txyp"]
    lines = [f"{t} {x} {y} {p}" for t, x, y, p in zip(*(c.tolist() for c in columns), strict=True)]
    (folder / "cut.csv").write_text("# t x y p\n" + "\n".join(lines) + "\n" + end)
    return "--data", folder / "cut.csv", "--truth", folder / "truth.jsonl", "--sensor", "64x64"


def test_a_simulated_stream_and_its_recording_with_its_truth_file_come_to_the_same(tmp_path, capsys):
    live, recording, truth = (
        "sim:gesture?seed=4&duration_s=5",
        tmp_path / "stream.npz",
        tmp_path / "truth.jsonl",
    )
    assert run(["convert", f"{live}&truth={truth}", str(recording)]) == 0
    capsys.readouterr()
    found = []
    for argv in (["--data", live, "--continuous"], ["--data", recording, "--truth", truth]):
        assert run(["evaluate", "--json", *map(str, argv)]) == 0
        facts = json.loads(capsys.readouterr().out)["continuous"]
        del facts["data"]
        del facts["onset_to_decision_ms"]["compute"], facts["onset_to_decision_ms"]["sum"]
        found.append(facts)
    assert found[0] == found[1] and found[0]["performances"] == len(truth.read_text().splitlines()) > 0


def test_simulated_streams_are_as_many_as_minutes_of_each_kind():
    uris = simulated_streams("sim:stream", "test", 3, 2)
    assert uris == [
        "sim:stream?seed=3&split=test&duration_s=60",
        "sim:stream?seed=4&split=test&duration_s=60",
        "sim:stream?seed=3&split=test&duration_s=60&class=none",
        "sim:stream?seed=4&split=test&duration_s=60&class=none",
    ]
    assert simulated_streams("sim:stream?level=hard&class=none", "test", 3, 1) == [
        "sim:stream?level=hard&class=none&seed=3&split=test&duration_s=60"
    ]


def test_a_stream_without_gestures_has_false_activations_alone(folder, capsys):
    truth = ("--data", folder / "stream.npz", "--truth", folder / "nothing.jsonl")
    found = figures(capsys, folder, *truth)["continuous"]
    assert found["negative_streams"] == 1 and "f1_macro" not in found
    assert found["false_activations_negative"]["hours"] == pytest.approx(SECONDS / 3600)
    none = figures(capsys, folder, *truth, "--hold-ms", "1e6")["continuous"]
    assert none["false_activations_negative"]["count"] == 0 and none["settings_from"] == "as asked"


def test_tuning_writes_a_package_that_is_served_with_what_was_chosen(folder, capsys):
    tuned = folder / "tuned.safetensors"
    facts = figures(capsys, folder, *recorded(folder), "--tune", tuned, "--most-false", "1e9")
    package = load_package(tuned)
    record = package.manifest.tuned
    assert facts["tuned"]["written"] == str(tuned) and facts["model_digest"] == package.digest
    assert facts["tuned"]["threshold"] == package.manifest.threshold
    assert record.data == f"{folder / 'stream.npz'} with {folder / 'truth.jsonl'}"
    found = facts["continuous"]
    assert found["settings_from"] == "the model's" and found["f1_macro"] == pytest.approx(record.f1_macro)
    code, out, _ = call(capsys, folder, *recorded(folder), "--model", tuned)
    assert code == 0 and f"threshold {package.manifest.threshold:g}" in out


def test_clips_of_a_set_are_those_of_the_split(folder, capsys):
    data = ("--data", f"npz:{folder / 'clips.npz'}")
    facts = figures(capsys, folder, *data)
    found = facts["clips"]
    assert "continuous" not in facts
    assert found["samples"] == 12 and len(found["accuracy_at"]) == 4 == len(found["nsar"])
    assert found["accuracy_at"][-1] == found["accuracy"] and found["engine"] == "onnx"
    assert figures(capsys, folder, *data, "--clips", "6")["clips"]["samples"] == 6
    said = figures(capsys, folder, "--data", f"npz:{folder / 'clips.npz'}?split=train")["clips"]
    assert said["samples"] == 12
    train = figures(capsys, folder, *data, "--split", "train", "--skip-ratio", "0.5")["clips"]
    assert said["confusion"] == figures(capsys, folder, *data, "--split", "train")["clips"]["confusion"]
    assert train["samples"] == 12 and 0.2 < train["skip_ratio"] < 0.8


@pytest.mark.parametrize("protocol", ["ten-clips", "accumulate-ten"])
def test_a_protocol_of_the_papers_shows_ten_stretches_of_each_clip(folder, capsys, protocol):
    found = figures(capsys, folder, "--data", f"npz:{folder / 'clips.npz'}", "--protocol", protocol)["clips"]
    assert (found["samples"], found["stretches"], found["protocol"]) == (12, 10, protocol)
    assert np.sum(found["confusion"]) + np.sum(found["undecided"]) == 12
    assert protocol == "ten-clips" or not any(found["undecided"])


def test_controls_stand_beside_the_plain_figures(folder, capsys):
    data = ("--data", f"npz:{folder / 'clips.npz'}")
    found = figures(capsys, folder, *data, "--shuffle", "--reset-each-step")["clips"]
    assert set(found["controls"]) == {"shuffled", "reset"}
    assert found["accuracy"] == figures(capsys, folder, *data)["clips"]["accuracy"]
    code, out, _ = call(capsys, folder, *data, "--reset-each-step")
    assert code == 0 and "with state reset at each step" in out and "random order" not in out


def test_the_page_has_the_command_the_digest_and_both_parts(folder, capsys, tmp_path):
    page = tmp_path / "page.md"
    for argv in (recorded(folder), ("--data", f"npz:{folder / 'clips.npz'}", "--protocol", "ten-clips")):
        code, out, _ = call(capsys, folder, *argv, "--markdown", page)
        text = page.read_text()
        assert code == 0 and out.startswith("model small\n")
        assert load_package(folder / "small.safetensors").digest in text
        assert f"--markdown {page}" in text
        rows = [line for line in text.splitlines() if line.startswith("|")]
        for row, after in pairwise(rows):
            assert row.count("|") == after.count("|") or "---" not in after
        assert "## Streams" in text or "## Clips" in text


def test_clipped_membranes_are_said_of_the_engine_that_clips_and_of_no_other(folder, capsys):
    """Beside every figure that they may have changed: streams, tuning, clips, controls, the other model."""
    with open_source(folder / "stream.npz") as source:
        package = load_package(folder / "small.safetensors")
        pipeline = Pipeline(package, source.sensor, RunConfig(engine=INT16))
        assert sum(1 for _ in pipeline.run(source)) == 600
    streams = (*recorded(folder), "--tune", folder / "clipped.safetensors", "--most-false", "1e9")
    clips = ("--data", f"npz:{folder / 'clips.npz'}", "--reset-each-step")
    clips += ("--against", folder / "small.safetensors")
    facts = figures(capsys, folder, *streams, "--engine", INT16)
    assert facts["continuous"]["clipped"] == facts["tuned"]["clipped"] == pipeline.clipped > 0
    assert facts["continuous"]["engine"] == facts["tuned"]["engine"] == INT16
    _, out, _ = call(capsys, folder, *streams, "--engine", INT16)
    assert f"  clipped: {pipeline.clipped:,} membranes by {INT16}\n" in out
    each = f"{pipeline.clipped / 600:.3g} a step"
    assert f"  clipped            {pipeline.clipped:,} membranes by {INT16}, {each}\n" in out

    found = figures(capsys, folder, *clips, "--engine", INT16)["clips"]
    assert found["clipped"] == found["against_clipped"] > 0
    assert 0 < found["controls"]["reset"]["clipped"] < found["clipped"]  # nothing is carried over
    _, out, _ = call(capsys, folder, *clips, "--engine", INT16)
    each = f"{found['clipped'] / (12 * 4):.3g} a step"
    assert f"clipped            {found['clipped']:,} membranes by {INT16}, {each}\n" in out
    assert f"; clipped {found['controls']['reset']['clipped']:,} membranes by {INT16}\n" in out
    assert f"; in that one clipped {found['against_clipped']:,} membranes by {INT16}\n" in out

    for argv in (streams, clips):
        facts = figures(capsys, folder, *argv, "--engine", "onnx")
        assert (facts.get("clips") or facts["continuous"])["clipped"] == 0
        assert "clipped" not in call(capsys, folder, *argv, "--engine", "onnx")[1].replace("clipped.safe", "")


def test_what_cannot_be_judged_is_refused_in_one_line(folder, capsys):
    clips, stream = f"npz:{folder / 'clips.npz'}", folder / "stream.npz"
    odd = folder / "odd.jsonl"
    odd.write_text('{"label": "fly", "onset_us": 0, "offset_us": 5}')
    refusals = {
        "its labels are not those of sim:gesture; wanted --data": (),
        "--split foo: choose from test": ("--split", "foo"),
        "no clip is of split validation; found test, train": ("--data", clips, "--split", "validation"),
        "--protocol majority: choose from first, ten-clips": ("--data", clips, "--protocol", "majority"),
        "--skip-ratio 0.9: model small was trained for at most 0.6": ("--data", clips, "--skip-ratio", "0.9"),
        "--threshold: threshold must be 0 to 1, got 3": (*recorded(folder), "--threshold", "3"),
        "--truth": ("--truth", folder / "truth.jsonl"),
        "odd.jsonl line 1: label 'fly'": ("--data", stream, "--truth", odd),
        "does not say what happens in it; wanted --truth": ("--data", stream, "--continuous"),
        "names its split; wanted it without": (
            *("--model", "gesture", "--tune", folder / "x.safetensors"),
            *("--data", "sim:stream?split=test", "--continuous"),
        ),
        "its classes hand_clap": ("--data", "sim:gesture"),
        "nothing is performed in these streams": (
            *("--data", stream, "--truth", folder / "nothing.jsonl", "--tune", folder / "x.safetensors"),
        ),
    }
    for wanted, argv in refusals.items():
        code, out, err = call(capsys, folder, *argv)
        assert (code, out) == (2, ""), argv
        assert err.startswith("spikeline: ") and err.count("\n") == 1 and wanted in err, err
    assert not (folder / "x.safetensors").exists()
