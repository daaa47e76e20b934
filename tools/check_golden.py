"""Run every golden vector of a folder through our modules; exit 1 where one falls short.

python tools/check_golden.py DIR

A vector is a .npz with `config_json`, the original's weights as `sd/<name>` and its inputs and outputs.
Its family follows from its name's prefix (tools/golden/), everything else from the file itself. A line
per file: the largest absolute and relative difference over all its outputs. Wanted: 1e-6 where an array
is stored as float64, 1e-4 as float32, of each value or, for values under 1, of 1 or of the array's largest
value, whichever is less; and whole numbers (spikes) exactly. An array or a weight that nothing used fails.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from golden import family_of
from golden.vector import Difference, MismatchError, Vector


@dataclass(frozen=True)
class Report:
    """What one file showed."""

    name: str
    differences: list[Difference]
    problems: list[str]
    notes: list[str]

    @property
    def passed(self) -> bool:
        return not self.problems and bool(self.differences) and all(d.passed for d in self.differences)

    def line(self) -> str:
        absolute = max((d.absolute for d in self.differences), default=float("nan"))
        relative = max((d.relative for d in self.differences), default=float("nan"))
        text = f"{'pass' if self.passed else 'FAIL'}  {self.name:<40} {absolute:9.1e} {relative:9.1e}"
        short = [f"{d.name}: {d.problem or f'{d.absolute:.1e}'}" for d in self.differences if not d.passed]
        remarks = "; ".join([*self.problems, *short, *self.notes])
        return f"{text}  {remarks}".rstrip()


def check(path: Path) -> Report:
    """One file against our modules. A file that cannot be run is a report that says why."""
    family = family_of(path.stem)
    if family is None:
        return Report(path.stem, [], ["unknown family"], [])
    try:
        vector = Vector(path)
        results = family(vector)
    except MismatchError as error:
        return Report(path.stem, [], [str(error)], [])
    except (
        ArithmeticError,
        AssertionError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        return Report(path.stem, [], [f"{type(error).__name__}: {error}".splitlines()[0]], [])
    differences = [vector.compare(name, result) for name, result in results.items()]
    compared = {name.split("@")[0] for name in results}
    left = sorted(set(vector.arrays) - vector.inputs - set(vector.set_aside) - compared)
    problems = [f"array {name} is not known to this family" for name in left]
    problems += [f"weight {name} is not used" for name in sorted(vector.unused)]
    notes = [f"{name} not compared: {reason}" for name, reason in vector.set_aside.items()]
    return Report(path.stem, differences, problems, notes)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args(arguments).folder
    torch.set_num_threads(1)
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        print(f"{folder}: found no .npz file", file=sys.stderr)
        return 1
    print(f"      {'vector':<40} {'absolute':>9} {'relative':>9}")
    reports = []
    for path in paths:
        report = check(path)
        print(report.line(), flush=True)
        reports.append(report)
    passed = sum(report.passed for report in reports)
    print(f"{passed} of {len(reports)} pass")
    return 0 if passed == len(reports) else 1


if __name__ == "__main__":
    sys.exit(main())
