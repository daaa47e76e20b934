"""spikeline bench: where the time goes between an event and its prediction; what this machine is good at."""

import os
import platform
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from spikeline.drivers import keeps_time
from spikeline.pipeline.commands.live import endless, latency_table
from spikeline.pipeline.commands.options import Early, EngineName, Json, Model, Threads
from spikeline.pipeline.commands.session import DEFAULT_MODEL, open_pipeline
from spikeline.pipeline.commands.stopping import stopping
from spikeline.pipeline.config import ConfigError
from spikeline.pipeline.latency import STAGES
from spikeline.pipeline.run import RunConfig

WHAT = ("latency", "calibrate")


def bench(
    what: Annotated[str, typer.Argument(help="latency or calibrate")],
    source: Annotated[str, typer.Argument(help="Any source.")] = "sim:gesture?seed=1",
    model: Model = DEFAULT_MODEL,
    engine: EngineName = "auto",
    threads: Threads = 1,
    early: Early = False,
    fit: Annotated[str, typer.Option(help="For another sensor.", show_default="the model's")] = "",
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to measure.")] = 10.0,
    delay: Annotated[
        str, typer.Option(help="STAGE=MS: hold a stage up, to check the measurement.", show_default=False)
    ] = "",
    json: Json = False,
) -> None:
    """Measure latency from the event to its published prediction, split into stages.

    The source runs on its own schedule, so a stall is felt by every event that falls into it. calibrate:
    measure what operations cost on this machine, by which `--engine auto` and the sparse engine choose.

    Example: spikeline bench latency sim:gesture?seed=1 --seconds 30
    """
    if what not in WHAT:
        raise ConfigError(f"bench {what!r}: choose from {', '.join(WHAT)}")
    if what == "calibrate":
        _calibrate(json)
        return
    session = open_pipeline(
        endless(source),
        model,
        config=RunConfig(engine=engine, fit=fit, threads=threads, early=early),
        publish="tcp://127.0.0.1:*",
        live=True,
        delay_s=_delay(delay),
        speed=0.0 if keeps_time(source) else 1.0,
        stop_s=seconds,
    )
    with session, stopping(session) as signals:
        for _ in session:
            pass
    summary = session.summary()
    rows = summary["latency_us"]
    if json:
        keys = ("events", "windows", "late_windows", "model", "engine", "latency_us")
        facts = {key: summary[key] for key in keys}
        where = {"machine": _machine(), "source": source, "versions": _versions()}
        print(msgspec.json.encode({"type": "latency", **where, **facts}).decode())
        raise typer.Exit(128 + signals[0] if signals else 0)
    print(f"{_machine()}; {_versions()}; {source}")
    print(
        f"{summary['account']['processed']:,} events in {summary['windows']:,} windows on {summary['engine']}"
    )
    print(latency_table(rows))
    print(f"{summary['late_windows']} windows were later than one window")
    raise typer.Exit(128 + signals[0] if signals else 0)


def _calibrate(json: bool) -> None:
    """Measure this machine and keep the numbers where every engine finds them."""
    from spikeline.pipeline.engines.sparse.calibration import measure_costs
    from spikeline.pipeline.engines.sparse.costs import save_costs

    costs = measure_costs()
    path = save_costs(costs)
    if json:
        facts = {"type": "costs", "file": str(path), **msgspec.structs.asdict(costs)}
        print(msgspec.json.encode(facts).decode())
        return
    print(f"{_machine()}; {_versions()}")
    print(f"a spike's weight {costs.add:.3f} ns; computed densely {costs.mac:.4f} ns")
    print(f"a wide layer is computed densely from {costs.mac / costs.add:.0%} of its inputs firing on")
    print(f"a neuron {costs.neuron:.2f} ns, in ONNX Runtime {costs.onnx_neuron:.2f} ns")
    print(f"kept in {path}")


def _machine() -> str:
    """Processor and cores."""
    model = ""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{model or platform.machine()}, {os.cpu_count()} cores"


def _versions() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba", "onnxruntime", "pyzmq"))
    return f"Python {platform.python_version()}, {packages}"


def _delay(text: str) -> dict[str, float]:
    """`infer=5` as {"infer": 0.005}."""
    if not text:
        return {}
    stage, _, ms = text.partition("=")
    try:
        value = float(ms)
    except ValueError:
        value = -1.0
    if stage not in STAGES[1:] or not 0 <= value <= 10_000:
        raise ConfigError(f"--delay {text}: wanted STAGE=MS with STAGE one of {', '.join(STAGES[1:])}")
    return {stage: value / 1e3}
