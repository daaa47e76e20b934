"""Everything that decides a training run, as one frozen tree: `configs/*.toml` parses into it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Simulated clips. Times in microseconds; a network's T is `steps` windows of `dt_us`.

    length: windows of a training sample, 0 for T. Longer ones teach an endless network what comes after T;
    the loss is over the last T of them.
    """

    train_clips: int = 2_400
    validation_clips: int = 480
    seed: int = 1
    level: str = "normal"
    duration_us: int = 1_800_000
    slice_us: int = 25_000
    dt_us: int = 50_000
    steps: int = 20
    length: int = 0
    grid: tuple[int, int] = (32, 32)  # width, height of a frame in cells
    clean_up: tuple[str, ...] = ()  # stages between source and windows, written into the package

    def __post_init__(self) -> None:
        if self.dt_us % self.slice_us:
            raise ValueError(f"slice_us must divide dt_us {self.dt_us}, got {self.slice_us}")
        if self.length and self.length < self.steps:
            raise ValueError(f"length must be 0 or at least steps {self.steps}, got {self.length}")
        if self.windows * self.dt_us > self.duration_us:
            raise ValueError(f"{self.windows} steps of {self.dt_us} us do not fit into {self.duration_us} us")

    @property
    def windows(self) -> int:
        """Windows of a training sample."""
        return self.length or self.steps


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What differs from one showing of a clip to the next."""

    shift: int = 2  # cells, each way
    flip: bool = True  # left-right, with the labels that swap
    keep_min: float = 0.5  # each event is kept with a probability drawn from keep_min..1
    gain_max: float = 2.0  # counts scaled by 1/gain_max..gain_max
    noise: float = 0.01  # up to this many extra events per cell and window


@dataclass(frozen=True, kw_only=True)
class SkipConfig:
    """Random skipped windows, so that a served network may be skipped."""

    share: float = 0.5  # of the clips; the others are shown whole
    max_ratio: float = 0.6  # the skipped share of a clip's windows is drawn from 0..max_ratio


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """A network of models/registry.py by name, and what of its settings differs from the published ones."""

    name: str = "masnn3"
    settings: dict[str, Any] = field(default_factory=dict)
    clip_counts: float = 0.0  # counts of a cell and window above this are this; 0: the 99.9th percentile


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """Temporal attention on the frames, which learns which of them may be skipped.

    form: sliding (endless streams) or prefix (inside a window of T); empty: no gate. In training the
    share of a clip's frames that it skips is drawn from 0..max_ratio, so that one gate serves every ratio.
    """

    form: str = ""
    ratio: int = 2  # its hidden units = T // ratio
    max_ratio: float = 0.7

    def __post_init__(self) -> None:
        if self.form not in ("", "sliding", "prefix"):
            raise ValueError(f"form must be sliding or prefix, or empty for no gate, got {self.form!r}")
        if self.ratio < 1 or not 0 < self.max_ratio < 1:
            raise ValueError(
                f"wanted ratio >= 1 and 0 < max_ratio < 1, got {self.ratio} and {self.max_ratio}"
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run. `loss`: mse (mean spikes against one-hot, the paper's) or ce (of `scale` x mean spikes)."""

    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    skip: SkipConfig = field(default_factory=SkipConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    epochs: int = 30
    batch: int = 32
    rate: float = 2e-3
    weight_decay: float = 1e-3
    loss: str = "ce"
    scale: float = 10.0
    spike_penalty: float = 0.0  # times the mean spikes per neuron and step
    precision: str = "float32"  # or bf16: products and batch norm; several times faster where the CPU has it
    seed: int = 1

    def __post_init__(self) -> None:
        if self.loss not in ("mse", "ce"):
            raise ValueError(f"loss must be mse or ce, got {self.loss!r}")
        if self.precision not in ("float32", "bf16"):
            raise ValueError(f"precision must be float32 or bf16, got {self.precision!r}")
        if self.epochs < 1 or self.batch < 2:
            raise ValueError(f"wanted epochs >= 1 and batch >= 2, got {self.epochs} and {self.batch}")
