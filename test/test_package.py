"""The package installs with pip and colcon, with all it needs at run time."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from support import launch_testing_stand_in

import hand_depth_ros
from hand_depth_ros.cli import main as cli
from hand_depth_ros.ros.package_files import package_file

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = ("setup.py", "setup.cfg", "pyproject.toml", "package.xml", "README.md", "LICENSE")
FOLDERS = ("hand_depth_ros", "resource", "config", "launch", "test")


def run(command: list[str], folder: Path, **environment: str) -> str:
    result = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the repository, so that a build leaves it clean."""
    folder = tmp_path_factory.mktemp("src") / "hand_depth_ros"
    folder.mkdir()
    for name in SOURCES:
        shutil.copy(REPOSITORY / name, folder)
    for name in FOLDERS:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", reason="building a wheel needs setuptools")
    out = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(out)]
    run([sys.executable, "-m", "pip", "wheel", *options, "."], sources)
    return next(out.glob("*.whl"))


def test_the_wheel_has_all_that_is_needed_at_run_time(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    package = REPOSITORY / "hand_depth_ros"
    needed = [p for p in package.rglob("*") if p.is_file() and p.suffix in (".py", ".safetensors", ".typed")]
    needed += [p for folder in ("weights", "demo/clip") for p in (package / folder).rglob("*") if p.is_file()]
    missing = {str(path.relative_to(REPOSITORY)) for path in needed} - set(names)
    assert not missing
    for folder in ("config", "config/presets", "launch"):
        for path in (REPOSITORY / folder).glob("*.*"):
            assert any(n.endswith(f"data/share/hand_depth_ros/{folder}/{path.name}") for n in names)
    assert any(n.endswith("data/share/ament_index/resource_index/packages/hand_depth_ros") for n in names)
    assert "hand-depth = hand_depth_ros.__main__:main" in entry_points
    assert "hand_depth_node = hand_depth_ros.ros.node.main:main" in entry_points


def test_an_installed_package_finds_its_shared_files(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    options = ["--quiet", "--no-deps", "--no-index", "--target", str(target)]
    run([sys.executable, "-m", "pip", "install", *options, str(wheel)], tmp_path)
    code = (
        "from hand_depth_ros.ros.presets import NAMES, Preset; list(map(Preset.load, NAMES));"
        "from hand_depth_ros.ros.package_files import package_file;"
        "print(package_file('config/fastdds_large_images.xml'))"
    )
    found = run([sys.executable, "-c", code], tmp_path, PYTHONPATH=str(target)).strip()
    assert found.startswith(str(target)) and Path(found).is_file()


def test_a_checkout_finds_its_shared_files() -> None:
    assert package_file("config/hand_depth.yaml") == REPOSITORY / "config/hand_depth.yaml"


def test_colcon_builds_and_tests_the_package(sources: Path, tmp_path: Path) -> None:
    for module in ("colcon_core", "colcon_ros", "colcon_python_setup_py"):
        pytest.importorskip(module, reason="colcon is not installed: pip install 'hand_depth_ros[test]'")
    colcon = [sys.executable, "-c", "import sys; from colcon_core.command import main; sys.exit(main())"]
    where = {"COLCON_HOME": str(tmp_path / "home"), "COLCON_LOG_PATH": str(tmp_path / "log")}
    folders = ["--build-base", str(tmp_path / "build"), "--install-base", str(tmp_path / "install")]
    run([*colcon, "build", "--base-paths", str(sources), *folders], tmp_path, **where)
    prefix = tmp_path / "install" / "hand_depth_ros"
    assert (prefix / "share/ament_index/resource_index/packages/hand_depth_ros").is_file()
    for name in ("hand_depth_node", "hand-depth"):
        assert os.access(prefix / "lib/hand_depth_ros" / name, os.X_OK)
    source = f". {tmp_path}/install/local_setup.sh && {prefix}/lib/hand_depth_ros/hand-depth --version"
    assert run(["sh", "-c", source], tmp_path, COLCON_CURRENT_PREFIX=str(tmp_path / "install")).strip() == (
        hand_depth_ros.__version__
    )
    plugins = launch_testing_stand_in.install(tmp_path / "plugins")
    where["PYTHONPATH"] = os.pathsep.join([str(plugins), os.environ.get("PYTHONPATH", "")])
    files = ["test/ros/test_launch.py", "test/cli/test_cli.py"]  # the first skips where launch_ros is missing
    only = ["--return-code-on-test-failure", "--pytest-args", *files, "-k", "version"]
    run([*colcon, "test", "--base-paths", str(sources), *folders, *only], tmp_path, **where)
    suite = ElementTree.parse(tmp_path / "build/hand_depth_ros/pytest.xml").getroot()[0]
    ran = [case for case in suite if case.find("skipped") is None]
    assert [case.get("name") for case in ran] == ["test_version"] and suite.get("failures") == "0"


def test_package_xml_says_what_setup_py_says() -> None:
    root = ElementTree.parse(REPOSITORY / "package.xml").getroot()
    assert root.get("format") == "3"
    assert root.findtext("name") == "hand_depth_ros"
    assert root.findtext("version") == hand_depth_ros.__version__
    assert root.findtext("export/build_type") == "ament_python"
    assert (REPOSITORY / "resource/hand_depth_ros").is_file()


def test_package_xml_names_every_ros_package_that_is_imported() -> None:
    root = ElementTree.parse(REPOSITORY / "package.xml").getroot()
    declared = {element.text for element in root.findall("exec_depend")}
    ros = re.compile(
        r"^\s*(?:from|import) ("
        r"(?:rclpy|rcl_interfaces|builtin_interfaces|\w+_msgs|std_srvs|sensor_msgs_py|tf2_ros|cv_bridge|launch"
        r"|launch_ros|ament_index_python|message_filters|rosbag2_py))\b",
        re.MULTILINE,
    )
    for folder in ("hand_depth_ros", "launch"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            assert set(ros.findall(path.read_text())) <= declared, path


NEEDED_BY_TESTS = {
    "hypothesis": "python3-hypothesis",
    "pytest": "python3-pytest",
    "pytest-timeout": "python3-pytest-timeout",
}
"""Parts of the extra "test" and their rosdep keys (rosdistro's rosdep/python.yaml)."""
DISPENSABLE = {
    *("colcon-core", "colcon-library-path", "colcon-ros"),  # skipped without, as the next row
    *("libusb-package", "mcap", "open3d-cpu"),
    "pytest-xdist",  # make test
    "scipy",  # beside anny, and skipped without that
    *("mypy", "ruff", "types-PyYAML"),  # make lint
}


def test_package_xml_names_every_library_that_the_tests_cannot_do_without() -> None:
    extra = re.search(r'"test": \[(.*?)\],\n', (REPOSITORY / "setup.py").read_text(), re.DOTALL)
    assert extra is not None
    names = set(re.findall(r'^\s*"([\w-]+)', extra[1], re.MULTILINE))
    assert names == NEEDED_BY_TESTS.keys() | DISPENSABLE
    root = ElementTree.parse(REPOSITORY / "package.xml").getroot()
    assert {element.text for element in root.findall("test_depend")} == set(NEEDED_BY_TESTS.values())


def test_every_python_folder_is_a_package() -> None:
    for path in (REPOSITORY / "hand_depth_ros").rglob("*.py"):
        assert (path.parent / "__init__.py").is_file(), path.parent


def test_every_command_has_a_function() -> None:
    for name, entry in cli.COMMANDS.items():
        assert find_spec(entry.module) is not None, name


def test_the_extras_that_errors_name_exist() -> None:
    text = (REPOSITORY / "setup.py").read_text()
    for extra in {*cli.EXTRAS.values(), "test"}:
        assert f'"{extra}": [' in text


def test_the_table_of_topics_is_that_of_the_code() -> None:
    topic_table = runpy.run_path(str(REPOSITORY / "tools/docs_from_code.py"))["topic_table"]
    text = (REPOSITORY / "docs/topics.md").read_text(encoding="utf-8")
    assert topic_table() in text, "run  python tools/write_docs.py"


def test_the_readmes_links_and_commands_exist() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (REPOSITORY / link).exists(), link
    for name in re.findall(r"`?hand-depth (\w+)", text):
        assert name in cli.COMMANDS, name
    for target in re.findall(r"\bmake (\w+) ", text):
        assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE), target


def test_nothing_of_the_licence_is_missing() -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text


def test_every_public_name_is_exported_and_documented_with_its_members() -> None:
    for name in hand_depth_ros.__all__:
        assert re.search(rf"\b{name}\b", hand_depth_ros.__doc__ or ""), name
        public = getattr(hand_depth_ros, name)
        assert public.__doc__ and not public.__doc__.startswith(f"{name}("), name  # that is a dataclass's own
        for member, value in vars(public).items():
            if not member.startswith("_") and (callable(value) or isinstance(value, property | classmethod)):
                assert getattr(value, "__doc__", None), f"{name}.{member}"
        if is_dataclass(public):
            for one in fields(public):
                assert one.name in public.__doc__ or one.name == "d", f"{name}.{one.name}"
