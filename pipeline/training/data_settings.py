"""Which data a run reads, how it is divided, and how clips become frames: the table [data] of a preset."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Times in microseconds; a network's T is `steps` windows of `dt_us`.

    source      the data set (docs/data.md); empty: the command line has to say it
    validation  another set to validate on; empty: the source's own validation clips, and where it has
                none the share `hold_out` of its training clips, by person where persons are known
    folds, fold  with folds, the training clips in so many parts, of which number `fold` validates
    clips       at most so many training clips, classes in turn; 0 takes all
    length      windows of a training sample, 0 for T. Longer ones teach an endless network what comes
                after T; the loss is over the last T of them.
    """

    source: str = "sim:gesture"
    validation: str = ""
    hold_out: float = 0.1
    folds: int = 0
    fold: int = 1
    clips: int = 0
    split_seed: int = 1
    most_us: int = 0  # at most so much of a clip, from its start; 0: all of it
    slice_us: int = 25_000
    dt_us: int = 50_000
    steps: int = 20
    length: int = 0
    grid: tuple[int, int] = (32, 32)  # width, height of a frame in cells
    clean_up: tuple[str, ...] = ()  # stages between source and windows, written into the package

    def __post_init__(self) -> None:
        if self.slice_us <= 0 or self.dt_us <= 0 or self.dt_us % self.slice_us:
            raise ValueError(f"slice_us must divide dt_us {self.dt_us}, got {self.slice_us}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.length and self.length < self.steps:
            raise ValueError(f"length must be 0 or at least steps {self.steps}, got {self.length}")
        if self.most_us and self.windows * self.dt_us > self.most_us:
            raise ValueError(
                f"most_us must be 0 or at least {self.windows} windows of {self.dt_us} us, got {self.most_us}"
            )
        if not 0 < self.hold_out < 1:
            raise ValueError(f"hold_out must be between 0 and 1, got {self.hold_out}")
        if self.folds and not (self.folds >= 2 and 1 <= self.fold <= self.folds):
            raise ValueError(f"wanted folds >= 2 and fold 1 to folds, got fold {self.fold} of {self.folds}")
        if self.folds and self.validation:
            raise ValueError(f"folds {self.folds} and validation {self.validation!r}: wanted one of them")
        if self.clips < 0:
            raise ValueError(f"clips must be 0 or more, got {self.clips}")

    @property
    def windows(self) -> int:
        """Windows of a training sample."""
        return self.length or self.steps
