"""spikeline train PRESET: train a network and write its package."""

import shlex
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from spikeline.pipeline.commands.options import Json
from spikeline.pipeline.commands.progress import bar, clips_progress
from spikeline.pipeline.config import ConfigError, load_preset, parse
from spikeline.pipeline.training.settings import TrainConfig

DEVICES = ("auto", "cpu", "cuda")


def train(
    preset: Annotated[str, typer.Argument(help="A shipped preset or a .toml file.")] = "gesture",
    data: Annotated[
        str,
        typer.Option(help="Data set, such as DVSGesture:FOLDER or npz:FILE.", show_default="the preset's"),
    ] = "",
    validation: Annotated[
        str, typer.Option(help="Another set to validate on.", show_default="a part of the data")
    ] = "",
    fold: Annotated[
        str, typer.Option(help="2/5: train on all but the second of five parts, and measure on it.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Run folder.", show_default="runs/<preset>")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="In place of the preset's.")] = None,
    clips: Annotated[
        int | None, typer.Option(min=1, help="At most so many training clips, classes in turn.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="In place of the preset's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run folder's checkpoint.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="Of torch; 0 is one per core.")] = 0,
    cache: Annotated[Path, typer.Option(help="Where clips are kept as frames.")] = Path("runs/cache"),
    json: Json = False,
) -> None:
    """Train a network from a preset; writes config, command, curve, checkpoint and package to a run folder.

    Stop it at any time with Ctrl-C; --resume ends with the same weights as a run that was not stopped.
    The package is measured through the engine that will serve it, on the clips it was not trained on.

    Example: spikeline train nmnist --data npz:digits.npz --fold 1/5
    """
    if find_spec("torch") is None:
        raise ConfigError("train: torch is not installed; pip install 'spikeline[train]'")
    if device not in DEVICES:
        raise ConfigError(f"--device {device}: choose from {', '.join(DEVICES)}")
    table, name = load_preset(preset)
    note, needs = str(table.pop("note", "")), str(table.pop("needs", ""))
    config = parse(TrainConfig, _changed(table, data, validation, fold, clips), name)
    if not config.data.source:
        raise ConfigError(f"{name}: no data set; give {needs or 'one with --data'}")
    if config.data.folds and config.early_stop:
        raise ConfigError("--fold: with early_stop the held-out clips would choose the weights; wanted 0")
    changes = {key: value for key, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    config = replace(config, **changes)  # type: ignore[arg-type]
    folder = out or Path("runs") / (f"{name}-fold{config.data.fold}" if fold else name)
    run(config, folder, name, note, cache, resume=resume, device=device, threads=threads, json=json)


def _changed(
    table: dict[str, Any], data: str, validation: str, fold: str, clips: int | None
) -> dict[str, Any]:
    """The preset's table with what the command line says in its place."""
    own = dict(table.get("data", {}))
    if data:
        own |= {"source": data, "validation": ""}
    if validation:
        own["validation"] = validation
    if fold:
        part, _, parts = fold.partition("/")
        if not (part.isdecimal() and parts.isdecimal()):
            raise ConfigError(f"--fold {fold}: wanted a part of a number of parts, such as 2/5")
        own |= {"fold": int(part), "folds": int(parts)}
    if clips is not None:
        own["clips"] = clips
    return table | {"data": own}


def run(
    config: TrainConfig,
    folder: Path,
    name: str,
    note: str,
    cache: Path,
    *,
    resume: bool,
    device: str,
    threads: int,
    json: bool,
) -> None:
    import msgspec

    from spikeline.pipeline.evaluation import wilson
    from spikeline.pipeline.training.data import load_training
    from spikeline.pipeline.training.loop import train as fit
    from spikeline.pipeline.training.machine import open_machine
    from spikeline.pipeline.training.publish import make_package
    from spikeline.pipeline.training.run_folder import Epoch, draw_curve

    with open_machine(device, threads) as machine:
        with machine.in_turn(), clips_progress("making frames") as progress:
            training, validation = load_training(config.data, cache, progress=progress)
        if machine.first:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "command.txt").open("a" if resume else "w") as file:
                file.write(shlex.join(["spikeline", *sys.argv[1:]]) + "\n")
        began, past = time.monotonic(), 0
        with bar() as progress_bar:
            task = progress_bar.add_task("training", total=None, visible=machine.first)

            def on_batch(epoch: int, done: int, batches: int) -> None:
                progress_bar.update(task, completed=epoch * batches + done, total=config.epochs * batches)

            def on_epoch(e: Epoch) -> None:
                nonlocal past
                past += 1
                left = (time.monotonic() - began) / past * (config.epochs - e.epoch - 1)
                text = msgspec.json.encode(e).decode() if json else _line(e, config.epochs, left)
                if sys.stderr.isatty():
                    progress_bar.console.print(text, highlight=False)
                else:
                    print(text, flush=True)

            network = fit(
                config,
                training,
                validation,
                folder,
                resume=resume,
                machine=machine,
                on_batch=on_batch,
                on_epoch=on_epoch,
            )
        if not machine.first:
            return
        path = folder / f"{name}.safetensors"
        package = make_package(path, name, network, config, training, validation, note)
    (accuracy,) = package.manifest.accuracy.values()
    right = round(accuracy * len(validation))
    low, high = wilson(right, len(validation))
    held = f"fold {config.data.fold} of {config.data.folds}" if config.data.folds else "validation clips"
    print(
        f"{held}: {accuracy:.1%} right ({right} of {len(validation)}, 95 % interval {low:.1%} to {high:.1%}),"
        " measured from the package"
    )
    if not draw_curve(folder):
        print("no curve.png: matplotlib is not installed; pip install 'spikeline[plots]'", file=sys.stderr)
    print(f"package {path} digest {package.digest}")


def _line(e: Any, epochs: int, left_s: float) -> str:
    skipped = f"  half skipped {e.skipped_accuracy:.1%}" if e.skipped_accuracy else ""
    return (
        f"epoch {e.epoch + 1:3d}/{epochs}  loss {e.loss:.3f}  train {e.train_accuracy:.1%}"
        f"  validation {e.accuracy:.1%}{skipped}  NASAR {e.nasar:.3f}  {e.seconds:.0f} s"
        f"  left {left_s // 60:.0f}:{left_s % 60:02.0f}"
    )
