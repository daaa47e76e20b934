"""The families of golden vectors: file name prefix -> the function that runs one file through our modules."""

from collections.abc import Callable

from golden import causal, gac, ma, networks, residual, sj, staa, syna, tasnn
from golden.vector import Results, Vector

Family = Callable[[Vector], Results]

FAMILIES: dict[str, Family] = {
    **causal.FAMILIES,
    **gac.FAMILIES,
    **ma.FAMILIES,
    **networks.FAMILIES,
    **residual.FAMILIES,
    **sj.FAMILIES,
    **staa.FAMILIES,
    **syna.FAMILIES,
    **tasnn.FAMILIES,
}


def family_of(name: str) -> Family | None:
    """The family with the longest prefix of a file's name; None where no family knows it."""
    found = max((prefix for prefix in FAMILIES if name.startswith(prefix)), key=len, default=None)
    return None if found is None else FAMILIES[found]
