"""TOML to frozen dataclasses. Anything past this file may trust its settings."""

import tomllib
from dataclasses import MISSING, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

T = TypeVar("T")


class ConfigError(ValueError):
    """Something the user can fix in a configuration file or on the command line."""


def parse(cls: type[T], table: dict[str, Any], where: str) -> T:
    """`table` as a `cls`; nested tables become nested dataclasses. Unknown settings are refused by path."""
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    types = get_type_hints(cls)
    values = {}
    for name, value in table.items():
        if name not in known:
            raise ConfigError(f"{where}.{name}: unknown setting; choose from {', '.join(known)}")
        kind = types[name]
        if is_dataclass(kind):
            if not isinstance(value, dict):
                raise ConfigError(f"{where}.{name}: wanted a table, found {value!r}")
            value = parse(kind, value, f"{where}.{name}")  # type: ignore[arg-type]
        elif get_origin(kind) is tuple and isinstance(value, list):
            value = tuple(value)
        elif kind is float and type(value) is int:
            value = float(value)
        elif kind in (int, float, str, bool) and type(value) is not kind:
            raise ConfigError(f"{where}.{name}: wanted {kind.__name__}, found {value!r}")
        values[name] = value
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{where}.{name}: missing")
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def load_preset(name: str) -> tuple[dict[str, Any], str]:
    """The TOML table of a file, or of a shipped preset by name; and what to call it in messages."""
    path = Path(name)
    if not path.is_file():
        folder = Path(str(resources.files("spikeline.configs")))
        path = folder / f"{name}.toml"
        if not path.is_file():
            shipped = ", ".join(sorted(file.stem for file in folder.glob("*.toml")))
            raise ConfigError(
                f"preset {name!r}: no such file or shipped preset; wanted a .toml file or one of: {shipped}"
            )
    try:
        return tomllib.loads(path.read_text()), path.stem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
