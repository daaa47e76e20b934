"""What an evaluation says besides its figures, and the figures as a page of Markdown."""

import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

from spikeline.drivers.sim import SIM_VERSION
from spikeline.pipeline.package import Package

LIBRARIES = ("spikeline", "numpy", "numba", "onnxruntime", "torch")


def typed(context: typer.Context) -> str:
    """The command line, with what was typed and nothing else, in the order of the help text."""
    words = ["spikeline", context.info_name or ""]
    for option in context.command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        value = context.params.get(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        flag = max(option.opts, key=len)
        if isinstance(value, bool):
            words.append(flag if value else max(option.secondary_opts, key=len))
        else:
            words += [flag, str(value)]
    return shlex.join(words)


def about(command: str, package: Package) -> dict[str, Any]:
    """What must be known to get the same figures again."""
    return {
        "command": command,
        "model": package.manifest.name,
        "model_digest": package.digest,
        "machine": f"{platform.machine()}, Python {sys.version.split()[0]}",
        "versions": {name: found for name in LIBRARIES if (found := _version(name))}
        | {"simulator": str(SIM_VERSION)},
    }


def page(facts: Mapping[str, Any], labels: Sequence[str]) -> str:
    """The whole evaluation as Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    parts = [
        f"# {facts['model']}, evaluated",
        f"```\n{facts['command']}\n```",
        table(
            ("what", "value"),
            [
                ("model digest", f"`{facts['model_digest']}`"),
                ("machine", facts["machine"]),
                ("versions", versions),
            ],
        ),
    ]
    if "tuned" in facts:
        parts += ["## Threshold and hold time, chosen on validation streams", facts["tuned"]["data"]]
        parts.append(_pairs(facts["tuned"]))
        rows = facts["tuned"]["frontier"]
        parts += [
            "The best F1 for a limit of false activations:",
            table([*rows[0]], (row.values() for row in rows)),
        ]
    if "continuous" in facts:
        parts += _stream_parts(facts["continuous"])
    if "clips" in facts:
        parts += _clip_parts(facts["clips"], labels)
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _stream_parts(facts: Mapping[str, Any]) -> list[str]:
    """Plain figures first, then one row per class."""
    parts = ["## Streams", facts["data"], _pairs(facts)]
    if "f1" in facts:
        rows = [
            (name, f1, facts["hits"][name], facts["extra"][name], facts["missed"][name])
            for name, f1 in facts["f1"].items()
        ]
        parts.append(table(("class", "segment F1", "hits", "extra", "missed"), rows))
    return parts


def _clip_parts(facts: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    parts = ["## Clips", facts["data"], _pairs(facts)]
    parts.append(table(("class", "right"), facts["per_class"].items()))
    head = ("", *(str(i) for i in range(len(labels))), "no majority")
    rows = zip(labels, facts["confusion"], facts["undecided"], strict=True)
    parts += [
        "Rows are what was shown, columns what it was called:",
        table(head, ((f"{i} {name}", *row, none) for i, (name, row, none) in enumerate(rows))),
    ]
    if facts["accuracy_at"]:
        by_step = zip(facts["accuracy_at"], facts["nsar"], strict=True)
        steps = ((t, right, nsar) for t, (right, nsar) in enumerate(by_step, 1))
        parts.append(table(("after step", "accuracy", "NSAR"), steps))
    return parts


def _pairs(facts: Mapping[str, Any]) -> str:
    """All figures that are one number, or a few with names, in their own words."""
    rows: list[tuple[str, Any]] = []
    for name, value in facts.items():
        if name in ("data", "f1", "hits", "extra", "missed", "per_class"):
            continue
        if isinstance(value, Mapping):
            rows += [(f"{name}: {key}", inner) for key, inner in _flat(value)]
        elif not isinstance(value, list):
            rows.append((name, value))
    return table(("figure", "value"), [(name.replace("_", " "), value) for name, value in rows])


def _flat(facts: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from ((f"{name} {key}", inner) for key, inner in _flat(value))
        else:
            yield name, value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, tuple):
        return " to ".join(_cell(part) for part in value)
    return f"{value}".replace("|", "\\|")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
