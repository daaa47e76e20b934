"""What a fault wrapper is told: a TOML file, options of the URI, or both.

    [[fault]]
    kind = "drop"       # what
    at_s = 2.0          # from when on: at_s, at_event or at_packet
    for_s = 0.5         # how long: for_s, for_events or for_packets
    share = 0.01        # how much

In the URI an option stands for a fault and how much of it, and at_s and for_s are of all of them:
`fault(drop=0.01;delay_ms=20;at_s=2)`. docs/faults.md lists both.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from spikeline.drivers import uri as grammar
from spikeline.drivers.faults.base import Fault
from spikeline.drivers.faults.bytes import CutBytes
from spikeline.drivers.faults.clock import Jump, Reset, Wrap
from spikeline.drivers.faults.delivery import Block, Delay, DropPackets, End, Reorder, Unplug
from spikeline.drivers.faults.happening import Burst, Drop, Duplicate, Silence
from spikeline.drivers.faults.raw import When
from spikeline.pipeline.events import SourceError

IN_ORDER: tuple[type[Fault], ...] = (
    *(Burst, Silence, Drop, Duplicate),
    *(Wrap, Reset, Jump),
    *(Reorder, DropPackets, Delay, Block, Unplug, End),
)

# option of the URI -> kind and setting
INLINE = {
    "burst": ("burst", "rate"),
    "burst_pixels": ("burst", "pixels"),
    "silence_s": ("silence", "for_s"),
    "drop": ("drop", "share"),
    "duplicate": ("duplicate", "share"),
    "wrap_bits": ("wrap", "bits"),
    "reset_us": ("reset", "to_us"),
    "jump_us": ("jump", "us"),
    "reorder": ("reorder", "share"),
    "reorder_us": ("reorder", "us"),
    "drop_packets": ("drop_packets", "share"),
    "delay_ms": ("delay", "ms"),
    "block_ms": ("block", "ms"),
    "unplug_s": ("unplug", "for_s"),  # 0: for good
    "end_s": ("end", "at_s"),
    "cut_at": ("cut", "at_byte"),
    "cut_every": ("cut", "every"),
    "cut_bytes": ("cut", "bytes"),
}
OPTIONS = ("file", "seed", "at_s", "for_s", *INLINE)

AT_ONCE = ("wrap", "reset", "block", "unplug", "end")  # a length is not theirs, or said by their option

_KINDS: dict[str, type[Fault] | type[CutBytes]] = {
    **{kind.KIND: kind for kind in IN_ORDER},
    CutBytes.KIND: CutBytes,
}
_WHEN = {field.name: field.type for field in fields(When)}
_WHOLE = (int, int | None)  # annotations of settings that are whole numbers


@dataclass(frozen=True)
class Script:
    """Faults of a stream in the order in which they act, cuts of the file below it, and the seed of all."""

    seed: int
    faults: tuple[Fault, ...]
    cuts: tuple[CutBytes, ...]


def read_script(options: Mapping[str, str], where: str) -> Script:
    """The options of `fault(...)`, with the file that they name."""
    grammar.only(options, OPTIONS, where)
    seed = 0
    tables: list[dict[str, Any]] = []
    if "file" in options:
        seed, tables = _from_file(options["file"], where)
    tables += _from_options(options, where)
    seed = grammar.whole(options, "seed", seed, where)
    made = [_fault(table, place, f"{where}: fault {place + 1}") for place, table in enumerate(tables)]
    if not made:
        raise SourceError(f"{where}: no fault; wanted file=f.toml or one of {', '.join(INLINE)}")
    order = {kind: k for k, kind in enumerate(IN_ORDER)}
    faults = sorted((f for f in made if isinstance(f, Fault)), key=lambda fault: order[type(fault)])
    return Script(seed, tuple(faults), tuple(f for f in made if isinstance(f, CutBytes)))


def _from_file(name: str, where: str) -> tuple[int, list[dict[str, Any]]]:
    try:
        document = tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{where}: {name}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"{where}: {name}: {' '.join(str(error).split())}") from error
    grammar.only(document, ("seed", "fault"), f"{where}: {name}")
    seed, tables = document.get("seed", 0), document.get("fault", [])
    if type(seed) is not int:
        raise SourceError(f"{where}: {name}: seed = {seed!r}; wanted a whole number")
    if not (isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
        raise SourceError(f"{where}: {name}: fault; wanted [[fault]] tables")
    return seed, tables


def _from_options(options: Mapping[str, str], where: str) -> list[dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    for key, (kind, setting) in INLINE.items():
        if key in options:
            tables.setdefault(kind, {"kind": kind})[setting] = grammar.number(options, key, 0.0, where)
    if tables.get("unplug", {}).get("for_s") == 0:
        del tables["unplug"]["for_s"]
    for key, without in (("at_s", {"cut"}), ("for_s", {"cut", *AT_ONCE})):
        takers = [table for kind, table in tables.items() if kind not in without]
        if key in options and not takers:
            raise SourceError(f"{where}: {key}={options[key]}: no fault here takes it")
        for table in takers if key in options else []:
            table.setdefault(key, grammar.number(options, key, 0.0, where))
    return list(tables.values())


def _fault(table: dict[str, Any], place: int, where: str) -> Fault | CutBytes:
    """One table as a fault; what does not fit is refused by name."""
    kind = table.get("kind")
    if kind not in _KINDS:
        raise SourceError(f"{where}: kind = {kind!r}; choose from {', '.join(_KINDS)}")
    chosen = _KINDS[kind]
    known = {f.name: f for f in fields(chosen) if f.name not in ("when", "place")}
    times = {} if chosen is CutBytes else _WHEN
    grammar.only(table, ("kind", *known, *times), f"{where}: {kind}")
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name != "kind":
            whole = (known[name].type if name in known else times[name]) in _WHOLE
            values[name] = _number(value, whole, f"{where}: {kind}: {name}")
    for name, setting in known.items():
        if setting.default is MISSING and name not in values:
            raise SourceError(f"{where}: {kind}: no {name}")
    try:
        if issubclass(chosen, Fault):
            when = When(**{name: values.pop(name) for name in list(values) if name in times})
            return chosen(when=when, place=place, **values)
        return chosen(**values)
    except ValueError as error:
        raise SourceError(f"{where}: {kind}: {error}") from error


def _number(value: object, whole: bool, where: str) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        if not whole:
            return float(value)
        if abs(value) < 1e18 and value == int(value):
            return int(value)
    raise SourceError(f"{where} = {value}; wanted a {'whole ' if whole else ''}number")
