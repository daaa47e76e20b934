"""Everything that decides a training run, as one frozen tree: `configs/*.toml` parses into it."""

from dataclasses import dataclass, field
from typing import Any

from spikeline.pipeline.training.augment_settings import AugmentConfig
from spikeline.pipeline.training.data_settings import DataConfig

LOSSES = ("ce", "mse", "tet")
OPTIMISERS = ("adamw", "adam", "sgd")
SCHEDULES = ("one-cycle", "cosine", "plateau", "step", "constant")


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
class LossConfig:
    """What the outputs of a sample's T steps are held against.

    name: ce (cross entropy of `scale` x their mean), mse (their mean against one-hot, the papers'), or tet
    (Deng et al. 2022: the mean over steps of each step's cross entropy, and `tet_weight` of the squared
    distance of every output from `tet_target`)
    spike_penalty: times the mean spikes per neuron and step, added to any of them
    """

    name: str = "ce"
    scale: float = 10.0
    smoothing: float = 0.05  # of the labels, in ce and tet
    tet_weight: float = 1e-3
    tet_target: float = 1.0
    spike_penalty: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ValueError(f"name must be one of {', '.join(LOSSES)}, got {self.name!r}")
        if not 0 <= self.smoothing < 1 or not 0 <= self.tet_weight <= 1:
            raise ValueError(
                f"wanted 0 <= smoothing < 1 and 0 <= tet_weight <= 1, got {self.smoothing}, {self.tet_weight}"
            )


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """name: adamw, adam or sgd. clip: the largest norm of the gradient of all weights, 0 for any."""

    name: str = "adamw"
    rate: float = 2e-3
    weight_decay: float = 1e-3
    momentum: float = 0.9  # of sgd
    clip: float = 2.0

    def __post_init__(self) -> None:
        if self.name not in OPTIMISERS:
            raise ValueError(f"name must be one of {', '.join(OPTIMISERS)}, got {self.name!r}")
        if self.rate <= 0 or self.clip < 0:
            raise ValueError(f"wanted rate > 0 and clip >= 0, got {self.rate} and {self.clip}")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """What becomes of the rate: one-cycle and cosine move at every batch, the others after an epoch.

    name: one-cycle (up over `warm_up` of the run, then down to nothing), cosine (down to nothing over
    `epochs` epochs, 0 for the whole run; then up again), plateau (times `factor` after `patience` epochs
    whose training loss is no better), step (times `factor` every `epochs` epochs), constant
    """

    name: str = "one-cycle"
    warm_up: float = 0.1
    epochs: int = 0
    factor: float = 0.1
    patience: int = 5

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise ValueError(f"name must be one of {', '.join(SCHEDULES)}, got {self.name!r}")
        if self.name == "step" and self.epochs < 1:
            raise ValueError(f"step: epochs must be at least 1, got {self.epochs}")
        if not 0 < self.warm_up < 1 or self.epochs < 0 or self.patience < 0 or not 0 < self.factor < 1:
            raise ValueError(
                "wanted 0 < warm_up < 1, epochs and patience >= 0 and 0 < factor < 1, got "
                f"{self.warm_up}, {self.epochs}, {self.patience}, {self.factor}"
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run.

    precision: float32, or bf16: products and batch norm in bfloat16, membranes in float32
    average: with 0.99, what is measured and published are the weights' running means over about the last
    100 batches, with batch norm's statistics taken anew; 0: the weights as they are
    early_stop: end after so many epochs whose validation accuracy is no better, with the best epoch's
    weights; 0: never
    recompute: layers keep their inputs and outputs alone and are run again for the gradient
    truncate: gradients reach so many steps back, and memory with them; 0: the whole sample
    """

    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    skip: SkipConfig = field(default_factory=SkipConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    epochs: int = 30
    batch: int = 32
    precision: str = "float32"
    average: float = 0.0
    early_stop: int = 0
    recompute: bool = False
    truncate: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bf16"):
            raise ValueError(f"precision must be float32 or bf16, got {self.precision!r}")
        if self.epochs < 1 or self.batch < 2:
            raise ValueError(f"wanted epochs >= 1 and batch >= 2, got {self.epochs} and {self.batch}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be from 0 to below 1, got {self.average}")
        if self.early_stop < 0 or self.truncate < 0:
            raise ValueError(
                f"wanted early_stop and truncate >= 0, got {self.early_stop} and {self.truncate}"
            )
