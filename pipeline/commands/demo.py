"""spikeline demo: a simulated person, recognised live in the terminal."""

import sys
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from spikeline.pipeline.commands.live import endless
from spikeline.pipeline.commands.options import EngineName, Json, Model
from spikeline.pipeline.commands.replay import line, print_json, window_object
from spikeline.pipeline.commands.session import DEFAULT_MODEL, Session, open_pipeline
from spikeline.pipeline.commands.stopping import stopping
from spikeline.pipeline.messages import DEFAULT_ENDPOINT
from spikeline.pipeline.run import RunConfig, WindowResult

SHADES = " ·:+*#@"
OFF, ON = "dodger_blue1", "orange_red1"


def demo(
    seconds: Annotated[float, typer.Option(min=0.1, help="How long.")] = 24.0,
    source: Annotated[str, typer.Option(help="Any source.")] = "sim:gesture?seed=7",
    model: Model = DEFAULT_MODEL,
    engine: EngineName = "auto",
    publish: Annotated[str, typer.Option(help="Where to publish; empty is nowhere.")] = DEFAULT_ENDPOINT,
    json: Json = False,
) -> None:
    """Watch a simulated person being recognised, live, in the terminal.

    Shows each frame, the prediction, spikes per layer and latency, and publishes on a ZeroMQ socket:
    run `spikeline listen` in another terminal. Without a terminal it prints a line per prediction.

    Example: spikeline demo --seconds 60
    """
    session = open_pipeline(
        endless(source),
        model,
        config=RunConfig(engine=engine),
        publish=publish or None,
        live=True,
        speed=1.0,
        stop_s=seconds,
    )
    with session, stopping(session) as signals:
        if json:
            for result in session:
                print_json(window_object(result))
            print_json(session.summary())
        else:
            watch(session)
    if signals:
        raise typer.Exit(128 + signals[0])


def watch(session: Session) -> None:
    """Draw every window of the session, or print a line where there is no terminal."""
    console = Console()
    view = View(session)
    if not console.is_terminal:
        for result in session:
            if result.segment == "new" or result.seq % 20 == 19:
                print(line(result, session.start_us) + view.truth(result.t_end_us), flush=True)
    else:
        with Live(console=console, refresh_per_second=20, auto_refresh=False) as live:
            for result in session:
                live.update(view.draw(result), refresh=True)
    summary = session.summary()
    print(
        f"{summary['events']:,} events in {summary['windows']} windows; digest {summary['digest'][:16]}",
        file=sys.stdout,
    )


class View:
    """The terminal picture of one window after another."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels = session.package.manifest.labels

    def truth(self, t_us: int) -> str:
        """What the simulator is doing at this time, where the source tells."""
        spans = getattr(self._session.source, "truth", [])
        shown = [span["label"] for span in spans if span["onset_us"] <= t_us < span["offset_us"]]
        return f"   (shown: {self._labels[shown[-1]].replace('_', ' ')})" if shown else ""

    def draw(self, r: WindowResult) -> Group:
        table = Table.grid(padding=(0, 2))
        table.add_row(picture(r.frame), self._facts(r))
        return Group(table)

    def _facts(self, r: WindowResult) -> Group:
        label = "-" if r.label is None else r.label.replace("_", " ")
        head = Text.assemble((label, "bold"), f"  {r.score:.2f}", "  warming up" if r.warming else "")
        head.append(self.truth(r.t_end_us), "dim")
        bars = Table.grid(padding=(0, 1))
        for i, name in enumerate(self._labels):
            full = round(float(r.scores[i]) * 24)
            style = "bold green" if i == r.label_index else "dim"
            bars.add_row(Text(name.replace("_", " "), style), Text("█" * full, style))
        neurons = {name: int(np.prod(shape)) for name, shape in self._neurons().items()}
        spikes = "  ".join(f"{name} {n:,} ({n / neurons[name]:.1%})" for name, n in r.spikes.items())
        return Group(
            head,
            bars,
            Text(f"spikes   {spikes}"),
            Text(f"         {r.synops:,} synaptic operations, {r.mac:,} MAC"),
            Text(f"latency  {self._latency()}"),
            Text(f"events   {r.events:,} in this window, {self._session.account().received:,} in all"),
            Text(f"time     {(r.t_end_us - self._session.start_us) / 1e6:.2f} s", "dim"),
        )

    def _latency(self) -> str:
        """From the event to its published prediction, median and 99th percentile, and the step's share."""
        book = self._session.pipeline.latency
        if book is None:
            return "-"
        total, step = book.total, book.stages["infer"]
        p50, p99 = (total.percentile_us(share) / 1e3 for share in (50, 99))
        step_ms = step.percentile_us(50) / 1e3
        return f"{p50:.1f} ms median from the event, {p99:.1f} ms p99, of which the network {step_ms:.2f} ms"

    def _neurons(self) -> dict[str, tuple[int, ...]]:
        graph = self._session.package.graph
        return {name: graph.shapes[name] for name in graph.layers}


def picture(frame: NDArray[np.uint16]) -> Text:
    """A count frame (2, H, W) as text, two cells a character row: more events, darker; colour by sign."""
    off, on = (frame[c].astype(np.int64) for c in (0, 1))
    H = off.shape[0] // 2 * 2
    off, on = (a[:H].reshape(H // 2, 2, -1).sum(1) for a in (off, on))
    text = Text()
    for row_off, row_on in zip(off, on, strict=True):
        for n_off, n_on in zip(row_off.tolist(), row_on.tolist(), strict=True):
            shade = SHADES[min((n_off + n_on).bit_length(), len(SHADES) - 1)]
            text.append(shade, ON if n_on >= n_off else OFF)
        text.append("\n")
    return text
