"""Sources of event packets. `open_source` opens any of them by its URI; see `source_kinds`."""

import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from spikeline.drivers import uri as grammar
from spikeline.drivers.chain import Chain
from spikeline.drivers.detect import HEAD_BYTES, detect
from spikeline.drivers.faults import OPTIONS as FAULT_OPTIONS
from spikeline.drivers.faults import CutFile, Faulty, read_script
from spikeline.drivers.formats import FORMATS, KNOWN, no_format, open_format, reader_of
from spikeline.drivers.piped import Piped
from spikeline.drivers.wrappers import Clip, Cut, Loop, Paced
from spikeline.pipeline.events import Sensor, Source, SourceError

__all__ = ["open_source", "source_kinds", "base_of", "keeps_time"]

WRAPPERS = {"cut": ("events",), "clip": ("start", "stop"), "loop": ("times",), "fault": FAULT_OPTIONS}
KEEP_TIME = ("camera", "dv", "udp", "zmq")  # their packets come when they are due
NOT_YET = {
    "camera": "camera:[serial|model]",
    "udp": "udp://host:port",
    "zmq": "zmq://host:port",
    "tonic": "tonic:DVSGesture?...",
}
SIMULATIONS = ("gesture", "stream", "chain", "gait")


def source_kinds() -> dict[str, str]:
    """What a URI's base can be, and the wrappers, each with a line for the help text."""
    return {
        "FILE": f"a recording, by its content: {KNOWN}",
        "FILE?format=NAME": f"a recording as this format: {', '.join(sorted(FORMATS))}",
        "FILE.npz?clip=K": "clip K of a labelled set; without it each clip is an epoch",
        "GLOB": "several recordings in the order of their names, one epoch each",
        "-": "a recording from standard input; a FIFO's name does too",
        "dv://HOST:PORT": "a live camera that a DV sender on the network gives out",
        "sim:gesture?seed=1": "a simulated camera; also sim:stream, sim:chain, sim:gait",
        "cut(events=N)+SOURCE": "packets of at most N events",
        "clip(start=S;stop=S)+SOURCE": "only these seconds, from the first event on",
        "loop(times=N)+SOURCE": "N times, 0 for ever; each pass is a new epoch",
        "fault(file=F.toml;seed=1)+SOURCE": "with faults on purpose: docs/faults.md",
    }


def open_source(
    uri: str | Path,
    *,
    sensor: Sensor | None = None,
    packet_events: int | None = None,
    speed: float = 0.0,
    start_s: float = 0.0,
    stop_s: float | None = None,
    loop: int = 1,
    stream: int | None = None,
) -> Source:
    """Open a source; raises SourceError, one line that says what is wrong and what would be right.

    sensor         the sensor's size, for a file that does not say it
    packet_events  packets of at most so many events
    speed          deliver in time, 1 is real time; 0 without waiting
    start_s, stop_s  only this part, in seconds after the first event
    loop           so many passes, 0 for ever
    stream         number of the events stream in an AEDAT4 file that has several
    """
    factory = _factory(str(uri), sensor, stream)
    if start_s != 0.0 or stop_s is not None:
        factory = partial(_around, factory, lambda source: Clip(source, start_s, stop_s))
    source: Source = factory() if loop == 1 else Loop(_repeatable(str(uri), factory), loop)
    try:
        if sensor is not None and sensor[:2] != source.sensor[:2]:
            raise SourceError(
                f"{uri}: its sensor is {source.sensor.width}x{source.sensor.height}; "
                f"--sensor says {sensor.width}x{sensor.height}"
            )
        if packet_events is not None:
            source = Cut(source, packet_events)
        if speed != 0.0:
            source = Paced(source, speed)
    except BaseException:
        source.__exit__(None, None, None)
        raise
    return source


def base_of(uri: str) -> str:
    """A source's URI without its wrappers."""
    return uri if os.path.exists(uri) else grammar.split_wrappers(uri, WRAPPERS)[1]


def keeps_time(uri: str) -> bool:
    """Whether the source's packets come when they are due, as from a camera."""
    return not os.path.exists(uri) and grammar.scheme_of(base_of(uri)) in KEEP_TIME


def _factory(uri: str, sensor: Sensor | None, stream: int | None) -> Callable[[], Source]:
    """The function that opens the URI, wrappers and all."""
    if os.path.exists(uri):
        return partial(_open_base, uri, sensor, stream)
    wrappers, base = grammar.split_wrappers(uri, WRAPPERS)
    factory: Callable[[], Source] = partial(_open_base, base, sensor, stream)
    scripts = [read_script(options, f"{uri}: {name}") for name, options in wrappers if name == "fault"]
    if cuts := [cut for script in scripts for cut in script.cuts]:
        factory = partial(CutFile, base, cuts, partial(_open_base, sensor=sensor, stream=stream))
    for name, options in reversed(wrappers):
        where = f"{uri}: {name}"
        grammar.only(options, WRAPPERS[name], where)
        if name == "cut":
            if "events" not in options:
                raise SourceError(f"{where}: no events; wanted cut(events=N)")
            events = grammar.whole(options, "events", 0, where)
            factory = partial(_around, factory, partial(Cut, events=events))
        elif name == "fault":
            wrap = partial(Faulty, script=scripts.pop(), keeps_time=grammar.scheme_of(base) in KEEP_TIME)
            factory = partial(_around, factory, wrap)
        elif name == "clip":
            start_s = grammar.number(options, "start", 0.0, where)
            stop_s = grammar.number(options, "stop", 0.0, where) if "stop" in options else None
            factory = partial(_around, factory, partial(Clip, start_s=start_s, stop_s=stop_s))
        else:
            times = grammar.whole(options, "times", 0, where)
            factory = partial(Loop, _repeatable(base, factory), times)
    return factory


def _around(factory: Callable[[], Source], wrap: Callable[[Source], Source]) -> Source:
    source = factory()
    try:
        return wrap(source)
    except BaseException:
        source.__exit__(None, None, None)
        raise


def _repeatable(base: str, factory: Callable[[], Source]) -> Callable[[], Source]:
    name = base.rpartition("+")[2].partition("?")[0]
    if name == "-" or _is_pipe(name):
        what = "standard input" if name == "-" else "a pipe"
        raise SourceError(f"{name}: {what} can be read only once; a loop needs a file")
    return factory


def _open_base(base: str, sensor: Sensor | None, stream: int | None) -> Source:
    if os.path.exists(base):
        return _open_file(base, {}, sensor, stream)
    if base == "-" or base.startswith("-?"):
        return _open_stdin(grammar.split_options(base[2:], "&", base), sensor, stream)
    scheme = grammar.scheme_of(base)
    if scheme in NOT_YET:
        raise SourceError(f"{base}: this version cannot open {NOT_YET[scheme]} sources yet")
    if scheme == "sim":
        return _open_simulation(base)
    if scheme == "dv":
        return _open_dv(base, sensor, stream)
    path, question, query = base.rpartition("?")
    if question and "=" in query and os.path.exists(path):
        return _open_file(path, grammar.split_options(query, "&", base), sensor, stream)
    if glob.has_magic(base):
        files, options = _matching(base), {}
        if not files and question and "=" in query:
            files, options = _matching(path), grammar.split_options(query, "&", base)
        if not files:
            raise SourceError(f"{base}: no file matches")
        return Chain((name, partial(_open_file, name, options, sensor, stream)) for name in files)
    if scheme:
        known = ", ".join(sorted({*NOT_YET, "dv", "sim"}))
        raise SourceError(f"{base}: no such file, and no such kind of source: {scheme}; known are {known}")
    raise SourceError(f"{base}: no such file")


def _matching(pattern: str) -> list[str]:
    return sorted(name for name in glob.glob(pattern, recursive=True) if os.path.isfile(name))


def _open_file(name: str, options: dict[str, str], sensor: Sensor | None, stream: int | None) -> Source:
    if os.path.isdir(name):
        raise SourceError(f"{name}: is a folder; wanted a file, or a glob such as {os.path.join(name, '*')}")
    try:
        if _is_pipe(name):
            return _open_pipe(Piped(open(name, "rb", buffering=0), name), options, sensor, stream)
        with open(name, "rb") as file:
            head = file.read(HEAD_BYTES)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise SourceError(f"{name}: cannot be read: {error.strerror or error}") from error
    form, options, forced = _format(name, head, size, options, stream)
    return open_format(name, form, sensor, options, forced=forced)


def _format(
    name: str, head: bytes, size: int, options: dict[str, str], stream: int | None
) -> tuple[str, dict[str, str], bool]:
    """(the format, the options, whether the user says it rather than the file)"""
    found = detect(head, name, size)
    forced = options.get("format")
    if forced is not None and forced not in FORMATS:
        raise SourceError(f"{name}: format={forced}; choose from {', '.join(sorted(FORMATS))}")
    if forced == "mcap" and found.format == "rosmcap":
        forced = "rosmcap"  # one name for users; the content says whose
    chosen = forced or found.format
    if chosen is None:
        raise no_format(name, "is empty" if not head else f"is {found.title or 'in no format we know'}")
    if stream is not None:
        if "stream" not in reader_of(chosen).OPTIONS:
            raise SourceError(
                f"{name}: stream {stream}: wanted AEDAT4 or another format with numbered streams; "
                f"this is {FORMATS[chosen].title}"
            )
        options = {**options, "stream": str(stream)}
    return chosen, options, forced is not None or not found.sure


def _is_pipe(name: str) -> bool:
    """A FIFO, say, or the shell's <(command)."""
    return os.path.exists(name) and not (os.path.isfile(name) or os.path.isdir(name))


def _open_stdin(options: dict[str, str], sensor: Sensor | None, stream: int | None) -> Source:
    if sys.stdin is None or sys.stdin.isatty():
        raise SourceError("-: standard input is a terminal; wanted a recording piped into it")
    return _open_pipe(Piped(sys.stdin.buffer, "standard input", keep=True), options, sensor, stream)


def _open_pipe(piped: Piped, options: dict[str, str], sensor: Sensor | None, stream: int | None) -> Source:
    """Read as it comes, if the format can be; else all of it is first put into a temporary file."""
    name = str(piped)
    try:
        form, options, forced = _format(name, piped.at(0, HEAD_BYTES), piped.size, options, stream)
        if reader_of(form).FORWARD:
            return open_format(piped, form, sensor, options, forced=forced)
    except BaseException:
        piped.close()
        raise
    spool = tempfile.NamedTemporaryFile(prefix="spikeline-", delete=False)  # noqa: SIM115 - unlinked below
    try:
        with spool:
            shutil.copyfileobj(piped.reader(), spool, 1 << 20)
        return open_format(spool.name, form, sensor, options, forced=forced)
    except SourceError as error:
        raise SourceError(str(error).replace(spool.name, name)) from error
    except OSError as error:
        raise SourceError(f"{name}: cannot be kept in {spool.name}: {error.strerror}") from error
    finally:
        piped.close()
        os.unlink(spool.name)  # who has it open can still read it


def _open_dv(base: str, sensor: Sensor | None, stream: int | None) -> Source:
    if stream is not None:
        raise SourceError(
            f"{base}: stream {stream}: only AEDAT4 files have streams; this is a DV network stream"
        )
    from spikeline.drivers.dv_network import DvNetworkSource

    return DvNetworkSource(base, sensor)


def _open_simulation(base: str) -> Source:
    kind, _, query = base.partition(":")[2].partition("?")
    if kind not in SIMULATIONS:
        raise SourceError(f"{base}: no simulation {kind!r}; choose from {', '.join(SIMULATIONS)}")
    options = grammar.split_options(query, "&", base)
    from spikeline.drivers.sim import SimSource

    return SimSource(options, kind)
