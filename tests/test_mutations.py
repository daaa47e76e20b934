"""Twenty damaged copies of a file of every format: whatever comes of it, it is one of the things we promise.

`make test-long` reads 1,000 of each; docs/robustness.md has the table.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from format_files import FILES
from mutation_trials import FAILURES, HARMLESS, ROUND, mutants

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="limits and measures memory as Linux does"),
]
COUNT = 20


@pytest.fixture(scope="module")
def results():
    """A summary of each format's trials, from one process: a pytest that has run for long must not fork."""
    script = Path(__file__).with_name("mutation_trials.py")
    command = [sys.executable, script, "--count", str(COUNT), "--events", "2000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2_000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["name"]: line for line in found}


@pytest.mark.parametrize("name", FILES)
def test_damage_never_crashes_hangs_swells_or_breaks_the_contract(results, name):
    found = results[name]
    assert found["failures"] == []
    assert found["trials"] == COUNT == sum(found[verdict] for verdict in (*FAILURES, *HARMLESS))


def test_every_kind_of_damage_is_done_and_is_the_same_every_time():
    data = bytes(range(256)) * 40
    others = {"b": b"other", "c": b"another"}
    first = list(mutants("a", data, 400, others))
    assert first == list(mutants("a", data, 400, others)) and first[:200] == list(
        mutants("a", data, 200, others)
    )
    assert {kind for kind, *_ in first} == set(ROUND)
    assert len({mutant for *_, mutant in first}) > 370
    few = list(mutants("a", data, 20, others))
    assert len(few) == 20 and all(mutant in first for mutant in few)
    for kind, _, at, mutant in first:
        assert mutant[:at] == data[: min(at, len(mutant))] or kind == "another format"
        assert mutant != data
