"""Who may import whom: the arrows between the folders, read from the source with `ast`."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PREFIX = "spikeline."

ENGINES_KNOW = ("graph", "evaluate", "arithmetic", "torch_arithmetic")  # how a lowered graph is computed

# the lowered form, and what evaluates it
LOWERED = (
    *("graph", "operations", "shapes", "neurons", "reference"),
    *("arithmetic", "evaluate", "gates", "gate_scores", "step_gates"),
    *("paper_costs", "pruning", "syna_costs"),
)

# room -> what it may import of ours; a file is in the first room whose path it starts with
ROOMS = {
    "pipeline/__init__.py": ("spikeline.pipeline",),  # the front door: looks up `open_pipeline` when asked
    "pipeline/commands": ("spikeline",),
    "pipeline/training": ("spikeline.pipeline", "spikeline.models", "spikeline.drivers"),
    "pipeline/engines": ("spikeline.pipeline", *(f"spikeline.models.{name}" for name in ENGINES_KNOW)),
    "pipeline": ("spikeline.pipeline", "spikeline.models.graph"),
    "drivers": ("spikeline.drivers", "spikeline.pipeline.events"),
    "models": ("spikeline.models",),
    "configs": (),
}
NOT_FOR_PIPELINE = ("spikeline.pipeline.commands", "spikeline.pipeline.training")
TORCH_FREE = ("pipeline", "drivers", "configs")  # but for lazy imports, and pipeline/training
FILES = sorted(
    p for room in ("pipeline", "drivers", "models", "configs") for p in (ROOT / room).rglob("*.py")
)


def imports(path, *, top_level_only=False):
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path):
    relative = path.relative_to(ROOT).as_posix()
    return next(room for room in ROOMS if relative.startswith(room))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_follow_the_arrows(path):
    room = room_of(path)
    for name in imports(path):
        assert name.split(".")[0] not in ("pipeline", "models", "drivers", "configs"), f"bare import {name}"
        if name.startswith(PREFIX):
            allowed = any(
                name == a or name.startswith(a + ".") or a.startswith(name + ".") for a in ROOMS[room]
            )
            assert allowed, f"{room} may not import {name}"
            if room in ("pipeline", "pipeline/engines"):
                assert not name.startswith(NOT_FOR_PIPELINE), f"{room} may not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_the_core_imports_torch_only_when_asked(path):
    room = room_of(path)
    if room.startswith(TORCH_FREE) and room != "pipeline/training":
        assert not any(name.split(".")[0] == "torch" for name in imports(path, top_level_only=True))


@pytest.mark.parametrize("name", LOWERED)
def test_the_lowered_form_never_imports_torch(name):
    assert not any(n.split(".")[0] == "torch" for n in imports(ROOT / "models" / f"{name}.py"))
