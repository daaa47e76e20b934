"""The clean-up stages: each takes the events of a packet and gives those it keeps, turned or moved.

A stage holds its settings, the sensor's size behind it, what it remembers of the past and its count. The
loops are in clean_up_kernels.py; the rules that all obey stand in clean_up.py.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeline.pipeline.clean_up_kernels import (
    EVENT,
    HOT,
    NEVER,
    STRETCH_US,
    keep_affordable,
    keep_inside,
    keep_polarity,
    keep_rested,
    keep_supported,
    keep_unmasked,
)
from spikeline.pipeline.clean_up_settings import (
    Background,
    CleanUpError,
    Crop,
    Flip,
    HotPixels,
    Polarity,
    Rate,
    Refractory,
    Settings,
    Transpose,
)
from spikeline.pipeline.events import Coordinates, Polarities, Sensor, Times

Columns = tuple[Times, Coordinates, Coordinates, Polarities]  # t, x, y, p of one packet


class Stage(ABC):
    """Base: `clean(events, room)` gives the events kept, in `room` if it moves them; that may be the arrays
    they are in. `sensor` is the size of what comes out."""

    moves = False  # events, into the room; else their arrays stay as they are
    filtered = 0

    def __init__(self, settings: Settings, sensor: Sensor) -> None:
        self.settings = settings
        self.sensor = sensor

    @abstractmethod
    def clean(self, events: Columns, room: Columns) -> Columns: ...

    def reset(self) -> None:  # noqa: B027 - most stages have no past
        """A new epoch: forget the past."""

    def found(self) -> dict[str, Any]:
        """What the run's report should say besides the count."""
        return {}


class Filter(Stage):
    """Base of the stages that leave events out: `keep` moves the others together and counts them."""

    moves = True

    def clean(self, events: Columns, room: Columns) -> Columns:
        kept = self.keep(*events, *room)
        t, x, y, p = room
        return t[:kept], x[:kept], y[:kept], p[:kept]

    @abstractmethod
    def keep(self, *columns: NDArray[Any]) -> int:
        """t, x, y, p, and the same four of the room."""


class BackgroundFilter(Filter):
    """An event that none of its neighbours supports is noise."""

    def __init__(self, settings: Background, sensor: Sensor) -> None:
        super().__init__(settings, sensor)
        self._us = settings.us
        self._last = np.full((sensor.height + 2, sensor.width + 2), NEVER, np.int64)

    def keep(self, *columns: NDArray[Any]) -> int:
        return keep_supported(*columns, self._last, self._us)

    def reset(self) -> None:
        self._last.fill(NEVER)


class RefractoryFilter(Filter):
    """A pixel that has just fired is blind for a while."""

    def __init__(self, settings: Refractory, sensor: Sensor) -> None:
        super().__init__(settings, sensor)
        self._us, self._all = settings.us, settings.all
        self._last = np.full((sensor.height, sensor.width), NEVER, np.int64)

    def keep(self, *columns: NDArray[Any]) -> int:
        return keep_rested(*columns, self._last, self._us, self._all)

    def reset(self) -> None:
        self._last.fill(NEVER)


class HotPixelMask(Filter):
    """Pixels that fire all the time, whatever their neighbours see, are masked until the epoch ends."""

    def __init__(self, settings: HotPixels, sensor: Sensor) -> None:
        super().__init__(settings, sensor)
        self._least = settings.hz * STRETCH_US // 1_000_000
        self._times = settings.times
        self._seen = np.zeros((sensor.height, sensor.width, 2), np.int32)
        self._start = np.full(1, NEVER, np.int64)
        self._ever = np.zeros((sensor.height, sensor.width), bool)  # masked in an epoch that is over

    def keep(self, *columns: NDArray[Any]) -> int:
        return keep_unmasked(*columns, self._seen, self._start, self._least, self._times)

    def reset(self) -> None:
        self._ever |= self.mask
        self._seen.fill(0)
        self._start.fill(NEVER)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W): True where a pixel is masked now."""
        return self._seen[:, :, 1] == HOT

    def found(self) -> dict[str, Any]:
        """Every pixel masked in this run, as [x, y] on the sensor that this stage sees."""
        return {"pixels": np.argwhere((self._ever | self.mask).T).tolist()}


class Cropping(Filter):
    """A part of the sensor, as a sensor of its own."""

    def __init__(self, settings: Crop, sensor: Sensor) -> None:
        if settings.x + settings.w > sensor.width or settings.y + settings.h > sensor.height:
            raise CleanUpError(
                f"{settings}: the sensor before it is {sensor.width}x{sensor.height}; wanted a part of that"
            )
        super().__init__(settings, Sensor(settings.w, settings.h, sensor.model))
        self._part = (settings.x, settings.y, settings.w, settings.h)

    def keep(self, *columns: NDArray[Any]) -> int:
        return keep_inside(*columns, *self._part)


class Flipping(Stage):
    """The picture in a mirror."""

    def __init__(self, settings: Flip, sensor: Sensor) -> None:
        super().__init__(settings, sensor)
        self._right = np.uint16(sensor.width - 1) if settings.x else None
        self._bottom = np.uint16(sensor.height - 1) if settings.y else None

    def clean(self, events: Columns, room: Columns) -> Columns:
        t, x, y, p = events
        return (
            t,
            x if self._right is None else self._right - x,
            y if self._bottom is None else self._bottom - y,
            p,
        )


class Transposing(Stage):
    """Rows become columns."""

    def __init__(self, settings: Transpose, sensor: Sensor) -> None:
        super().__init__(settings, Sensor(sensor.height, sensor.width, sensor.model))

    def clean(self, events: Columns, room: Columns) -> Columns:
        t, x, y, p = events
        return t, y, x, p


class PolarityFilter(Filter):
    """ON events only, or OFF events only."""

    def __init__(self, settings: Polarity, sensor: Sensor) -> None:
        super().__init__(settings, sensor)
        self._wanted = ("off", "on").index(settings.what)

    def keep(self, *columns: NDArray[Any]) -> int:
        return keep_polarity(*columns, self._wanted)


class PolaritySwap(Stage):
    """ON becomes OFF, and OFF becomes ON."""

    def clean(self, events: Columns, room: Columns) -> Columns:
        t, x, y, p = events
        return t, x, y, p ^ np.uint8(1)


class RateLimiter(Filter):
    """No more than so many events a second; what exceeds it is left out as it comes."""

    def __init__(self, settings: Rate, sensor: Sensor) -> None:
        super().__init__(settings, sensor)
        self._limit = settings.limit
        self._most = max(EVENT, settings.limit * settings.us)
        self._purse = np.empty(2, np.int64)
        self.reset()

    def keep(self, *columns: NDArray[Any]) -> int:
        return keep_affordable(*columns, self._purse, self._limit, self._most)

    def reset(self) -> None:
        self._purse[:] = self._most, NEVER


def open_stage(settings: Settings, sensor: Sensor) -> Stage:
    """The stage with these settings behind a sensor; CleanUpError where it does not fit."""
    kind = STAGES[type(settings)]
    if settings == Polarity(what="swap"):
        kind = PolaritySwap
    return kind(settings, sensor)


STAGES: dict[type[Settings], type[Any]] = {
    Background: BackgroundFilter,
    Refractory: RefractoryFilter,
    HotPixels: HotPixelMask,
    Crop: Cropping,
    Flip: Flipping,
    Transpose: Transposing,
    Polarity: PolarityFilter,
    Rate: RateLimiter,
}
