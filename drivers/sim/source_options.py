"""Options of `sim:` sources, checked: an error is one line with the option, the value and what is wanted."""

from collections.abc import Mapping, Sequence

from spikeline.drivers.sim.gestures import GESTURES
from spikeline.pipeline.events import SourceError

MAX_SEED = (1 << 63) - 1


class Options:
    """The options of one source. `known` are the names it takes."""

    def __init__(self, where: str, options: Mapping[str, str], known: Sequence[str]) -> None:
        self.where, self._options = where, options
        for name in options:
            if name not in known:
                raise SourceError(f"{where}: unknown option {name!r}; expected one of {', '.join(known)}")

    def __contains__(self, name: str) -> bool:
        return name in self._options

    def text(self, name: str) -> str:
        return self._options.get(name, "")

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        text = self._options.get(name, str(default))
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise SourceError(f"{self.where}: {name} is {text!r}; expected an integer from {low} to {high}")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        text = self._options.get(name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = low - 1.0
        if not low <= value <= high:  # refuses nan too
            raise SourceError(f"{self.where}: {name} is {text!r}; expected a number from {low:g} to {high:g}")
        return value

    def choice(self, name: str, default: str, known: Sequence[str]) -> str:
        text = self._options.get(name, default)
        if text != default and text not in known:
            raise SourceError(f"{self.where}: {name} is {text!r}; expected one of {', '.join(known)}")
        return text

    def words(self, name: str, known: Sequence[str]) -> tuple[str, ...]:
        """Words with commas between them."""
        words = tuple(word for word in self.text(name).split(",") if word)
        for word in words:
            if word not in known:
                raise SourceError(
                    f"{self.where}: {name} has {word!r}; expected some of {', '.join(known)}, with commas"
                )
        return words

    def label(self, name: str) -> int | None:
        """A class by its name or number."""
        text = self._options.get(name)
        if text is None:
            return None
        if text in GESTURES:
            return GESTURES.index(text)
        if text.isdecimal() and text.isascii() and int(text) < len(GESTURES):
            return int(text)
        raise SourceError(
            f"{self.where}: {name} is {text!r}; expected 0 to {len(GESTURES) - 1} or one of"
            f" {', '.join(GESTURES)}"
        )
