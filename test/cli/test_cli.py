"""The `hand-depth` command as seen from a shell: help, exit codes, one line per error."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from hand_depth_ros import __version__
from hand_depth_ros.cli import interrupt
from hand_depth_ros.cli.main import COMMANDS, app
from hand_depth_ros.infer import images


def hand_depth(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hand_depth_ros", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


AT_IMPORT = """
import os, signal, sys
from importlib.abc import MetaPathFinder

class Interrupt(MetaPathFinder):
    "Send Ctrl-C while the module is imported."
    def find_spec(self, name, path, target=None):
        if name == {moment!r}:
            sys.meta_path.remove(self)
            try:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000):  # the handler runs between two instructions
                    pass
            except KeyboardInterrupt as error:  # as imports in C make of it
                raise ImportError("import failed") from error

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts tests in the background ignores it
sys.meta_path.insert(0, Interrupt())
from hand_depth_ros.__main__ import main
main()
"""


def test_help_lists_every_command_without_heavy_imports() -> None:
    code = (
        "import sys\n"
        "from hand_depth_ros.cli import main as cli\n"
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


def test_a_file_system_error_is_one_line(tmp_path: Path) -> None:
    long = str(tmp_path / ("x" * 300))
    result = hand_depth("evaluate", long)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"hand-depth: {long}")


@pytest.mark.parametrize("command", ["infer", "bag"])
@pytest.mark.parametrize(
    "moment", ["typer", "numpy", "hand_depth_ros.ros.parameters", "torch", "torch.jit", "safetensors"]
)
def test_ctrl_c_during_start_up_is_one_line_and_exit_code_130(
    command: str, moment: str, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((60, 80, 3), np.uint8))
    out = tmp_path / "out"
    arguments = {
        "infer": [str(tmp_path), "--hfov", "60", "--out", str(out)],
        "bag": [str(tmp_path), str(out), "--image", "/image"],
    }[command]
    if command == "bag":
        pytest.importorskip("rosbags", reason="the bag extra is not installed")
    program = [sys.executable, "-c", AT_IMPORT.format(moment=moment), command, *arguments]
    result = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stdout) == (130, ""), result.stderr
    assert result.stderr == "hand-depth: interrupted\n"
    assert not out.exists()


def test_ctrl_c_during_work_is_one_line_and_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "jobs_from_paths", interrupted)
    result = CliRunner().invoke(app, ["infer", "a.png", "--hfov", "60", "--out", "nowhere"])
    assert result.exit_code == 130
    assert result.output == "hand-depth: interrupted\n"


def test_keeps_a_ctrl_c_handler_of_somebody_else() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        for handler in (signal.SIG_IGN, lambda *_: None):  # nohup; a program that embeds ours
            signal.signal(signal.SIGINT, handler)
            with interrupt.exit_on_sigint():
                assert signal.getsignal(signal.SIGINT) is handler
            assert signal.getsignal(signal.SIGINT) is handler
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with interrupt.exit_on_sigint():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
