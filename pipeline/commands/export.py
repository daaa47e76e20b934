"""spikeline export MODEL --to onnx|nir|graph: the network for other software, proved equal."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from spikeline.drivers import open_source
from spikeline.models.graph import Graph
from spikeline.pipeline.commands.options import Json, SensorSize, sensor_of
from spikeline.pipeline.commands.replay import print_json
from spikeline.pipeline.config import ConfigError
from spikeline.pipeline.engines import Engine, MissingExtraError
from spikeline.pipeline.engines.onnx_engine import OnnxEngine
from spikeline.pipeline.exchange import ExchangeError
from spikeline.pipeline.exchange.graph_file import read_graph, write_graph
from spikeline.pipeline.exchange.onnx_file import write_onnx
from spikeline.pipeline.exchange.proof import Proof, prove, random_frames
from spikeline.pipeline.package import Package, load_package
from spikeline.pipeline.run import Pipeline

SUFFIXES = {"onnx": ".onnx", "nir": ".nir", "graph": ".graph.safetensors"}
RECORDED_WINDOWS = 200


def export(
    model: Annotated[str, typer.Argument(help="A shipped model's name or a .safetensors file.")],
    to: Annotated[str, typer.Option(help="onnx, nir or graph.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="The new file.", show_default="the model's name")] = None,
    source: Annotated[
        str, typer.Option(help="What the written network is also compared on.")
    ] = "sim:gesture?seed=1",
    sensor: SensorSize = "",
    json: Json = False,
) -> None:
    """Write a model's network for other software, read it back, and prove that it is the same.

    Both run over random frames and over the first 200 windows of a recording; every spike must agree. NIR
    has no word for attention and several neurons: what it cannot express is named, and nothing is written.

    Example: spikeline export gesture --to onnx
    """
    if to not in SUFFIXES:
        raise ConfigError(f"--to {to}: wanted one of {', '.join(SUFFIXES)}")
    package = load_package(model)
    path = out or Path(package.manifest.name + SUFFIXES[to])
    if path.exists():
        raise ConfigError(f"{path}: exists already; choose another name")
    try:
        proofs = _proved(package, _written(package, to, path), source, sensor, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    facts = {"model": package.manifest.name, "to": to, "file": str(path), "bytes": path.stat().st_size}
    if json:
        equal_on = {name: {"steps": p.steps, "spikes": p.spikes} for name, p in proofs.items()}
        print_json(facts | {"equal_on": equal_on})
        return
    print(f"{path}: {facts['bytes']:,} bytes")
    for name, p in proofs.items():
        print(f"equal on {name}: {p.steps} steps, {p.spikes:,} spikes, scores within {p.score_error:.1e}")


def _proved(package: Package, written: Engine, source: str, sensor: str, path: Path) -> dict[str, Proof]:
    """What the written network was found equal on; raises ExchangeError where it is not."""
    own = OnnxEngine(package.graph, "window")
    proofs = {
        "random": prove(own, written, random_frames(package.graph)),
        source: prove(own, written, _recorded(package, source, sensor)),
    }
    for name, proof in proofs.items():
        if not proof.equal:
            raise ExchangeError(
                f"{path}: {proof.differing} of {proof.spikes} spikes differ on {name}, scores by up to"
                f" {proof.score_error:g}; nothing was written"
            )
    return proofs


def _written(package: Package, to: str, path: Path) -> Engine:
    """Write the file; the network as read back from it."""
    graph, manifest = package.graph, package.manifest
    if to == "graph":
        write_graph(path, graph)
        return OnnxEngine(read_graph(path), "window")
    if to == "nir":
        return OnnxEngine(_nir(graph, path, manifest.dt_us, manifest.labels), "window")
    facts = {
        "dt_us": str(manifest.dt_us),
        "steps": str(graph.steps),
        "form": graph.document.form,
        "horizon": graph.document.horizon,
        "labels": ",".join(manifest.labels),
    }
    write_onnx(path, graph, facts)
    return OnnxEngine(graph, "window", model=path.read_bytes())


def _nir(graph: Graph, path: Path, dt_us: int, labels: list[str]) -> Graph:
    try:
        from spikeline.pipeline.exchange.nir_reader import read_nir
        from spikeline.pipeline.exchange.nir_writer import write_nir

        write_nir(path, graph, dt_us=dt_us, metadata={"labels": ",".join(labels)})
        return read_nir(path)
    except ImportError as error:
        raise MissingExtraError("export: nir is not installed; pip install 'spikeline[train]'") from error


def _recorded(package: Package, uri: str, sensor: str) -> Iterator[NDArray[np.uint16]]:
    """The frames of the first windows of a source, as the model would get them."""
    with open_source(uri, sensor=sensor_of(sensor)) as source:
        pipeline = Pipeline(package, source.sensor)
        results: Any = pipeline.run(source)
        for result in islice(results, RECORDED_WINDOWS):
            yield result.frame.copy()
