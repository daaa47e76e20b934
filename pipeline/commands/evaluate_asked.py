"""What the command line of `spikeline evaluate` asks for, checked before anything is run."""

from dataclasses import dataclass
from pathlib import Path

from spikeline.drivers.sim import GESTURES
from spikeline.pipeline.config import ConfigError
from spikeline.pipeline.decision import DecisionConfig
from spikeline.pipeline.events import Sensor
from spikeline.pipeline.package import Package
from spikeline.pipeline.protocols import PROTOCOLS

SPLITS = ("test", "validation", "train")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asks for, checked."""

    engine: str
    threads: int
    early: bool
    data: str
    truth: Path | None
    sensor: Sensor | None
    split: str
    clips: int
    seed: int
    protocol: str
    minutes: int
    shuffle: bool
    reset_each_step: bool
    skip_ratio: float
    gate: float
    against: str
    threshold: float | None
    hold_us: int | None
    cache: Path
    workers: int


def check(asked: Asked, package: Package) -> None:
    """Refuse what does not exist, and what the model was not made for."""
    manifest, skip_ratio = package.manifest, asked.skip_ratio
    if asked.split not in SPLITS:
        raise ConfigError(f"--split {asked.split}: choose from {', '.join(SPLITS)}")
    if asked.protocol not in PROTOCOLS:
        raise ConfigError(f"--protocol {asked.protocol}: choose from {', '.join(PROTOCOLS)}")
    if skip_ratio and (manifest.skip is None or skip_ratio > manifest.skip.max_ratio):
        most = 0 if manifest.skip is None else manifest.skip.max_ratio
        raise ConfigError(f"--skip-ratio {skip_ratio}: model {manifest.name} was trained for at most {most}")
    if asked.gate and skip_ratio:
        raise ConfigError("--gate and --skip-ratio: wanted one of them")
    if asked.reset_each_step and package.graph.document.form == "window":
        raise ConfigError(
            f"--reset-each-step: model {manifest.name} runs whole windows; wanted one that runs step by step"
        )


def parts(asked: Asked, package: Package, continuous: bool | None, tune: bool) -> tuple[bool, bool]:
    """Whether streams are judged, and whether clips are."""
    manifest = package.manifest
    causal = package.graph.document.form == "step"
    streams = (
        (continuous is True) or asked.truth is not None or (continuous is None and causal and not asked.data)
    )
    if asked.truth is not None and (not asked.data or continuous is False):
        raise ConfigError(f"--truth {asked.truth}: says what happens in a source; wanted --data SOURCE")
    if (streams or tune) and not asked.data and manifest.labels != list(GESTURES):
        raise ConfigError(
            f"model {manifest.name}: its labels are not those of sim:gesture; wanted --data with theirs"
        )
    if asked.early and not (streams or tune):
        raise ConfigError("--early: found clips alone, which are whole frames; wanted streams (--continuous)")
    return streams, not streams or (continuous is None and not asked.data)


def decision(asked: Asked, package: Package) -> DecisionConfig:
    """The package's threshold and hold time, unless the command line says otherwise."""
    manifest = package.manifest
    try:
        return DecisionConfig(
            threshold=manifest.threshold if asked.threshold is None else asked.threshold,
            hold_us=manifest.hold_us if asked.hold_us is None else asked.hold_us,
        )
    except ValueError as error:
        raise ConfigError(f"--threshold: {error}") from error
