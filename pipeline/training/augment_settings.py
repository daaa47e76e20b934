"""What differs from one showing of a clip to the next; nothing unless a preset says so."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Each is off at its default. Cells are those of a frame; ranges are drawn from anew for each sample.

    start: at any slice of a clip that is longer than the sample (the papers' random consecutive slice)
    stretch: time runs at 1/stretch..stretch of its pace, by taking more or fewer slices a window
    flip: left-right, half of the samples, with the labels that swap; only where the set names them
    scale: size times 1/scale..scale    shear: x moved by up to this share of y
    elastic: cells (standard deviation) by which a 5 x 5 net of points is pulled about
    cutout: side in cells of a square without events, anywhere
    keep_min: each event is kept with a probability drawn from keep_min..1
    gain_max: counts times 1/gain_max..gain_max    noise: up to this many extra events per cell and window
    hot_pixels: up to this many cells that fire in every window, up to hot_counts events in each
    mixup: two samples' events are mixed, in shares drawn from a beta distribution of this parameter
    cutmix: chance that a box of another sample replaces the sample's own
    """

    start: bool = True
    stretch: float = 1.0
    shift: int = 0  # cells, each way
    flip: bool = False
    rotation_deg: float = 0.0  # each way
    scale: float = 1.0
    shear: float = 0.0
    elastic: float = 0.0
    cutout: int = 0
    keep_min: float = 1.0
    gain_max: float = 1.0
    noise: float = 0.0
    hot_pixels: int = 0
    hot_counts: int = 4
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name in ("stretch", "scale", "gain_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("shift", "rotation_deg", "shear", "elastic", "cutout", "noise", "hot_pixels", "mixup"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 < self.keep_min <= 1:
            raise ValueError(f"keep_min must be above 0 and at most 1, got {self.keep_min}")
        if not 0 <= self.cutmix <= 1:
            raise ValueError(f"cutmix is a chance from 0 to 1, got {self.cutmix}")
        if self.hot_counts < 1:
            raise ValueError(f"hot_counts must be at least 1, got {self.hot_counts}")

    @property
    def warps(self) -> bool:
        """Whether cells are read from between cells."""
        return self.rotation_deg > 0 or self.scale > 1 or self.shear > 0 or self.elastic > 0

    @property
    def mixes(self) -> bool:
        """Whether samples are made of two."""
        return self.mixup > 0 or self.cutmix > 0
