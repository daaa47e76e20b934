"""spikeline replay SOURCE: run a recording, or any source, through a model."""

import sys
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
import typer

from spikeline.pipeline.clean_up_settings import departure
from spikeline.pipeline.commands.options import (
    Clean,
    Early,
    EngineName,
    Gate,
    HoldMs,
    Json,
    Model,
    Publish,
    Record,
    SensorSize,
    SourceArgument,
    Threads,
    Threshold,
    hold_us,
    say,
    sensor_of,
)
from spikeline.pipeline.commands.session import DEFAULT_MODEL, Session, open_pipeline
from spikeline.pipeline.commands.stopping import stopping
from spikeline.pipeline.run import RunConfig, WindowResult


def replay(
    source: SourceArgument,
    model: Model = DEFAULT_MODEL,
    engine: EngineName = "auto",
    threads: Threads = 1,
    early: Early = False,
    speed: Annotated[float, typer.Option(min=0, help="1 is real time, 0 is no waiting.")] = 0.0,
    packet_events: Annotated[int, typer.Option(min=0, help="Packets of at most so many events.")] = 0,
    fit: Annotated[
        str, typer.Option(help="For another sensor: refuse, crop, pad or scale.", show_default="the model's")
    ] = "",
    readout: Annotated[str, typer.Option(help="window, sliding or ema.", show_default="the model's")] = "",
    threshold: Threshold = None,
    hold_ms: HoldMs = None,
    clean: Clean = "",
    gate: Gate = 0.0,
    start: Annotated[float, typer.Option(min=0, help="Begin so many seconds after the first event.")] = 0.0,
    stop: Annotated[float | None, typer.Option(min=0, help="End so many seconds after it.")] = None,
    loop: Annotated[int, typer.Option(min=0, help="How often; 0 is for ever.")] = 1,
    sensor: SensorSize = "",
    publish: Publish = "",
    record: Record = None,
    json: Json = False,
) -> None:
    """Run a recording, or any source, through a model.

    Prints a line when the label changes and a summary; with --json one object per window. The digest
    is the same however the recording is cut into packets and however fast it is played.

    Example: spikeline replay hand.aedat4 --speed 1 --publish tcp://127.0.0.1:5556
    """
    session = open_pipeline(
        source,
        model,
        config=RunConfig(
            engine=engine,
            fit=fit,
            readout=readout,
            threshold=threshold,
            hold_us=hold_us(hold_ms),
            gate=gate,
            threads=threads,
            early=early,
            clean=clean,
        ),
        publish=publish or None,
        record=record,
        sensor=sensor_of(sensor),
        packet_events=packet_events or None,
        speed=speed,
        start_s=start,
        stop_s=stop,
        loop=loop,
    )
    say(departure(session.package.manifest.clean_up, clean))
    with session, stopping(session) as signals:
        for result in session:
            if json:
                print_json(window_object(result))
            elif result.segment in ("new", "end"):
                print(line(result, session.start_us), flush=True)
    summary = session.summary()
    if json:
        print_json(summary)
    else:
        print_summary(session, summary)
    if signals:
        raise typer.Exit(128 + signals[0])
    if code := session.exit_code():
        raise typer.Exit(code)


def window_object(r: WindowResult) -> dict[str, Any]:
    """A window as `replay --json` prints it; host times stand under `timing`."""
    return {
        "seq": r.seq,
        "epoch": r.epoch,
        "t_start_us": r.t_start_us,
        "t_end_us": r.t_end_us,
        "label": r.label,
        "score": r.score,
        "scores": r.scores.tolist(),
        "warming": r.warming,
        "segment": r.segment,
        "spikes": r.spikes,
        "synops": r.synops,
        "mac": r.mac,
        "skipped": r.skipped,
        "events": r.events,
        "processed": r.processed,
        "timing": {name.replace("_ns", "_us"): ns / 1e3 for name, ns in r.timing._asdict().items()},
    }


def line(r: WindowResult, start_us: int) -> str:
    """One window for a person: seconds since the first window began, label, score, spikes, step time."""
    label = "-" if r.label is None else r.label.replace("_", " ")
    seconds, spikes = (r.t_end_us - start_us) / 1e6, sum(r.spikes.values())
    warming = "  warming up" if r.warming else ""
    step_ms = r.timing.infer_ns / 1e6
    return f"{seconds:8.2f} s  {label:28s} {r.score:4.2f}  {spikes:7,d} spikes  {step_ms:6.2f} ms{warming}"


def print_summary(session: Session, summary: dict[str, Any]) -> None:
    a = session.pipeline.accounts
    print(
        f"{summary['events']:,} events, {summary['windows']:,} windows,"
        f" {summary['predictions']:,} predictions by {summary['model']} on {summary['engine']}"
    )
    left = {name: n for name, n in asdict(a).items() if n and not name.startswith(("processed", "windows"))}
    if left:
        print("not in a prediction: " + ", ".join(f"{n:,} {name}" for name, n in left.items()))
    for text in clean_up_lines(summary["clean_up"]):
        print(text)
    if summary["clipped"]:
        print(f"{summary['clipped']:,} membranes clipped by {summary['engine']}")
    print(f"digest {summary['digest']}")


def clean_up_lines(rows: list[dict[str, Any]]) -> list[str]:
    """A line per clean-up stage: what it left out, and the pixels it masked."""
    lines = []
    for row in rows:
        pixels = ", ".join(f"({x}, {y})" for x, y in row.get("pixels", []))
        masked = f"; masked {pixels}" if pixels else ""
        lines.append(f"{row['stage']} left out {row['filtered']:,}{masked}")
    return lines


def print_json(thing: dict[str, Any]) -> None:
    """One object on a line of stdout."""
    sys.stdout.write(msgspec.json.encode(thing).decode() + "\n")
