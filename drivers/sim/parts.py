"""The parts of the pixel model by name, and each switched off: what does it change, for people and networks?

values, readout = without(values, readout, ("noise", "rebound"))
"""

from collections.abc import Sequence

from spikeline.drivers.sim.camera import Readout
from spikeline.drivers.sim.pixel_state import PixelValues

PARTS: dict[str, str] = {
    "mismatch": "every pixel has the same thresholds, bandwidth, leak and reset",
    "noise": "no shot noise and no hot pixels",
    "leak": "no leak events",
    "refractory": "a reset of 1 us",
    "bandwidth": "a photoreceptor as fast as it gets, without a second pole",
    "rebound": "no event of the other sign after an event",
    "readout": "every event leaves at once and alone: no bus, no queue, no duplicates",
}


def part_names(off: str | Sequence[str]) -> tuple[str, ...]:
    """Names as one word with commas, or one by one."""
    return tuple(name for name in off.split(",") if name) if isinstance(off, str) else tuple(off)


def without(values: PixelValues, readout: Readout, off: Sequence[str]) -> tuple[PixelValues, Readout]:
    """The camera with the parts of these names switched off; raises ValueError for a name it has not."""
    for name in off:
        if name not in PARTS:
            raise ValueError(f"off: unknown part {name!r}; choose from {', '.join(PARTS)}")
    if "mismatch" in off:
        values = values._replace(theta_spread=0.0, mismatch=0.0)
    if "noise" in off:
        values = values._replace(noise_bright_hz=0.0, noise_dark_hz=0.0, hot_share=0.0)
    if "leak" in off:
        values = values._replace(leak_hz=0.0)
    if "refractory" in off:
        values = values._replace(refractory_us=1.0)
    if "bandwidth" in off:
        values = values._replace(f_ref_hz=1e6, follower_hz=0.0)
    if "rebound" in off:
        values = values._replace(rebound_after_off=0.0, rebound_after_on=0.0)
    if "readout" in off:
        values, readout = values._replace(duplicate=0.0), Readout(bus_us=0, stamp_us=readout.stamp_us)
    return values, readout
