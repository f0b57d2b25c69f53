"""Where ROS cannot start, node, relay, doctor and demo say why in one line, and the cure works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import ros_graph
from support.paths import ROOT

from hand_depth_ros.errors import HandDepthError
from hand_depth_ros.ros.node import runtime

CLI = ("-m", "hand_depth_ros.cli.main")
RELAY = "import sys; from hand_depth_ros.ros.node.colour_relay import main; sys.exit(main())"
COMMANDS = {
    "node": (*CLI, "node"),
    "doctor": (*CLI, "doctor", "--seconds", "0.5"),
    "demo": (*CLI, "demo"),
    "relay": ("-c", RELAY),
}
START = "from hand_depth_ros.ros.node.runtime import init_ros; init_ros(); import rclpy; "
START += "rclpy.create_node('started'); print('started')"
"""Starts ROS as all of the commands do."""


def run(*arguments: str, cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def environment(**changes: str | None) -> dict[str, str]:
    variables = {**ros_graph.environment(ros_graph.some_domain()), **changes}
    return {name: value for name, value in variables.items() if value is not None}


def no_log_folder(folder: Path) -> str:
    """A folder that nobody can create, not even root: a part of its path is a file."""
    (folder / "file").write_text("")
    return str(folder / "file" / "log")


FAULTS = {
    "no HOME": ({"HOME": None, "ROS_LOG_DIR": None, "ROS_HOME": None}, "HOME is not set"),
    "log folder": ({"ROS_LOG_DIR": "<not writable>"}, "cannot write its log files to"),
    "domain": ({"ROS_DOMAIN_ID": "abc"}, "ROS_DOMAIN_ID is 'abc'"),
    "high domain": ({"ROS_DOMAIN_ID": "233"}, "a whole number from 0 to 101"),
}
CASES = [(fault, command) for fault in ("no HOME", "log folder", "domain") for command in COMMANDS]
CASES.remove(("domain", "demo"))  # it has a domain of its own


@pytest.mark.parametrize(("fault", "command"), CASES)
def test_a_broken_environment_is_one_line_and_exit_code_1(fault: str, command: str, tmp_path: Path) -> None:
    changes, reason = FAULTS[fault]
    changes = {
        name: no_log_folder(tmp_path) if value == "<not writable>" else value
        for name, value in changes.items()
    }
    result = run(*COMMANDS[command], cwd=tmp_path, environment=environment(**changes))
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert reason in line and "export " in line


@pytest.mark.parametrize("fault", FAULTS)
def test_the_cure_of_a_broken_environment_works(fault: str, tmp_path: Path) -> None:
    changes, reason = FAULTS[fault]
    changes = {
        name: no_log_folder(tmp_path) if value == "<not writable>" else value
        for name, value in changes.items()
    }
    broken = environment(**changes)
    result = run("-c", START, cwd=tmp_path, environment=broken)
    assert reason in result.stderr
    name, value = re.findall(r"export (\w+)=([\w/.-]+)", result.stderr)[-1]
    if name == "ROS_DOMAIN_ID":  # 0 is other people's
        value = environment()["ROS_DOMAIN_ID"]
    cured = run("-c", START, cwd=tmp_path, environment={**broken, name: value})
    assert cured.returncode == 0 and "started" in cured.stdout, cured.stderr


@pytest.mark.parametrize("value", ["", " 7 ", "0", "101", "232"])
def test_domains_that_ros_takes_are_accepted(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", value)
    runtime._check_domain_id()


def test_the_log_folder_is_the_one_that_ros_uses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ROS_LOG_DIR", "ROS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert runtime._log_folder()[0] == tmp_path / ".ros" / "log"
    monkeypatch.setenv("ROS_HOME", "~/ros")
    assert runtime._log_folder()[0] == tmp_path / "ros" / "log"
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "logs"))
    assert runtime._log_folder()[0] == tmp_path / "logs"
    runtime._check_log_folder()
    assert (tmp_path / "logs").is_dir()


def test_an_rcl_error_at_init_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import rclpy
    from rclpy._rclpy_pybind11 import RCLError

    def broken(**_: object) -> None:
        raise RCLError("failed to initialize rcl: no such thing, at /project/src/rcl/init.c:1")

    monkeypatch.setattr(rclpy, "init", broken)
    with pytest.raises(
        HandDepthError, match=r"ROS cannot start: failed to initialize rcl: no such thing: check"
    ):
        runtime.init_ros()


# An rclpy that is there and does not load


def fake_ros(folder: Path, extension: str, error: str) -> Path:
    """An installed ROS whose rclpy fails to load its compiled half."""
    site = folder / "opt" / "ros" / "jazzy" / "lib" / "python3.12" / "site-packages"
    (site / "rclpy").mkdir(parents=True)
    (site / "rclpy" / "__init__.py").write_text(f"raise ImportError({error!r})\n")
    (site / "rclpy" / extension).touch()
    return site


def with_ros(site: Path) -> dict[str, str]:
    path = os.pathsep.join([str(site), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return environment(PYTHONPATH=path)


OTHER = "3.12" if sys.version_info[:2] != (3, 12) else "3.10"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def extension(version: str) -> str:
    return f"_rclpy_pybind11.cpython-{version.replace('.', '')}-x86_64-linux-gnu.so"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_rclpy_of_another_python_is_named_with_both_versions(command: str, tmp_path: Path) -> None:
    site = fake_ros(tmp_path, extension(OTHER), "No module named 'rclpy._rclpy_pybind11'\nThe C extension")
    result = run(*COMMANDS[command], cwd=tmp_path, environment=with_ros(site))
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert f"{site / 'rclpy'} (ROS jazzy) is built for Python {OTHER}" in line
    assert f"does not load in Python {HERE} ({sys.executable})" in line
    assert f"run it with python{OTHER}" in line and "unset PYTHONPATH" in line
    # The cure that can be carried out here: without that ROS, the one of this Python is used.
    cured = run("-c", START, cwd=tmp_path, environment=environment())
    assert cured.returncode == 0 and "started" in cured.stdout, cured.stderr


def test_a_missing_shared_library_is_named(tmp_path: Path) -> None:
    problem = "librcl.so: cannot open shared object file: No such file or directory"
    site = fake_ros(tmp_path, extension(HERE), f"{problem}\nThe C extension failed to be imported")
    result = run(*COMMANDS["doctor"], cwd=tmp_path, environment=with_ros(site))
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert problem in line and "source /opt/ros/jazzy/setup.bash" in line and "pip install" not in line


def test_an_rclpy_that_is_not_there_is_to_be_installed(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['rclpy'] = None; "
    hide += "import importlib.util as u; find = u.find_spec; "
    hide += "u.find_spec = lambda name, *more: None if name == 'rclpy' else find(name, *more); "
    hide += "from hand_depth_ros.cli.main import main; main()"
    result = run("-c", hide, "doctor", cwd=tmp_path, environment=environment())
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert "rclpy cannot be imported" in line and "pip install 'hand_depth_ros[ros]'" in line
