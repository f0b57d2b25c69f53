"""The `hand-depth` command as a shell sees it: help, exit codes, one line per error."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hand_depth_ros import __version__
from hand_depth_ros.cli import COMMANDS


def hand_depth(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hand_depth_ros.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_help_lists_every_command_without_importing_anything_heavy() -> None:
    code = (
        "import sys\n"
        "from hand_depth_ros import cli\n"
        "sys.argv = ['hand-depth', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'cv2', 'numpy', 'rclpy', 'rosbags', 'lightning', 'bpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    for name, entry in COMMANDS.items():
        assert name in result.stdout and entry.summary in " ".join(result.stdout.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = hand_depth(name, "--help")
    assert result.returncode == 0, result.stderr
    assert f"hand-depth {name}" in result.stdout and "--help" in result.stdout


def test_version() -> None:
    assert hand_depth("--version").stdout.strip() == __version__


@pytest.mark.parametrize(
    "arguments", [(), ("nonsense",), ("infer",), ("bag", "only-one"), ("infer", "--what")]
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    result = hand_depth(*arguments)
    assert result.returncode == 2
    assert "Usage" in result.stdout + result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("infer", "nowhere.png", "--hfov", "60", "--out", "{out}", "--weights", "nowhere"),
        ("infer", "nowhere", "--cameras", "nowhere.jsonl", "--out", "{out}"),
        ("bag", "nowhere", "{out}", "--image", "/image", "--weights", "nowhere"),
        ("demo", "--clip", "nowhere", "--out", "{out}"),
        ("evaluate", "nowhere"),
    ],
)
def test_a_failure_is_exit_code_1_and_one_line(arguments: tuple[str, ...], tmp_path: object) -> None:
    result = hand_depth(*(argument.format(out=f"{tmp_path}/out") for argument in arguments))
    assert result.returncode == 1
    assert "nowhere" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 and "Traceback" not in result.stderr
