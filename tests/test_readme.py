"""What the README shows must work."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from spikeline.pipeline.package import zoo

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_python_example_runs_as_printed():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) == 4
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(example, "README.md", "exec"), {})
    lines = out.getvalue().splitlines()
    assert len(lines) == 100  # 5 s in windows of 50 ms
    assert re.match(r"50000 \S+ [0-9.]+ \{'conv1': \d+", lines[0])


@pytest.mark.parametrize("target", ["demo", "test", "test-full", "test-long"])
def test_every_make_target_it_names_exists(target):
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)h][^)]*)\)", README))
def test_every_file_it_links_to_exists(path):
    assert (Path(__file__).parent.parent / path).exists()


def test_a_model_is_shipped():
    assert "gesture" in zoo()
