"""spikeline import: a network trained elsewhere as a model package."""

from pathlib import Path
from typing import Annotated

import typer

from spikeline.models.graph import Graph
from spikeline.pipeline.commands.models import print_facts
from spikeline.pipeline.commands.options import Json, sensor_of
from spikeline.pipeline.commands.replay import print_json
from spikeline.pipeline.config import ConfigError
from spikeline.pipeline.engines import MissingExtraError
from spikeline.pipeline.exchange.described import read_described
from spikeline.pipeline.package import Manifest, save_package


def take_over(
    file: Annotated[Path, typer.Argument(help="A .nir file, or a state_dict (.safetensors, .pt).")],
    out: Annotated[Path, typer.Argument(help="The package to write, .safetensors.")],
    dt_us: Annotated[int, typer.Option(min=1, help="Microseconds of a window.")],
    labels: Annotated[str, typer.Option(help="Names of the classes, with commas between them.")],
    layers: Annotated[
        Path | None,
        typer.Option(help="TOML that lists a state_dict's layers: docs/exchange.md.", show_default=False),
    ] = None,
    sensor: Annotated[
        str, typer.Option(help="WxH of the camera it was trained on.", show_default="the input's size")
    ] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="T.", show_default="the file's")] = None,
    json: Json = False,
) -> None:
    """Take over a convolutional LIF network from SpikingJelly, snnTorch or a NIR file.

    Batch norm is folded in; layers that have no counterpart are named. The package can be run, exported and
    measured like any other. Nothing in the file is run: no pickle.

    Example: spikeline import net.nir mine.safetensors --dt-us 10000 --labels left,right
    """
    if out.exists():
        raise ConfigError(f"{out}: exists already; choose another name")
    if out.suffix != ".safetensors":
        raise ConfigError(f"{out}: wanted a name ending in .safetensors")
    if not file.is_file():
        raise ConfigError(f"{file}: no such file")
    graph = _graph(file, layers, dt_us, steps)
    C, H, W = graph.document.input_shape
    if C != 2:
        raise ConfigError(f"{file}: its input has {C} channels; event frames have 2, OFF and ON")
    names = [label.strip() for label in labels.split(",")]
    found = sensor_of(sensor)
    manifest = Manifest(
        name=out.stem,
        graph=graph.document,
        labels=names,
        dt_us=dt_us,
        dt_range_us=(dt_us, dt_us),
        sensor=(W, H) if found is None else (found.width, found.height),
        grid=(W, H),
        producer=f"spikeline import {file.name}",
        note="imported",
    )
    package = save_package(out, manifest, graph)
    if json:
        print_json({"file": str(out), "digest": package.digest, "layers": graph.layers})
    else:
        print_facts(package)


def _graph(file: Path, layers: Path | None, dt_us: int, steps: int | None) -> Graph:
    if file.suffix == ".nir":
        try:
            from spikeline.pipeline.exchange.nir_reader import read_nir

            return read_nir(file, dt_us=dt_us, steps=steps)
        except ImportError as error:
            raise MissingExtraError("import: nir is not installed; pip install 'spikeline[train]'") from error
    if layers is None:
        raise ConfigError(f"{file}: a state_dict needs --layers, a TOML file that lists its layers")
    return read_described(file, layers, steps=steps)
