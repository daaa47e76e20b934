"""spikeline evaluate: measure a model on streams and clips whose labels are known."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from spikeline.pipeline.commands.evaluate_asked import Asked, check, decision, parts
from spikeline.pipeline.commands.evaluate_clips import clips_part
from spikeline.pipeline.commands.evaluate_lines import clip_lines, stream_lines, tuned_lines
from spikeline.pipeline.commands.evaluate_report import about, page, typed
from spikeline.pipeline.commands.evaluate_streams import streams_part, tune_part
from spikeline.pipeline.commands.options import (
    Early,
    EngineName,
    HoldMs,
    Json,
    Model,
    SensorSize,
    Threads,
    Threshold,
    hold_us,
    sensor_of,
)
from spikeline.pipeline.commands.session import DEFAULT_MODEL
from spikeline.pipeline.package import load_package
from spikeline.pipeline.tuning import FALSE_PER_HOUR


def evaluate(
    context: typer.Context,
    model: Model = DEFAULT_MODEL,
    engine: EngineName = "auto",
    threads: Threads = 1,
    early: Early = False,
    data: Annotated[
        str,
        typer.Option(
            help="A labelled set, such as DVSGesture:FOLDER; with --continuous or --truth a source.",
            show_default="simulated people",
        ),
    ] = "",
    truth: Annotated[
        Path | None,
        typer.Option(help="JSON lines: what happens in the source of --data.", show_default=False),
    ] = None,
    continuous: Annotated[
        bool | None,
        typer.Option(
            "--continuous/--clips-only", help="One part alone.", show_default="both, if the model is causal"
        ),
    ] = None,
    sensor: SensorSize = "",
    minutes: Annotated[
        int, typer.Option(min=1, help="Of simulated streams with gestures, and as many without.")
    ] = 5,
    clips: Annotated[
        int, typer.Option(min=0, help="At most so many clips; 0: 480 simulated ones, all of a set's.")
    ] = 0,
    split: Annotated[str, typer.Option(help="test, validation or train people.")] = "test",
    seed: Annotated[int, typer.Option(help="Of simulated clips and streams.")] = 1,
    protocol: Annotated[
        str, typer.Option(help="How a clip becomes an answer: first, ten-clips or accumulate-ten.")
    ] = "first",
    tune: Annotated[
        Path | None,
        typer.Option(
            help="Choose threshold and hold time on validation streams; write the model with them here.",
            show_default=False,
        ),
    ] = None,
    most_false: Annotated[
        float, typer.Option(min=0, help="Limit of --tune: false activations per hour.")
    ] = FALSE_PER_HOUR,
    threshold: Threshold = None,
    hold_ms: HoldMs = None,
    skip_ratio: Annotated[float, typer.Option(min=0, max=0.95, help="Skip this share of windows.")] = 0.0,
    gate: Annotated[float, typer.Option(min=0, max=0.95, help="Skip by the model's frame gate.")] = 0.0,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Also with the frames of a clip in random order.")
    ] = False,
    reset_each_step: Annotated[
        bool, typer.Option("--reset-each-step", help="Also with the state reset at each step.")
    ] = False,
    against: Annotated[
        str,
        typer.Option(
            help="A vanilla model: also print r_EE, its energy over this one's.", show_default=False
        ),
    ] = "",
    cache: Annotated[Path, typer.Option(help="Where frames are kept.")] = Path("runs/cache"),
    workers: Annotated[
        int, typer.Option(min=0, help="Streams run at a time; 0 is one for each --threads cores.")
    ] = 0,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write a page with tables here.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Measure a model: on streams as it is served, and per clip as the papers do.

    Streams (for a causal model): segment F1 at IoU 0.5, false activations per hour, onset-to-decision
    time, label flips. Clips: accuracy with its 95 % interval, the confusion of classes, accuracy after
    each step, NASAR, spikes, operations and energy. Without --data both are of simulated people whom
    the model has not seen; they are simulated first, about a second for ten on each core.

    Example: spikeline evaluate --model gesture --minutes 10 --clips 1440
    """
    package = load_package(model)
    asked = Asked(
        engine=engine,
        threads=threads,
        early=early,
        data=data,
        truth=truth,
        sensor=sensor_of(sensor),
        split=split,
        clips=clips,
        seed=seed,
        protocol=protocol,
        minutes=minutes,
        shuffle=shuffle,
        reset_each_step=reset_each_step,
        skip_ratio=skip_ratio,
        gate=gate,
        against=against,
        threshold=threshold,
        hold_us=hold_us(hold_ms),
        cache=cache,
        workers=workers,
    )
    check(asked, package)
    streams, sets = parts(asked, package, continuous, tune is not None)
    decision(asked, package)
    facts = about(typed(context), package)
    lines = [f"model {facts['model']}"]
    if tune is not None:
        package, facts["tuned"] = tune_part(asked, package, tune, most_false)
        facts["model_digest"] = package.digest
        lines += tuned_lines(facts["tuned"])
    if streams:
        facts["continuous"] = streams_part(asked, package)
        lines += stream_lines(facts["continuous"])
    if sets:
        facts["clips"] = clips_part(asked, package)
        lines += clip_lines(facts["clips"])
    if markdown is not None:
        markdown.write_text(page(facts, package.manifest.labels))
    print(msgspec.json.encode(facts).decode() if json else "\n".join(lines))
    if facts.get("continuous", {}).get("damaged_streams"):
        raise typer.Exit(1)
