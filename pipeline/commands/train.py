"""spikeline train PRESET: train a network and write its package."""

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from spikeline.pipeline.commands.options import Json
from spikeline.pipeline.commands.progress import bar, clips_progress
from spikeline.pipeline.config import ConfigError, load_preset, parse
from spikeline.pipeline.training.data import ClipConfig, load_clips
from spikeline.pipeline.training.settings import TrainConfig


def train(
    preset: Annotated[str, typer.Argument(help="A shipped preset or a .toml file.")] = "gesture",
    out: Annotated[Path | None, typer.Option(help="Run folder.", show_default="runs/<preset>")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="In place of the preset's.")] = None,
    clips: Annotated[
        int | None, typer.Option(min=60, help="Training clips, in place of the preset's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="In place of the preset's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run folder's checkpoint.")] = False,
    threads: Annotated[int, typer.Option(min=0, help="Of torch; 0 is one per core.")] = 0,
    cache: Annotated[Path, typer.Option(help="Where simulated clips are kept.")] = Path("runs/cache"),
    json: Json = False,
) -> None:
    """Train a network from a preset; writes config, curve, checkpoint and package to a run folder.

    Stop it at any time with Ctrl-C; --resume ends with the same weights as a run that was not stopped.

    Example: spikeline train gesture --out runs/mine
    """
    if find_spec("torch") is None:
        raise ConfigError("train: torch is not installed; pip install 'spikeline[train]'")
    table, name = load_preset(preset)
    note = str(table.pop("note", ""))
    config = parse(TrainConfig, table, name)
    changes = {key: value for key, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    config = replace(config, **changes)  # type: ignore[arg-type]
    if clips is not None:
        config = replace(config, data=replace(config.data, train_clips=clips))
    folder = out or Path("runs") / name
    run(config, folder, name, note, cache, resume=resume, threads=threads, json=json)


def run(
    config: TrainConfig,
    folder: Path,
    name: str,
    note: str,
    cache: Path,
    *,
    resume: bool,
    threads: int,
    json: bool,
) -> None:
    import msgspec
    import torch

    from spikeline.pipeline.training.loop import Epoch
    from spikeline.pipeline.training.loop import train as fit
    from spikeline.pipeline.training.publish import make_package

    if threads:
        torch.set_num_threads(threads)
    data = config.data
    shape = ClipConfig(
        seed=data.seed,
        duration_us=data.duration_us,
        slice_us=data.slice_us,
        level=data.level,
        grid=data.grid,
        clean_up=data.clean_up,
    )
    with clips_progress("simulating") as progress:
        training = load_clips(replace(shape, clips=data.train_clips), cache, progress=progress)
        validation = load_clips(
            replace(shape, split="validation", clips=data.validation_clips), cache, progress=progress
        )
    with bar() as progress_bar:
        task = progress_bar.add_task("training", total=None)

        def on_batch(epoch: int, done: int, batches: int) -> None:
            progress_bar.update(task, completed=epoch * batches + done, total=config.epochs * batches)

        def on_epoch(e: Epoch) -> None:
            if json:
                text = msgspec.json.encode(e).decode()
            else:
                text = (
                    f"epoch {e.epoch + 1:3d}/{config.epochs}  loss {e.loss:.3f}  train {e.train_accuracy:.1%}"
                    f"  validation {e.accuracy:.1%}  half skipped {e.skipped_accuracy:.1%}"
                    f"  NASAR {e.nasar:.3f}  {e.seconds:.0f} s"
                )
            progress_bar.console.print(text, highlight=False) if sys.stderr.isatty() else print(
                text, flush=True
            )

        network = fit(
            config, training, validation, folder, resume=resume, on_batch=on_batch, on_epoch=on_epoch
        )
    package = make_package(folder / f"{name}.safetensors", name, network, config, training, validation, note)
    print(f"package {folder / (name + '.safetensors')} digest {package.digest}")
