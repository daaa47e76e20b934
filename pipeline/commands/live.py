"""spikeline live SOURCE: a camera, on the clock."""

from typing import Annotated

import typer

from spikeline.drivers import base_of, keeps_time
from spikeline.pipeline.clean_up_settings import departure
from spikeline.pipeline.commands.options import (
    Clean,
    Early,
    EngineName,
    Gate,
    HoldMs,
    Json,
    Model,
    Record,
    SensorSize,
    Threads,
    Threshold,
    hold_us,
    say,
    sensor_of,
)
from spikeline.pipeline.commands.replay import clean_up_lines, line, print_json, window_object
from spikeline.pipeline.commands.session import DEFAULT_MODEL, Session, open_pipeline
from spikeline.pipeline.commands.stopping import stopping
from spikeline.pipeline.messages import DEFAULT_ENDPOINT
from spikeline.pipeline.run import RunConfig


def live(
    source: Annotated[
        str, typer.Argument(help="dv://host:port, sim:gesture?seed=1, or a recording played in real time.")
    ],
    model: Model = DEFAULT_MODEL,
    engine: EngineName = "auto",
    threads: Threads = 1,
    early: Early = False,
    fit: Annotated[
        str, typer.Option(help="For another sensor: refuse, crop, pad or scale.", show_default="the model's")
    ] = "",
    threshold: Threshold = None,
    hold_ms: HoldMs = None,
    clean: Clean = "",
    gate: Gate = 0.0,
    publish: Annotated[
        str, typer.Option(help="Publish on this ZeroMQ endpoint; empty is nowhere.")
    ] = DEFAULT_ENDPOINT,
    stream: Annotated[str, typer.Option(help="This stream's name on the bus.")] = "main",
    record: Record = None,
    seconds: Annotated[float, typer.Option(min=0, help="Stop after so long; 0 is never.")] = 0.0,
    sensor: SensorSize = "",
    json: Json = False,
) -> None:
    """Run a model on a camera, on the clock: predictions on the bus, latency measured from the event.

    Prints a line when the label changes; Ctrl-C ends it cleanly, with the account, the latency and,
    with --record, a file that replays to the same digest.

    Example: spikeline live dv://127.0.0.1:7777 --record session.mcap
    """
    session = open_pipeline(
        endless(source),
        model,
        config=RunConfig(
            engine=engine,
            fit=fit,
            threshold=threshold,
            hold_us=hold_us(hold_ms),
            gate=gate,
            threads=threads,
            early=early,
            clean=clean,
        ),
        publish=publish or None,
        stream=stream,
        sensor=sensor_of(sensor),
        live=True,
        record=record,
        speed=0.0 if keeps_time(source) else 1.0,
    )
    say(departure(session.package.manifest.clean_up, clean))
    with session, stopping(session) as signals:
        if seconds:
            session.deadline_ns = session.pipeline.now_ns() + seconds * 1e9
        for result in session:
            if json:
                print_json(window_object(result))
            elif result.segment in ("new", "end"):
                print(line(result, session.start_us), flush=True)
    summary = session.summary()
    if json:
        print_json(summary)
    else:
        print_live(session)
    if signals:
        raise typer.Exit(128 + signals[0])
    if code := session.exit_code():
        raise typer.Exit(code)


def endless(source: str) -> str:
    """A simulated camera goes on until it is stopped, as a real one does, unless it says otherwise."""
    base = base_of(source)
    if base.startswith("sim:") and "duration_s" not in base:
        return source + ("&" if "?" in base else "?") + "duration_s=0"
    return source


def print_live(session: Session) -> None:
    """The account, how late predictions were, and the digest."""
    summary = session.summary()
    account = ", ".join(f"{n:,} {name}" for name, n in summary["account"].items() if n)
    print(f"{summary['events']:,} events in {summary['windows']:,} windows: {account}")
    if dropped := summary["source"]["dropped"]:
        print(f"{dropped:,} events were dropped before they reached the pipeline")
    for text in clean_up_lines(summary["clean_up"]):
        print(text)
    print(latency_table(summary["latency_us"]))
    print(f"{summary['late_windows']} windows were later than one window")
    if summary["clipped"]:
        print(f"{summary['clipped']:,} membranes clipped by {summary['engine']}")
    print(f"digest {summary['digest']}")


def latency_table(rows: dict[str, dict[str, float]]) -> str:
    """Percentiles over events, milliseconds, a line per stage."""
    columns = list(next(iter(rows.values())))
    lines = ["latency from the event, ms" + "".join(f"{c:>10s}" for c in columns)]
    for name, row in rows.items():
        lines.append(f"  {name:24s}" + "".join(f"{row[c] / 1e3:10.2f}" for c in columns))
    return "\n".join(lines)
