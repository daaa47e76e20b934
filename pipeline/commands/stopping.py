"""SIGINT and SIGTERM end a session between two packets, so that nothing begun is left half done."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Stoppable(Protocol):
    """What ends between two packets when it is told to stop: a session, or a recording without a model."""

    def stop(self) -> None: ...


@contextmanager
def stopping(session: Stoppable) -> Iterator[list[int]]:
    """The first SIGINT or SIGTERM ends the session cleanly, the second one at once. Gives those seen."""
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        session.stop()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
