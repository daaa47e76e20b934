"""The source URI: `[wrapper{,wrapper}+]base`, and a wrapper is `name` or `name(key=value;...)`.

cut(events=100)+sim:gesture?seed=1        the leftmost wrapper is the outermost
loop(times=3),clip(stop=2)+walk.aedat4    three times the first two seconds
"""

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from spikeline.pipeline.events import SourceError

_WRAPPER = re.compile(r"([A-Za-z_]\w*)(?:\(([^()]*)\))?([,+])")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9]+):")  # two letters or more: one is a Windows drive


class Wrapper(NamedTuple):
    name: str
    options: dict[str, str]


def split_wrappers(uri: str, known: Collection[str]) -> tuple[list[Wrapper], str]:
    """The wrappers, outermost first, and the base. Without parentheses only a known name is a wrapper."""
    wrappers: list[Wrapper] = []
    at = 0
    while match := _WRAPPER.match(uri, at):
        name, inside, sign = match.groups()
        if inside is None and name not in known:
            break
        if name not in known:
            raise SourceError(f"{uri}: unknown wrapper {name}; choose from {', '.join(sorted(known))}")
        wrappers.append(Wrapper(name, split_options(inside or "", ";", f"{uri}: {name}")))
        at = match.end()
        if sign == "+":
            return wrappers, uri[at:]
    if wrappers:
        raise SourceError(f"{uri}: no base after the wrappers; wanted wrapper{{,wrapper}}+base")
    return [], uri


def split_options(text: str, sign: str, where: str) -> dict[str, str]:
    """`key=value` pairs, each key once."""
    options: dict[str, str] = {}
    for part in text.split(sign) if text else []:
        key, equals, value = part.partition("=")
        if not (key.strip() and equals):
            raise SourceError(f"{where}: option {part!r}; wanted key=value")
        if key.strip() in options:
            raise SourceError(f"{where}: option {key.strip()} is given twice")
        options[key.strip()] = value.strip()
    return options


def scheme_of(base: str) -> str:
    """What stands before the first colon, if it can be a scheme; else ''."""
    match = _SCHEME.match(base)
    return match.group(1) if match else ""


def number(options: Mapping[str, str], key: str, default: float, where: str) -> float:
    if key not in options:
        return default
    try:
        return float(options[key])
    except ValueError:
        raise SourceError(f"{where}: {key}={options[key]}; wanted a number") from None


def whole(options: Mapping[str, str], key: str, default: int, where: str) -> int:
    if key not in options:
        return default
    try:
        return int(options[key])
    except ValueError:
        raise SourceError(f"{where}: {key}={options[key]}; wanted a whole number") from None


def choice(options: Mapping[str, str], key: str, allowed: Collection[str], where: str) -> str | None:
    """The option's value, one of those allowed; None: not given."""
    if key in options and options[key] not in allowed:
        raise SourceError(f"{where}: {key}={options[key]}; choose from {', '.join(allowed)}")
    return options.get(key)


def only(options: Mapping[str, str], allowed: Collection[str], where: str) -> None:
    for key in options:
        if key not in allowed:
            wanted = f"choose from {', '.join(sorted(allowed))}" if allowed else "it takes none"
            raise SourceError(f"{where}: unknown option {key}; {wanted}")
