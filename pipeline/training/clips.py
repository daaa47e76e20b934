"""Labelled clips as count frames of a short slice: what training and evaluation read.

A sample may start at any slice, and neighbouring slices are summed to a network's dt. Needs no torch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_COUNT = 255  # of a cell and slice

# Where a clip's events went: events = the sum of all others.
ACCOUNT = (
    "events",
    "framed",
    "refused",  # by the source: outside the sensor, late, no polarity
    "filtered",  # by the clean-up
    "saturated",  # in a cell that was full
    "unfinished",  # in the last slice, which no clock has closed
    "beyond",  # after the part of the clip that was asked for, or after a reset of its clock
)


@dataclass(frozen=True, kw_only=True)
class ClipSet:
    """Clip k is `frames[offsets[k]:offsets[k + 1]]`.

    frames  (slices of all clips, 2, H, W) uint8, OFF first; counts above 255 are 255
    labels  (N,) int64, index into `names`    persons  (N,) int64, -1 where unknown
    flipped  the class that a left-right flip makes of each; None: a flip would make no sense
    still    each clip is one picture, (1, channels, H, W), and every window shows it
    accounts  (N, len(ACCOUNT)) int64, where the events of each clip went; None where nobody counted
    """

    about: str  # where they come from, for people
    names: tuple[str, ...]
    sensor: tuple[int, int]  # width, height, after clean-up: what a package says it was trained on
    slice_us: int
    frames: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    persons: NDArray[np.int64]
    flipped: tuple[int, ...] | None = None
    still: bool = False
    accounts: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def grid(self) -> tuple[int, int]:
        """Width and height of a frame in cells."""
        return self.frames.shape[3], self.frames.shape[2]

    def clip(self, i: int) -> NDArray[np.uint8]:
        """Slices of clip i, (n, 2, H, W)."""
        return self.frames[self.offsets[i] : self.offsets[i + 1]]

    def slices(self, i: int) -> int:
        return int(self.offsets[i + 1] - self.offsets[i])

    def per(self, dt_us: int) -> int:
        """Slices of a window of dt. Raises ValueError where dt is not a whole number of them."""
        if self.still:
            return 1
        per, rest = divmod(dt_us, self.slice_us)
        if rest or per == 0:
            raise ValueError(f"windows of {dt_us} us do not divide into slices of {self.slice_us} us")
        return per

    def sample(self, i: int, dt_us: int, steps: int, start: int = 0) -> NDArray[np.uint16]:
        """`steps` windows of dt of clip i from slice `start`, (steps, 2, H, W); zeros after its end."""
        if self.still:
            return np.repeat(self.clip(i).astype(np.uint16), steps, 0)
        per = self.per(dt_us)
        cut = self.clip(i)[start : start + steps * per]
        if len(cut) < steps * per:
            whole = np.zeros((steps * per, *cut.shape[1:]), np.uint8)
            whole[: len(cut)] = cut
            cut = whole
        return cut.reshape(steps, per, *cut.shape[1:]).sum(1, dtype=np.uint16)

    def windows(self, dt_us: int, steps: int, start: int = 0) -> Iterator[tuple[int, NDArray[np.uint16]]]:
        """Index and sample of each clip, all from slice `start`."""
        for i in range(len(self)):
            yield i, self.sample(i, dt_us, steps, start)

    def shorter_than(self, span_us: int) -> int:
        """How many clips end before `span_us`: their samples are filled up with empty windows."""
        return 0 if self.still else int((np.diff(self.offsets) * self.slice_us < span_us).sum())

    def take(self, chosen: ArrayLike) -> Self:
        """The clips of these indices, in this order, as a set of their own."""
        rows = np.asarray(chosen, np.int64)
        lengths = np.diff(self.offsets)[rows]
        frames = [self.clip(int(i)) for i in rows] or [self.frames[:0]]
        return replace(
            self,
            frames=np.concatenate(frames),
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            labels=self.labels[rows],
            persons=self.persons[rows],
            accounts=None if self.accounts is None else self.accounts[rows],
        )


def packed(clips: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`frames` and `offsets` of clips (n, 2, H, W) one after another."""
    return np.concatenate(clips), np.concatenate([[0], np.cumsum([len(clip) for clip in clips])])
