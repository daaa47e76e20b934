"""spikeline listen: print what a running pipeline publishes."""

import dataclasses
import sys
import time
from typing import Annotated, Any

import msgspec
import typer

from spikeline.pipeline.commands.options import Json
from spikeline.pipeline.config import ConfigError
from spikeline.pipeline.messages import DEFAULT_ENDPOINT, KIND_OF, KINDS, Message, Prediction, Status
from spikeline.pipeline.reader import BusReader, Gap, Malformed, Restart, Silence


def listen(
    endpoint: Annotated[str, typer.Argument(help="Where a pipeline publishes.")] = DEFAULT_ENDPOINT,
    kinds: Annotated[str, typer.Option(help=f"Of {', '.join(KINDS)}, with commas.")] = "prediction,status",
    stream: Annotated[str, typer.Option(help="Only this stream.", show_default="all")] = "",
    seconds: Annotated[float, typer.Option(min=0, help="Stop after so long; 0 is never.")] = 0.0,
    count: Annotated[int, typer.Option(min=0, help="Stop after so many messages; 0 is never.")] = 0,
    json: Json = False,
) -> None:
    """Print what a running pipeline publishes; losses, restarts and silence are said, never hidden.

    Example: spikeline listen tcp://127.0.0.1:5556 --kinds prediction,activity --json
    """
    chosen = tuple(kind for kind in kinds.split(",") if kind)
    if unknown := [kind for kind in chosen if kind not in KINDS]:
        raise ConfigError(f"--kinds {unknown[0]}: choose from {', '.join(KINDS)}")
    until = time.monotonic() + seconds if seconds else float("inf")
    seen = 0
    with BusReader(endpoint, stream, chosen) as reader:
        while (left := until - time.monotonic()) > 0 and not (count and seen >= count):
            item = reader.receive(min(left, 1.0))
            if item is None:
                continue
            seen += isinstance(item, Message)
            text = msgspec.json.encode(as_object(item)).decode() if json else describe(item)
            print(text, file=sys.stdout if json or isinstance(item, Message) else sys.stderr, flush=True)


def as_object(item: Any) -> dict[str, Any]:
    """A message or an incident as a JSON object with its `type` first."""
    if isinstance(item, Message):
        return {"type": KIND_OF[type(item)], **msgspec.structs.asdict(item)}
    return {"type": type(item).__name__.lower(), **dataclasses.asdict(item)}


def describe(item: Any) -> str:
    """One line for a person."""
    if isinstance(item, Prediction):
        label = "-" if item.label is None else item.label.replace("_", " ")
        return f"{item.t_end_us / 1e6:12.3f} s  {item.stream}  {label:28s} {item.score:4.2f}"
    if isinstance(item, Status):
        return f"{item.t_end_us / 1e6:12.3f} s  {item.stream}  {item.state}, {item.events.received:,} events"
    if isinstance(item, Message):
        return f"{item.t_end_us / 1e6:12.3f} s  {item.stream}  {KIND_OF[type(item)]} {item.seq}"
    if isinstance(item, Gap):
        return f"lost {item.missed} messages of {item.topic}"
    if isinstance(item, Restart):
        return "the publisher has started anew"
    if isinstance(item, Silence):
        return f"nothing heard for {item.seconds:.1f} s"
    return f"not understood: {item.reason}" if isinstance(item, Malformed) else repr(item)
