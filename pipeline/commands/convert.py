"""spikeline convert SOURCE FILE: any recording as any other format, with an account of what it cost."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from spikeline.drivers import open_source
from spikeline.drivers.writers import FORMATS, Writer, open_writer, writer_format
from spikeline.pipeline.commands.options import Json, SensorSize, SourceArgument, exit_code, sensor_of
from spikeline.pipeline.commands.progress import bar
from spikeline.pipeline.commands.replay import print_json
from spikeline.pipeline.events import EventPacket, Sensor, Source


def convert(
    source: SourceArgument,
    file: Annotated[Path, typer.Argument(help="The new file; nothing is replaced.", show_default=False)],
    to: Annotated[
        str, typer.Option(help=f"Its format: {', '.join(FORMATS)}.", show_default="by the file's name")
    ] = "",
    from_zero: Annotated[
        bool,
        typer.Option("--from-zero", help="Count times from the first event, for EVT2, EVT3, DAT and ES."),
    ] = False,
    sensor: SensorSize = "",
    json: Json = False,
) -> None:
    """Write any source as a file of another format, and say what was clamped, refused or lost.

    Times, coordinates and polarities stay exactly as they are; what the format cannot hold is refused,
    and then there is no file. Only .mcap and .npz keep clock marks and epochs. The clocks of EVT2, EVT3,
    DAT and Event Stream begin at 0 and are short: --from-zero subtracts the first event's time.

    Example: spikeline convert hand.aedat4 hand.mcap
    """
    form, size = writer_format(file, to), sensor_of(sensor)
    origin_us = first_time(source, size) if from_zero else 0
    with open_source(source, sensor=size) as opened:
        opener = partial(open_writer, file, opened.sensor, format=form, origin_us=origin_us)
        copied = copy(opened, opener, source)
    copies = form == "mcap" and hasattr(opened, "said")  # from MCAP to MCAP, predictions and all
    skips = 0 if copies else len(getattr(opened, "decisions", {}))
    facts = {
        "source": source,
        "format": opened.format,
        "file": str(file),
        "to": form,
        "bytes": os.path.getsize(file),
        "origin_us": origin_us,
        **copied,
        "skips_not_kept": skips,
        "report": asdict(opened.report()),
    }
    if json:
        print_json(facts)
    else:
        print_facts(facts)
    if code := exit_code(opened.report()):
        raise typer.Exit(code)


def first_time(uri: str, sensor: Sensor | None) -> int:
    """The time of the source's first event; 0 if there is none."""
    with open_source(uri, sensor=sensor) as source:
        return next((int(packet.t[0]) for packet in source if len(packet)), 0)


def copy(source: Source, opener: Callable[[], Writer], name: str) -> dict[str, Any]:
    """Everything the source gives into the writer, with progress on stderr; or no file at all."""
    first_us = last_us = None
    events = 0
    size = os.path.getsize(name) if os.path.isfile(name) else None
    with bar() as progress:
        task = progress.add_task("bytes read", total=size)
        for packet in written(source, opener):
            if len(packet):
                first_us = int(packet.t[0]) if first_us is None else first_us
                last_us = int(packet.t[-1])
                events += len(packet)
            progress.update(task, completed=source.report().bytes)
    return {"events": events, "t_first_us": first_us, "t_last_us": last_us}


def written(source: Source, opener: Callable[[], Writer]) -> Iterator[EventPacket]:
    """The source's packets, each after it was written. At the end the file is there, or else not at all."""
    events, writer = 0, opener()
    try:
        if about := getattr(writer, "about", None):
            about(source)
        for packet in source:
            writer.add(packet)
            events += len(packet)
            yield packet
        kept = writer.close()
    except BaseException:
        writer.discard()
        raise
    assert kept == events, f"{kept} events written of {events}"


def print_facts(facts: dict[str, Any]) -> None:
    """For a person: one line on what was written, one on what is not as it was."""
    report, to, origin_us = facts["report"], FORMATS[facts["to"]], facts["origin_us"]
    span = (facts["t_last_us"] - facts["t_first_us"]) / 1e6 if facts["events"] else 0.0
    print(
        f"{facts['file']}: {to.title}, {facts['events']:,} events over {span:,.6g} s, "
        f"{facts['bytes']:,} bytes"
    )
    counts = {
        "clamped (late by at most 1 ms)": report["reordered"],
        "refused": report["refused"],
        "left out as asked": report["filtered"],
        "dropped before they were recorded": report["dropped"],
    }
    said = [f"{n:,} {what}" for what, n in counts.items() if n]
    print("not as in the source: " + (", ".join(said) or "nothing"))
    if origin_us:
        print(f"times are counted from {origin_us} us")
    if report["epochs"] > 1 and not to.marks:
        print(f"{report['epochs']} clocks (epochs) became one: {to.title} does not keep them")
    if skips := facts["skips_not_kept"]:
        print(f"{skips:,} skipped windows are not kept: a replay of the copy runs them")
