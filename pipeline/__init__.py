"""Packets in, decisions out: slicing, binning, engines, decision, bus.

`open_pipeline` is the whole of spikeline in one call. It is looked up only when asked for, because it
is the one name here that knows every room (drivers, models, engines).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikeline.pipeline.commands.session import open_pipeline

__all__ = ["open_pipeline"]


def __getattr__(name: str) -> Any:
    if name == "open_pipeline":
        from spikeline.pipeline.commands.session import open_pipeline

        return open_pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
