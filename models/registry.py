"""Every network by name: `build("masnn3", attention="tcs", form="sliding")`.

A family's module registers its networks; nothing else knows them by name. An entry's `variants` are
small settings, from which the contract tests build it in every form it has: a network that is added here
is tested with no line of test code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from spikeline.models.network import Network

FAMILIES = ("masnn", "plifnet", "residual", "sew", "gac", "syna", "staa")

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """A network: its frozen settings class, the function that builds it, its paper, small variants."""

    name: str
    settings: type
    build: Callable[[Any], Network]
    paper: str
    about: str
    published: Settings  # settings of the paper, over the class's defaults
    variants: tuple[Settings, ...]


_ENTRIES: dict[str, Entry] = {}


def register(
    name: str,
    settings: type,
    build: Callable[[Any], Network],
    *,
    paper: str,
    about: str,
    published: Settings | None = None,
    variants: tuple[Settings, ...],
) -> None:
    _ENTRIES[name] = Entry(name, settings, build, paper, about, published or {}, variants)


def networks() -> dict[str, Entry]:
    """Name -> entry, of every family."""
    for family in FAMILIES:
        import_module(f"spikeline.models.{family}")
    return dict(_ENTRIES)


def build(name: str, **settings: Any) -> Network:
    """The network called `name`: as published, with these settings replaced. Raises ValueError, one line."""
    known = networks()
    if name not in known:
        raise ValueError(f"network {name!r} is not known; choose from {', '.join(known)}")
    entry = known[name]
    allowed = [field.name for field in fields(entry.settings)]
    for setting in settings:
        if setting not in allowed:
            raise ValueError(f"network {name} has no setting {setting!r}; it has {', '.join(allowed)}")
    chosen = {key: _tupled(value) for key, value in (dict(entry.published) | settings).items()}
    types = get_type_hints(entry.settings)
    for setting, value in chosen.items():
        kind = types[setting]
        if not _fits(value, kind):
            wanted = kind.__name__ if isinstance(kind, type) else str(kind)
            raise ValueError(f"network {name}: {setting} must be {wanted}, got {value!r}")
    return entry.build(entry.settings(**chosen))


def _fits(value: Any, kind: Any) -> bool:
    """Whether a setting's value is of its type, a whole number also where any number will do."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return any(_fits(value, option) for option in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = inner[:1] * len(value) if inner[1:] == (...,) else inner
        return len(value) == len(each) and all(map(_fits, value, each))
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, inner[1]) for item in value.values())
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _tupled(value: Any) -> Any:
    """Lists, as a settings file has them, are tuples here."""
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
