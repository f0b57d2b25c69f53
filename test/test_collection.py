"""All tests run where ROS 2's own pytest plugins are installed, as on a robot."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import launch_testing_stand_in
from support.paths import ROOT

MODULES = {
    "test_first.py": "import pytest\npytest.importorskip('no_such_extra')\ndef test_needs_it(): ...\n",
    "test_second.py": "def test_one(): ...\ndef test_two(): ...\n",
}
"""A project where an extra is missing."""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return launch_testing_stand_in.install(tmp_path_factory.mktemp("plugins"))


def collect(folder: Path, plugins: Path, *arguments: str) -> tuple[int, str]:
    """Return how many tests pytest finds with the plugins installed, and what it prints."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "no:dash", *arguments]  # a slow plugin that comes with Open3D
    path = os.pathsep.join([str(plugins), str(ROOT), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    return len(re.findall(r"^\S+::test_", result.stdout, re.MULTILINE)), result.stdout + result.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "test").mkdir()
    for name, text in MODULES.items():
        (tmp_path / "test" / name).write_text(text)
    return tmp_path


def test_a_missing_extra_skips_its_own_tests_only(project: Path, plugins: Path) -> None:
    count, said = collect(project, plugins)
    assert count == 2, said


def test_the_stand_in_ends_a_collection_as_launch_testing_does(project: Path, plugins: Path) -> None:
    """Without the project's options: else the test above would pass whatever they are."""
    count, said = collect(project, plugins, "-o", "addopts=--import-mode=importlib")
    assert count == 0 and "no tests collected" in said, said


def test_as_many_tests_are_found_with_the_plugins_as_without(plugins: Path, tmp_path: Path) -> None:
    """The first of these modules needs what may be missing."""
    some = [str(ROOT / "test" / name) for name in ("ros/test_launch.py", "test_checks.py", "test_support.py")]
    with_plugins, said = collect(ROOT, plugins, *some)
    without, _ = collect(ROOT, tmp_path, *some)
    assert with_plugins == without > 20, said
