"""Imports go one way. They are read from the source, so lazy and type-checking imports count, too.

ORDER is the map of the package. A module may import from its own row and from the rows above it,
and never in a circle. `hand_depth_ros/__init__.py` re-exports the Python API lazily and has no row.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "hand_depth_ros"
ORDER: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("geometry",),
    ("network",),
    ("estimation",),
    ("ros",),
    ("ros.node",),
    ("cli",),
    ("infer", "bag", "evaluation"),
    ("synthesis",),
    ("training",),
    ("demo",),
    ("calibration", "doctor"),
    ("cli.main", "__main__"),
)
"""Packages and modules from the ground up. The longest name that fits a module gives its row."""
WITHOUT_TORCH = ("ros.parameters", "cli.options", "cli.main")
"""Modules that must import without PyTorch, so that --help and errors answer at once."""
TORCH = ("torch", "lightning", "safetensors.torch")
"""Libraries that import PyTorch."""
WITH_RCLPY = ("ros.node", "ros.qos", "doctor", "demo.player")
"""Rooms that may import rclpy: the node, its QoS, and what talks to a running node."""


class Import(NamedTuple):
    """An imported module or library, and whether the import runs when the file is imported."""

    target: str
    at_import_time: bool


def _modules() -> dict[str, Path]:
    """Return the modules by their dotted names below the package ("" is the package itself)."""
    root = REPOSITORY / PACKAGE
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
        for path in root.rglob("*.py")
    } | {"__main__": root / "__main__.py"}


MODULES = _modules()


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING"


def _statements(node: ast.AST, at_import_time: bool = True) -> Iterator[tuple[ast.stmt, bool]]:
    """Yield the import statements below ``node``, and whether each runs at import time."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_import_time
        later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_type_checking(
            child
        )
        yield from _statements(child, at_import_time and not later)


def _targets(statement: ast.stmt, package: str) -> list[str]:
    """Return the dotted names that a statement imports: submodules where it names them."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    assert isinstance(statement, ast.ImportFrom)
    base = statement.module or ""
    if statement.level:
        parents = package.split(".")[: len(package.split(".")) - statement.level + 1]
        base = ".".join([*parents, *([base] if base else [])])
    names = [f"{base}.{alias.name}" for alias in statement.names]
    return [name if name.removeprefix(f"{PACKAGE}.") in MODULES else base for name in names]


def imports_of(source: str, package: str) -> list[Import]:
    """Return every import in the text of a module of ``package``, a dotted name."""
    return [
        Import(target, at_import_time)
        for statement, at_import_time in _statements(ast.parse(source))
        for target in _targets(statement, package)
    ]


def _package_of(module: str) -> str:
    parts = [PACKAGE, *(module.split(".") if module else [])]
    return ".".join(parts if MODULES[module].name == "__init__.py" else parts[:-1])


IMPORTS = {
    module: imports_of(path.read_text(encoding="utf-8"), _package_of(module))
    for module, path in MODULES.items()
}


def _inside(target: str) -> str | None:
    """Return a target's name below the package, or None for a library's."""
    return target.removeprefix(f"{PACKAGE}.") if target.startswith(f"{PACKAGE}.") else None


def _is_in(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def row_of(module: str) -> int | None:
    """Return the row of ORDER that holds a module, or None."""
    rooms = [
        (len(room), number) for number, row in enumerate(ORDER) for room in row if _is_in(module, (room,))
    ]
    return max(rooms)[1] if rooms else None


def upward(imports: Mapping[str, list[Import]]) -> set[str]:
    """Return the arrows "importer -> imported" that go from a row to one below it in ORDER."""
    found = set()
    for module, targets in imports.items():
        for target in targets:
            imported = _inside(target.target)
            if imported is None or row_of(module) is None or row_of(imported) is None:
                continue
            if row_of(imported) > row_of(module):
                found.add(f"{module} -> {imported}")
    return found


def circles(graph: Mapping[str, set[str]]) -> list[str]:
    """Return one circle of the graph as "a -> b -> a", or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" -> ".join(reversed(error.args[1]))]
    return []


def _files_graph() -> dict[str, set[str]]:
    """Return who imports whom; a package's `__init__` is part of the graph like any module."""
    inside = {
        module: {_inside(target.target) for target in targets}
        for module, targets in IMPORTS.items()
        if module
    }
    return {module: {name for name in names if name and name != module} for module, names in inside.items()}


def _folders_graph() -> dict[str, set[str]]:
    """Return which folder imports from which. `ros` and `cli` are divided into their parts."""

    def room(module: str) -> str:
        parts = module.split(".")
        return ".".join(parts[:2]) if parts[0] in ("ros", "cli") else parts[0]

    graph: dict[str, set[str]] = {}
    for module, names in _files_graph().items():
        graph.setdefault(room(module), set()).update(
            room(name) for name in names if room(name) != room(module)
        )
    return graph


def loads(module: str, libraries: tuple[str, ...]) -> list[str]:
    """Return the chain of modules by which importing ``module`` loads a library, or nothing."""
    chains, seen = [[module]], {module}
    while chains:
        chain = chains.pop(0)
        here = chain[-1]
        parents = [here.rpartition(".")[0]] if "." in here else []
        for name, at_import_time in [*IMPORTS[here], *(Import(f"{PACKAGE}.{p}", True) for p in parents)]:
            if not at_import_time:
                continue
            if _is_in(name, libraries):
                return [*chain, name]
            imported = _inside(name)
            if imported in MODULES and imported not in seen:
                seen.add(imported)
                chains.append([*chain, imported])
    return []


def test_every_module_has_a_row() -> None:
    assert {module for module in MODULES if row_of(module) is None} == {""}


def test_every_row_exists() -> None:
    for room in (room for row in ORDER for room in row):
        assert room in MODULES, room


def test_arrows_go_one_way() -> None:
    assert not upward(IMPORTS)


def test_no_circle_of_files() -> None:
    assert not circles(_files_graph())


def test_no_circle_of_folders() -> None:
    assert not circles(_folders_graph())


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_imports_without_torch(module: str) -> None:
    assert not loads(module, TORCH)
    code = f"import sys, {PACKAGE}.{module}; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, timeout=120, check=False).returncode == 0
    )


def test_only_the_node_and_what_talks_to_it_import_rclpy() -> None:
    assert {
        module for module in MODULES if loads(module, ("rclpy",)) and not _is_in(module, WITH_RCLPY)
    } == set()
    named = {
        module for module, imports in IMPORTS.items() if any(_is_in(i.target, ("rclpy",)) for i in imports)
    }
    assert named and all(_is_in(module, WITH_RCLPY) for module in named)


def test_sees_an_arrow_that_goes_up_wherever_it_stands() -> None:
    for source in (
        "from hand_depth_ros.estimation import tracking",
        "import hand_depth_ros.estimation.tracking",
        "from ..estimation import tracking",
        "from ..estimation.tracking import Track",
        "def f():\n    from hand_depth_ros.estimation import tracking",
        "if TYPE_CHECKING:\n    from hand_depth_ros.estimation.tracking import Track",
    ):
        imports = imports_of(source, f"{PACKAGE}.geometry")
        assert upward({"geometry.camera": imports}) == {"geometry.camera -> estimation.tracking"}, source
        assert not upward({"demo.cli": imports})


def test_sees_a_circle() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert not circles({"a": {"b", "c"}, "b": {"c"}})


def test_tells_imports_at_import_time_from_lazy_ones() -> None:
    source = """
import torch
class A:
    import numpy
    def f(self):
        import scipy
if TYPE_CHECKING:
    import cv2
"""
    lazy = {name for name, at_import_time in imports_of(source, PACKAGE) if not at_import_time}
    assert lazy == {"scipy", "cv2"}
