"""The event simulator behind `sim:` sources: seeded people before a DVS128, as clips or as a stream.

simulate(draw_clip(seed, index=3))   one labelled clip as arrays
SimSource({"seed": "1"})             a stream of gestures as a source of packets
"""

from spikeline.drivers.sim.gestures import GESTURES
from spikeline.drivers.sim.scene import SIM_VERSION, Clip, clip_from_dict, draw_clip
from spikeline.drivers.sim.source import SimSource
from spikeline.drivers.sim.stepper import simulate

__all__ = ["SIM_VERSION", "GESTURES", "Clip", "SimSource", "clip_from_dict", "draw_clip", "simulate"]
