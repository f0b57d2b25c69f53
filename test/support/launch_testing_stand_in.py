"""A pytest plugin that acts on a collection as launch_testing does, for machines without it.

Written from that plugin's behaviour: it registers with pytest as launch_testing, and its hook
imports every test module when pytest asks for the module's collector. A skip of a whole module is
then raised within the hook, which ends the collection.
"""

from __future__ import annotations

from pathlib import Path

HOOKS = """
import importlib.util
from pathlib import Path

import pytest


def pytest_pycollect_makemodule(module_path, parent):
    spec = importlib.util.spec_from_file_location(Path(module_path).stem, module_path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not hasattr(module, "generate_test_description")
    return pytest.Module.from_parent(parent, path=module_path)
"""


def install(folder: Path) -> Path:
    """Write the plugin as an installed package, found by pytest with the folder on PYTHONPATH."""
    for name, entry in (("launch_testing", "launch_testing"), ("launch_testing_ros", "launch_ros")):
        package, info = folder / name / "pytest", folder / f"{name}-3.4.0.dist-info"
        package.mkdir(parents=True)
        info.mkdir()
        (folder / name / "__init__.py").touch()
        (package / "__init__.py").touch()
        (package / "hooks.py").write_text(HOOKS if name == "launch_testing" else "")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 3.4.0\n")
        (info / "entry_points.txt").write_text(f"[pytest11]\n{entry} = {name}.pytest.hooks\n")
    return folder
