"""A line on stderr when kernels are being compiled: once for an installation, and it takes a while."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event


class _Said(event.Listener):
    """Speaks when the first kernel is compiled; one that is loaded from Numba's cache is no event."""

    def __init__(self) -> None:
        self.said = False

    def on_start(self, event: Any) -> None:
        if not self.said:
            self.said = True
            print("spikeline: compiling the sparse engine, once for this installation", file=sys.stderr)

    def on_end(self, event: Any) -> None:
        return


@contextmanager
def compiling_said() -> Iterator[None]:
    listener, begun = _Said(), time.monotonic()
    with event.install_listener("numba:compile", listener):
        yield
    if listener.said:
        print(f"spikeline: compiled in {time.monotonic() - begun:.0f} s", file=sys.stderr)
