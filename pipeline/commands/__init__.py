"""The command line: one file per command, imported only when it is the one that was typed.

Exit codes: 0 done, 1 a recording was damaged but partly read, 2 cannot be done as asked (one line says
why and what to do), 130 interrupted. Results go to stdout, everything else to stderr.
"""

import errno
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

COMMANDS = {
    "live": "Run a model on a camera, on the clock.",
    "replay": "Run a recording, or any source, through a model.",
    "demo": "Watch a simulated person being recognised, live, in the terminal.",
    "record": "Keep a camera's packets in a file.",
    "convert": "Write a recording as another format.",
    "info": "Say what a recording holds: events, span, digest.",
    "listen": "Print what a running pipeline publishes.",
    "models": "List the shipped models, or show one.",
    "evaluate": "Measure a model on streams and clips whose labels are known.",
    "export": "Write a model as ONNX, NIR or its bare graph, and prove it equal.",
    "import": "Take over a network from SpikingJelly, snnTorch or NIR.",
    "prune": "Take shortcuts that never fire out of a model.",
    "train": "Train a network from a preset.",
    "bench": "Measure where the time goes.",
}

MODULES = {"import": "take_over"}  # where the command's name cannot be a function's


def main(argv: list[str] | None = None) -> None:
    """Entry point of the `spikeline` command."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = _app(argv[0] if argv else "")(argv or ["--help"], standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except typer.TyperException as error:  # an unknown option, a value of the wrong kind
        return _refuse(f"{error.format_message() if hasattr(error, 'format_message') else error}")
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except (BrokenPipeError, SystemExit) as error:  # `spikeline replay ... | head`: nobody reads on
        if isinstance(error, SystemExit) and getattr(error.__context__, "errno", None) != errno.EPIPE:
            return int(error.code or 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a folder that cannot be made, a full disk
        return _refuse(f"{error.filename or 'system'}: {error.strerror or error}")
    except Exception as error:
        if not _ours(error):
            raise
        return _refuse(str(error))


def _app(chosen: str) -> Callable[..., Any]:
    """All commands by name, but only the chosen one imported; the others stand in for the help text."""
    app = typer.Typer(
        name="spikeline",
        help="Event cameras to gesture predictions, with spiking networks that carry their state.",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_version)
    for name, line in COMMANDS.items():
        if name == chosen:
            module = MODULES.get(name, name)
            command = getattr(importlib.import_module(f"{__name__}.{module}"), module)
            app.command(name, short_help=line)(command)
        else:
            app.command(name, short_help=line)(lambda: None)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as installed
        from importlib.util import find_spec

        extras = "with" if find_spec("torch") else "without"
        print(f"spikeline {installed('spikeline')} (Python {sys.version.split()[0]}, {extras} torch)")
        raise typer.Exit


def _version(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_print_version, help="Print version and extras."
    ),
) -> None: ...


def _ours(error: Exception) -> bool:
    """Whether this is one of our own errors, whose text is written for the user."""
    return type(error).__module__.startswith("spikeline.") and isinstance(error, ValueError | RuntimeError)


def _refuse(message: str) -> int:
    print(f"spikeline: {' '.join(message.split())}", file=sys.stderr)
    return 2
