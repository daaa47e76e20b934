"""Faults on purpose, around any source: `Faulty`, and what it is told by `read_script`.

A script's faults act on a stream in this order, whatever theirs in the script:

    below the source     cut                                                     bytes.py
    what happens         burst, silence, drop, duplicate                         happening.py
    the clock            wrap, reset, jump                                       clock.py
    the way to us        reorder, drop_packets, delay, block, unplug, end        delivery.py
"""

from spikeline.drivers.faults.bytes import CutFile
from spikeline.drivers.faults.script import OPTIONS, read_script
from spikeline.drivers.faults.wrapper import Faulty

__all__ = ["OPTIONS", "CutFile", "Faulty", "read_script"]
