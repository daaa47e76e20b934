"""Threads and early events, from the command line to the engine, and where they are refused."""

import json

import msgspec
import numpy as np
import pytest
from test_run import GRAPH, PACKAGE, SENSOR

from spikeline.drivers import open_source
from spikeline.drivers.recording import write_npz
from spikeline.models.graph import Graph
from spikeline.pipeline.commands import run
from spikeline.pipeline.commands.evaluate_streams import at_a_time
from spikeline.pipeline.events import EventPacket, Sensor
from spikeline.pipeline.package import Package, Skip, save_package
from spikeline.pipeline.run import Pipeline, PipelineError, RunConfig

from helpers import small_graph, small_manifest

SERVING = ("replay", "live", "bench", "evaluate")


def windowed():
    """A network that could run one step at a time, run as a window."""
    document = msgspec.structs.replace(GRAPH.document, form="window", horizon="tumbling")
    graph = Graph(document, GRAPH.tensors)
    return Package(small_manifest(graph, skip=Skip("zero", 0.5)), graph, "0" * 64)


@pytest.mark.parametrize(
    ("package", "config", "found"),
    [
        (PACKAGE, RunConfig(engine="onnx", threads=2), "found 2 for engine onnx, which has one"),
        (PACKAGE, RunConfig(engine="torch", threads=8), "found 8 for engine torch, which has one"),
        (PACKAGE, RunConfig(threads=2), r"found 2 for engine onnx \(chosen by auto\), which has one"),
        (windowed(), RunConfig(engine="sparse", threads=2), "found 2 for a network of form window"),
        (PACKAGE, RunConfig(threads=0), "found 0; wanted 1 or more"),
        (PACKAGE, RunConfig(threads=-3), "found -3; wanted 1 or more"),
    ],
)
def test_threads_that_would_have_nothing_to_do_are_refused(package, config, found):
    with pytest.raises(PipelineError, match=f"^threads: {found}") as error:
        Pipeline(package, SENSOR, config)
    assert "\n" not in str(error.value) and "wanted" in str(error.value)


def test_early_says_whose_choice_the_engine_was():
    with pytest.raises(PipelineError, match=r"early: found engine onnx \(chosen by auto\) on a network"):
        Pipeline(PACKAGE, SENSOR, RunConfig(early=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """small.safetensors, events.npz of 0.3 s, nothing.jsonl of what happens in it, clips.npz of 6 clips."""
    folder = tmp_path_factory.mktemp("settings")
    graph = small_graph(2)
    save_package(folder / "small.safetensors", small_manifest(graph), graph)
    rng = np.random.default_rng(4)
    n = 3_000
    t = np.sort(rng.integers(0, 300_000, n)).astype(np.int64)
    x, y = rng.integers(0, 64, (2, n)).astype(np.uint16)
    p = rng.integers(0, 2, n).astype(np.uint8)
    write_npz(folder / "events.npz", [EventPacket(t, x, y, p, 300_000, 0, 0)], Sensor(64, 64))
    (folder / "nothing.jsonl").write_text("")
    clips = {"offsets": np.arange(7) * 500, "labels": np.arange(6) % 3, "names": ["left", "right", "none"]}
    np.savez(folder / "clips.npz", t=np.tile(t[:500], 6), x=x, y=y, p=p, width=64, height=64, **clips)
    return folder


def words(folder, command, *options):
    """The command on events.npz: the shortest run of it that there is."""
    files = {
        "replay": ("replay", folder / "events.npz"),
        "live": ("live", folder / "events.npz", "--publish", ""),
        "bench": ("bench", "latency", folder / "events.npz", "--seconds", "0.3"),
        "evaluate": ("evaluate", "--data", folder / "events.npz", "--truth", folder / "nothing.jsonl"),
        "clips": ("evaluate", "--data", f"npz:{folder / 'clips.npz'}", "--cache", folder / "cache"),
    }
    return [str(word) for word in (*files[command], "--model", folder / "small.safetensors", *options)]


def refused(capsys, argv):
    code = run(argv)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "") and err.startswith("spikeline: ") and err.count("\n") == 1, err
    return err


@pytest.mark.parametrize("command", [*SERVING, "clips"])
def test_every_command_that_serves_hands_threads_on_and_refuses_them_in_one_line(command, folder, capsys):
    onnx = ("--engine", "onnx", "--threads")
    assert "threads: found 2 for engine onnx" in refused(capsys, words(folder, command, *onnx, "2"))
    assert "--threads" in refused(capsys, words(folder, command, *onnx, "0"))
    assert "--threads" in refused(capsys, words(folder, command, *onnx, "two"))
    assert run(words(folder, command, *onnx, "1")) == 0


@pytest.mark.parametrize("command", SERVING)
def test_every_command_that_serves_hands_early_on_and_refuses_it_in_one_line(command, folder, capsys):
    found = refused(capsys, words(folder, command, "--engine", "onnx", "--early"))
    assert "early: found engine onnx on a network that takes whole frames; wanted the sparse engine" in found


@pytest.mark.parametrize("engine", ["onnx", "sparse"])
def test_clips_are_whole_frames_and_never_early(engine, folder, capsys):
    found = refused(capsys, words(folder, "clips", "--engine", engine, "--early"))
    assert "--early: found clips alone, which are whole frames; wanted streams" in found


@pytest.mark.parametrize("engine", ["sparse", "sparse-int16"])
def test_threads_and_early_change_no_digest_and_are_recorded(engine, folder, tmp_path, capsys):
    digests = set()
    for threads, early in ((1, False), (2, False), (1, True), (3, True)):
        kept = tmp_path / f"{threads}{early}.mcap"
        options = ["--threads", threads] * (threads > 1) + ["--early"] * early
        argv = words(folder, "replay", "--engine", engine, "--json", "--record", kept, *options)
        assert run(argv) == 0
        summary = json.loads(capsys.readouterr().out.splitlines()[-1])
        digests.add(summary["digest"])
        assert summary["engine"] == engine and summary["windows"] == 30
        with open_source(kept) as source:
            assert (source.run.settings["threads"], source.run.settings["early"]) == (threads, early)
    assert len(digests) == 1


@pytest.mark.parametrize("command", ["live", "bench", "evaluate", "clips"])
def test_with_the_sparse_engine_they_are_taken(command, folder, capsys):
    options = ("--engine", "sparse", "--threads", "2", *([] if command == "clips" else ["--early"]), "--json")
    assert run(words(folder, command, *options)) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    part = facts.get("clips") or facts.get("continuous") or facts
    assert part["engine"] == "sparse"


def test_streams_at_a_time_leave_cores_for_the_threads_of_each(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    asked = [(0, 1), (0, 2), (0, 9), (5, 2)]  # --workers, --threads
    assert [at_a_time(20, workers, threads) for workers, threads in asked] == [8, 4, 1, 5]
    assert at_a_time(3, 0, 1) == 3
