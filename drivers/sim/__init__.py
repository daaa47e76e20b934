"""The event simulator behind `sim:` sources: people, walkers and digits before an event camera, all seeded.

simulate(draw_clip(seed, index=3))   one labelled clip of a gesture as arrays
SimSource({"seed": "1"}, "stream")   a source of packets, with its truth
tasks.TASKS                          every task of labelled clips: gesture, gait, chain, digits
"""

from spikeline.drivers.sim.gestures import GESTURES
from spikeline.drivers.sim.scene import SIM_VERSION, Clip, clip_from_dict, draw_clip
from spikeline.drivers.sim.source import SimSource
from spikeline.drivers.sim.stepper import simulate

__all__ = ["SIM_VERSION", "GESTURES", "Clip", "SimSource", "clip_from_dict", "draw_clip", "simulate"]
