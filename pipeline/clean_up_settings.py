"""Settings of the clean-up stages, and the one grammar that the command line, packages and reports share.

    background(us=2000),refractory(us=1000),hot-pixels,crop(x=10,y=0,w=128,h=128),flip(x),polarity(on)

A stage is its name, then its settings in parentheses: `key=value`, or a word where there is only one thing
to say. What is left out has its default; `str(settings)` writes everything out, so that what was run can be
read later, whatever the defaults are by then.
"""

import re
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

LONGEST_US = 3_600_000_000
MOST_PER_S = 1_000_000_000
_STAGE = re.compile(r"\s*([a-z-]+)\s*(?:\(([^()]*)\))?\s*(,|$)")


class CleanUpError(ValueError):
    """A clean-up that cannot be done as asked: one line naming the stage, what was found and wanted."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base. NAME: the stage's name in the grammar; WORDS: what a bare word says, as setting and value."""

    NAME: ClassVar[str]
    WORDS: ClassVar[dict[str, tuple[str, Any]]] = {}

    def __str__(self) -> str:
        words = {said: word for word, said in self.WORDS.items()}
        parts = []
        for field in fields(self):
            value = getattr(self, field.name)
            if (field.name, value) in words:
                parts.append(words[field.name, value])
            elif value is not False:
                parts.append(f"{field.name}={value}")
        return f"{self.NAME}({','.join(parts)})" if parts else self.NAME

    def _wanted(self, name: str, least: int, most: int) -> None:
        value = getattr(self, name)
        if not least <= value <= most:
            raise CleanUpError(f"{self.NAME}: {name}={value}; wanted {least} to {most}")


@dataclass(frozen=True, kw_only=True)
class Background(Settings):
    """Keep an event if one of its 8 neighbours fired less than `us` before it."""

    NAME = "background"
    us: int = 2_000

    def __post_init__(self) -> None:
        self._wanted("us", 1, LONGEST_US)


@dataclass(frozen=True, kw_only=True)
class Refractory(Settings):
    """After an event a pixel is blind for `us`: after each event kept, or (`all`) after each event."""

    NAME = "refractory"
    WORDS = {"kept": ("all", False), "all": ("all", True)}  # noqa: RUF012
    us: int = 1_000
    all: bool = False

    def __post_init__(self) -> None:
        self._wanted("us", 1, LONGEST_US)


@dataclass(frozen=True, kw_only=True)
class HotPixels(Settings):
    """Mask pixels that fire all the time, at `hz` or more and `times` as often as half of those around."""

    NAME = "hot-pixels"
    hz: int = 20
    times: int = 10

    def __post_init__(self) -> None:
        self._wanted("hz", 8, 1_000_000)  # each of 8 slices of a second must hold an event
        self._wanted("times", 1, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class Crop(Settings):
    """Keep the w x h pixels from (x, y) on; they become a sensor of their own."""

    NAME = "crop"
    x: int = 0
    y: int = 0
    w: int
    h: int

    def __post_init__(self) -> None:
        for name in "xy":
            self._wanted(name, 0, 65_535)
        for name in "wh":
            self._wanted(name, 1, 65_536)


@dataclass(frozen=True, kw_only=True)
class Flip(Settings):
    """Mirror left-right (`x`), top-bottom (`y`), or both."""

    NAME = "flip"
    WORDS = {"x": ("x", True), "y": ("y", True)}  # noqa: RUF012
    x: bool = False
    y: bool = False

    def __post_init__(self) -> None:
        if not (self.x or self.y):
            raise CleanUpError("flip: no direction; wanted flip(x), flip(y) or flip(x,y)")


@dataclass(frozen=True, kw_only=True)
class Transpose(Settings):
    """Swap x and y: rows become columns."""

    NAME = "transpose"


@dataclass(frozen=True, kw_only=True)
class Polarity(Settings):
    """Keep ON or OFF events only, or swap the two."""

    NAME = "polarity"
    WORDS = {word: ("what", word) for word in ("on", "off", "swap")}  # noqa: RUF012
    what: str = ""

    def __post_init__(self) -> None:
        if self.what not in self.WORDS:
            raise CleanUpError(f"polarity: {self.what or 'nothing said'}; wanted on, off or swap")


@dataclass(frozen=True, kw_only=True)
class Rate(Settings):
    """At most `limit` events a second, and no more than those of `us` at once."""

    NAME = "rate"
    limit: int
    us: int = 10_000

    def __post_init__(self) -> None:
        self._wanted("limit", 1, MOST_PER_S)
        self._wanted("us", 1, 1_000_000)


KINDS: dict[str, type[Settings]] = {
    kind.NAME: kind for kind in (Background, Refractory, HotPixels, Crop, Flip, Transpose, Polarity, Rate)
}


def parse(text: str) -> tuple[Settings, ...]:
    """The stages of a comma-separated list, in order; the empty text has none.

    >>> [str(stage) for stage in parse("flip(x), rate(limit=1e6)")]
    ['flip(x)', 'rate(limit=1000000,us=10000)']
    """
    stages = []
    at = 0
    while at < len(text):
        match = _STAGE.match(text, at)
        if not match or (match.end() == len(text) and match[3]):
            raise CleanUpError(f"clean-up {text!r}: at {text[at:]!r}; wanted name(key=value,...),name,...")
        name, inside, _ = match.groups()
        if name not in KINDS:
            raise CleanUpError(f"clean-up: no stage {name!r}; choose from {', '.join(KINDS)}")
        stages.append(_settings(KINDS[name], inside or ""))
        at = match.end()
    return tuple(stages)


def chosen(trained: Sequence[str], asked: str) -> tuple[Settings, ...]:
    """The stages to run: the model's, unless asked otherwise.

    asked: "" as the model says; "none"; "+A,B" these before the model's; "A,B" these instead of them.
    """
    own = parse(",".join(trained))
    if not asked:
        return own
    if asked == "none":
        return ()
    return parse(asked[1:]) + own if asked.startswith("+") else parse(asked)


def departure(trained: Sequence[str], asked: str) -> str:
    """What a user must be told when clean-up departs from the model's: one line, or the empty text."""
    own, run = parse(",".join(trained)), chosen(trained, asked)
    if run == own:
        return ""
    names = [",".join(map(str, stages)) or "none" for stages in (run, own)]
    return f"clean-up is {names[0]}; the model was trained with {names[1]}"


def _settings(kind: type[Settings], inside: str) -> Settings:
    """A stage from what stands in its parentheses."""
    spoken = {name for name, _ in kind.WORDS.values()}  # settings that are said by words
    counted = [field.name for field in fields(kind) if field.name not in spoken]
    values: dict[str, Any] = {}
    for part in inside.split(",") if inside.strip() else []:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals and key in kind.WORDS:
            key, said = kind.WORDS[key]
        elif equals and key in counted:
            said = _whole(value, f"{kind.NAME}: {key}")
        else:
            takes = ", ".join([*kind.WORDS, *(f"{name}=N" for name in counted)])
            raise CleanUpError(f"{kind.NAME}: {part.strip()!r}; it takes {takes or 'no settings'}")
        if key in values:
            raise CleanUpError(f"{kind.NAME}: {key} is given twice")
        values[key] = said
    for field in fields(kind):
        if field.default is MISSING and field.name not in values:
            raise CleanUpError(f"{kind.NAME}: no {field.name}; wanted {field.name}=N")
    return kind(**values)


def _whole(text: str, where: str) -> int:
    """`1000000` and `1e6` alike."""
    try:
        value = float(text)
        if value == int(value):
            return int(text) if text.lstrip("+-").isdigit() else int(value)
    except (ValueError, OverflowError):
        pass
    raise CleanUpError(f"{where}={text}; wanted a whole number")
