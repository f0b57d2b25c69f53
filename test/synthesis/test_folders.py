"""Folders of the synthesis import one way, as the table in its docstring says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from support.paths import ROOT

PACKAGE = "hand_depth_ros.synthesis."
ALLOWED = {
    "people": {"appearance", "rotations", "surface", "people"},
    "render": {"appearance", "rotations", "surface", "render"},
    "scene": {"appearance", "rotations", "surface", "units", "people", "render", "scene"},
}
"""For each folder, the modules and folders of the synthesis that it may import."""


def imported(path: Path) -> set[str]:
    """Return the first names below the synthesis that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGE):
            found.add(node.module.removeprefix(PACKAGE).split(".")[0])
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_folder_imports_only_what_stands_below_it(folder: str) -> None:
    modules = sorted((ROOT / "hand_depth_ros" / "synthesis" / folder).glob("*.py"))
    assert len(modules) > 4
    for path in modules:
        assert imported(path) <= ALLOWED[folder], path.name


def test_only_render_loads_blender() -> None:
    for path in (ROOT / "hand_depth_ros" / "synthesis").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert "import bpy" not in source or path.name == "blender.py", path
