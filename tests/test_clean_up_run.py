"""Clean-up inside a run: windows, accounts, latency, packages, the command line and the bus."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.drivers import open_source
from spikeline.drivers.recording import write_npz
from spikeline.pipeline.binning import FitError
from spikeline.pipeline.clean_up import CleanUp
from spikeline.pipeline.clean_up_settings import CleanUpError, parse
from spikeline.pipeline.commands import run
from spikeline.pipeline.commands.announce import Announcer
from spikeline.pipeline.commands.session import open_pipeline
from spikeline.pipeline.events import EventPacket, Sensor
from spikeline.pipeline.latency import LatencyBook
from spikeline.pipeline.messages import Status
from spikeline.pipeline.package import Package, PackageError, load_package, save_package
from spikeline.pipeline.run import Pipeline, RunConfig
from spikeline.pipeline.training.frames import CutConfig, clip_frames
from spikeline.pipeline.training.sets import open_set

from helpers import small_graph, small_manifest
from strategies import cuts, event_streams, packets_of

SENSOR = Sensor(64, 64)
GRAPH = small_graph(1)
PACKAGE = Package(small_manifest(GRAPH), GRAPH, "0" * 64)
CHAIN = "background(us=4000),refractory(us=1000),polarity(on)"


def played(packets, clean="", package=PACKAGE, sensor=SENSOR):
    pipeline = Pipeline(package, sensor, RunConfig(clean=clean))
    results = [(r.t_start_us, r.t_end_us, r.events, r.frame.copy()) for r in pipeline.run(packets)]
    return pipeline, results


@settings(deadline=None, max_examples=40)
@given(event_streams(width=12, height=12, gap_us=2_000, most=300), st.data())
def test_one_digest_and_one_account_however_the_stream_is_cut(stream, data):
    t = stream[0]
    until_us = int(t[-1]) + 25_000 if len(t) else 25_000
    runs = [
        played(packets_of(*stream, cut, until_us), CHAIN)[0]
        for cut in ([], data.draw(cuts(len(t))), range(len(t)))
    ]
    assert len({pipeline.digests.full for pipeline in runs}) == 1
    assert runs[0].accounts == runs[1].accounts == runs[2].accounts
    a = runs[0].accounts
    assert a.received == len(t) and a.filtered == runs[0].clean_up.filtered


@settings(deadline=None, max_examples=30)
@given(event_streams(width=12, height=12, gap_us=2_000, most=300))
def test_windows_stay_where_they_are_and_hold_what_is_kept(stream):
    """The grid is that of the run without clean-up, also where all of the first events are noise."""
    t = stream[0]
    until_us = int(t[-1]) + 25_000 if len(t) else 25_000
    _, bare = played(packets_of(*stream, [], until_us))
    _, clean = played(packets_of(*stream, [], until_us), CHAIN)
    assert [r[:2] for r in clean] == [r[:2] for r in bare]
    kept = CleanUp(parse(CHAIN), SENSOR)
    kept_t = np.concatenate([kept.clean(p).t for p in packets_of(*stream, [], until_us)] or [t])
    for start_us, end_us, events, frame in clean:
        assert events == frame.sum() == ((kept_t >= start_us) & (kept_t < end_us)).sum()
        assert not frame[0].any()


def test_latency_is_that_of_the_events_kept():
    rng = np.random.default_rng(4)
    t = np.sort(rng.integers(0, 100_000, 3_000)).astype(np.int64)
    x, y = rng.integers(0, 20, (2, 3_000)).astype(np.uint16)
    packets = list(packets_of(t, x, y, (x % 2).astype(np.uint8), range(0, 3_000, 100), 100_000, 0))
    pipeline = Pipeline(PACKAGE, SENSOR, RunConfig(clean=CHAIN))
    pipeline.latency = book = LatencyBook()
    kept = CleanUp(parse(CHAIN), SENSOR)
    for result in pipeline.run(packets):
        assert book.median_wait_us(result.t_end_us) <= 10_000
        book.window(result.t_end_us, 0, pipeline.stamps, skipped=False)
    waits = [(-int(v) % 10_000) or 10_000 for packet in packets for v in kept.clean(packet).t]
    assert book.total.counts.sum() == pipeline.accounts.processed == len(waits)
    assert book.stages["wait"].max_ns == max(waits) * 1_000


def test_a_crop_makes_another_sensor_fit_and_without_it_the_size_is_refused():
    package = Package(small_manifest(GRAPH, sensor=(64, 64)), GRAPH, "0" * 64)
    one = np.array([40], np.uint16)
    packet = EventPacket(np.array([5], np.int64), one, one, one.astype(np.uint8) * 0, 20_000, 0, 0)
    with pytest.raises(FitError, match="sensor is 100x80"):
        played([packet], package=package, sensor=Sensor(100, 80))
    pipeline, results = played([packet], "crop(x=36,y=16,w=64,h=64)", package, Sensor(100, 80))
    assert results[0][3][0, 24 // 4, 4 // 4] == 1
    assert pipeline.accounts.processed == 1


def test_a_package_is_served_with_its_own_clean_up(tmp_path):
    manifest = small_manifest(GRAPH, clean_up=["flip(x)", "polarity(on)"])
    save_package(tmp_path / "m.safetensors", manifest, GRAPH)
    package = load_package(tmp_path / "m.safetensors")
    assert str(Pipeline(package, SENSOR).clean_up) == "flip(x),polarity(on)"
    for asked, served in {
        "none": "",
        "transpose": "transpose",
        "+background(us=9)": "background(us=9),flip(x),polarity(on)",
    }.items():
        assert str(Pipeline(package, SENSOR, RunConfig(clean=asked)).clean_up) == served
    with pytest.raises(CleanUpError, match="no stage 'blur'"):
        Pipeline(package, SENSOR, RunConfig(clean="blur"))


@pytest.mark.parametrize(
    ("stage", "says"),
    [("blur", "no stage 'blur'"), ("flip(x),transpose", "wanted one stage"), ("", "wanted one")],
)
def test_a_package_with_a_clean_up_that_cannot_be_run_is_refused(tmp_path, stage, says):
    with pytest.raises(PackageError, match=f"clean_up: .*{says}"):
        save_package(tmp_path / "m.safetensors", small_manifest(GRAPH, clean_up=[stage]), GRAPH)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """plain and flipped.safetensors (trained with clean-up), noisy.npz with a hot pixel at (9, 7)."""
    folder = tmp_path_factory.mktemp("clean")
    graph = small_graph(2)
    save_package(folder / "plain.safetensors", small_manifest(graph), graph)
    save_package(folder / "flipped.safetensors", small_manifest(graph, clean_up=["flip(x)"]), graph)
    rng = np.random.default_rng(9)
    t = np.concatenate([rng.integers(0, 3_000_000, 4_000), np.arange(0, 3_000_000, 10_000)])
    x, y = rng.integers(0, 64, (2, 4_300)).astype(np.uint16)
    x[4_000:], y[4_000:] = 9, 7
    order = np.argsort(t, kind="stable")
    p = rng.integers(0, 2, 4_300).astype(np.uint8)
    columns = [column[order] for column in (t.astype(np.int64), x, y, p)]
    write_npz(folder / "noisy.npz", packets_of(*columns, [1_000, 3_000], 3_000_000, 0), SENSOR)
    return folder


def call(capsys, *argv):
    code = run([str(a) for a in argv])
    return code, *capsys.readouterr()


def replayed(capsys, folder, *options, model="plain"):
    command = ("replay", folder / "noisy.npz", "--model", folder / f"{model}.safetensors")
    code, out, err = call(capsys, *command, *options)
    assert code == 0
    return out, err


def test_the_command_line_cleans_and_the_summary_says_what_each_stage_left_out(folder, capsys):
    chain = "hot-pixels,background(us=5000)"
    out, err = replayed(capsys, folder, "--clean", chain, "--json")
    summary = json.loads(out.splitlines()[-1])
    hot, background = summary["clean_up"]
    assert (
        hot["stage"] == "hot-pixels(hz=20,times=10)" and hot["pixels"] == [[9, 7]] and hot["filtered"] >= 100
    )
    assert background["stage"] == "background(us=5000)" and background.keys() == {"stage", "filtered"}
    account = summary["account"]
    assert account["filtered"] == hot["filtered"] + background["filtered"]
    assert summary["events"] == 4_300 == account["processed"] + account["filtered"] + account["unfinished"]
    assert (
        "clean-up is hot-pixels(hz=20,times=10),background(us=5000); the model was trained with none" in err
    )
    out, _ = replayed(capsys, folder, "--clean", chain)
    assert f"hot-pixels(hz=20,times=10) left out {hot['filtered']}; masked (9, 7)" in out
    assert f"background(us=5000) left out {background['filtered']:,}" in out


def test_one_digest_with_clean_up_however_it_is_played(folder, capsys):
    digests = set()
    for options in ((), ("--packet-events", "1"), ("--packet-events", "100")):
        out, _ = replayed(capsys, folder, "--clean", CHAIN + ",rate(limit=900)", "--json", *options)
        digests.add(json.loads(out.splitlines()[-1])["digest"])
    assert len(digests) == 1


def test_a_trained_clean_up_is_served_without_a_word_and_a_departure_with_one(folder, capsys):
    out, err = replayed(capsys, folder, "--json", model="flipped")
    summary = json.loads(out.splitlines()[-1])
    assert summary["clean_up"] == [{"stage": "flip(x)", "filtered": 0}] and err == ""
    out, err = replayed(capsys, folder, "--json", "--clean", "none", model="flipped")
    assert json.loads(out.splitlines()[-1])["clean_up"] == []
    assert err == "spikeline: clean-up is none; the model was trained with flip(x)\n"


def test_a_wrong_clean_up_is_refused_in_one_line(folder, capsys):
    options = (folder / "noisy.npz", "--model", folder / "plain.safetensors", "--clean", "crop(w=100,h=9)")
    code, out, err = call(capsys, "replay", *options)
    assert (code, out) == (2, "")
    assert err == "spikeline: crop(x=0,y=0,w=100,h=9): the sensor before it is 64x64; wanted a part of that\n"


def test_a_live_run_accounts_for_what_clean_up_leaves_out(folder):
    config = RunConfig(clean=CHAIN)
    session = open_pipeline(
        folder / "noisy.npz", folder / "plain.safetensors", config=config, live=True, speed=20.0
    )
    with session:
        for _ in session:
            assert session.account().queued >= 0
    account = session.account()
    assert account.received == 4_300 and account.queued == 0
    assert session.pipeline.latency.total.counts.sum() == account.processed > 0
    assert account.filtered == session.pipeline.clean_up.filtered > 0


def test_the_status_on_the_bus_has_a_count_per_stage(folder):
    sent = []

    class Bus:
        def publish(self, kind, **fields):
            sent.append((kind, fields))

    with open_pipeline(
        folder / "noisy.npz", folder / "plain.safetensors", config=RunConfig(clean=CHAIN)
    ) as session:
        for _ in session:
            pass
        Announcer(Bus())._status(session, "running")
    kind, fields = sent[0]
    rows = {row.stage: row.filtered for row in fields["clean_up"]}
    assert kind is Status and list(rows) == [str(stage) for stage in parse(CHAIN)]
    assert sum(rows.values()) == fields["events"].filtered and fields["events"].balanced


def test_a_recording_keeps_every_event_and_says_what_clean_up_did(folder, tmp_path):
    config = RunConfig(clean="hot-pixels,polarity(on)")
    with open_pipeline(
        folder / "noisy.npz", folder / "plain.safetensors", config=config, record=tmp_path / "a.mcap"
    ) as session:
        for _ in session:
            pass
    with open_source(tmp_path / "a.mcap") as recording:
        assert sum(map(len, recording)) == 4_300
        assert recording.run.clean_up == ["hot-pixels(hz=20,times=10)", "polarity(on)"]
        assert recording.run.settings["clean"] == "hot-pixels,polarity(on)"
        assert recording.end.clean_up == session.summary()["clean_up"]
        assert recording.end.clean_up[0]["pixels"] == [[9, 7]]
    with open_pipeline(tmp_path / "a.mcap", folder / "plain.safetensors", config=config) as replay:
        for _ in replay:
            pass
    assert replay.summary()["digest"] == session.summary()["digest"]


def test_training_clips_are_cleaned_as_the_model_will_be_served():
    data = open_set("sim:gesture?split=train&clips=4&duration_s=0.2")
    bare, turned, cropped = (
        clip_frames(data, data.clips[3], cut)[0]
        for cut in (
            CutConfig(),
            CutConfig(clean_up=("flip(x,y)", "polarity(swap)")),
            CutConfig(clean_up=("crop(x=32,y=32,w=64,h=64)",), grid=(16, 16)),
        )
    )
    assert bare.any()
    np.testing.assert_array_equal(turned, bare[:, ::-1, ::-1, ::-1])
    np.testing.assert_array_equal(cropped, bare[:, :, 8:24, 8:24])
