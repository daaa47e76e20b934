"""Options that several commands share, and how they become sources, settings and exit codes."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from spikeline.pipeline.config import ConfigError
from spikeline.pipeline.events import Sensor, SourceReport

SourceArgument = Annotated[
    str, typer.Argument(help="A recording, a glob, `-`, or sim:gesture?seed=1.", show_default=False)
]
Model = Annotated[str, typer.Option(help="A shipped model's name or a .safetensors file.")]
EngineName = Annotated[str, typer.Option("--engine", help="auto, onnx, torch, sparse or sparse-int16.")]
Threads = Annotated[int, typer.Option(min=1, help="Of the sparse engine, for layers that are large enough.")]
Early = Annotated[
    bool, typer.Option("--early", help="Add events to the network as they arrive; with the sparse engine.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line on stdout.")]
Publish = Annotated[
    str, typer.Option(help="Publish on this ZeroMQ endpoint, e.g. tcp://127.0.0.1:5556.", show_default=False)
]
Record = Annotated[
    Path | None,
    typer.Option(help="Keep packets, decisions and predictions in this .mcap (or .npz).", show_default=False),
]
Clean = Annotated[
    str,
    typer.Option(
        help="Clean-up before the windows instead of the model's, e.g. background(us=2000),hot-pixels;"
        " +... before the model's; none.",
        show_default="the model's",
    ),
]
Gate = Annotated[
    float,
    typer.Option(min=0, max=0.95, help="Let the model's frame gate skip about this share of the windows."),
]
Threshold = Annotated[
    float | None, typer.Option(help="No label below this score.", show_default="the model's")
]
HoldMs = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="A label must stand so long to be announced, and be gone so long to end.",
        show_default="the model's",
    ),
]
SensorSize = Annotated[
    str, typer.Option("--sensor", help="WxH, for a file that does not say it.", show_default=False)
]


def sensor_of(size: str) -> Sensor | None:
    """`128x128` as a sensor; the empty string is none."""
    if not size:
        return None
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
    if not found or not 0 < int(found[1]) <= 65_536 or not 0 < int(found[2]) <= 65_536:
        raise ConfigError(f"--sensor {size}: wanted WIDTHxHEIGHT, such as 128x128")
    return Sensor(int(found[1]), int(found[2]))


def hold_us(hold_ms: float | None) -> int | None:
    return None if hold_ms is None else round(hold_ms * 1e3)


def say(line: str) -> None:
    """A line for a person on stderr, unless it is empty."""
    if line:
        print(f"spikeline: {line}", file=sys.stderr, flush=True)


def exit_code(report: SourceReport) -> int:
    """0, or 1 after one line per damaged range on stderr."""
    for line in report.damage:
        print(f"spikeline: {line}", file=sys.stderr)
    if report.truncated and not report.damage:
        print("spikeline: the recording is cut short", file=sys.stderr)
    return 1 if report.damage or report.truncated else 0
