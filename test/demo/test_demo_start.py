"""Before the demo's node runs: which package its process takes, what is refused as a clip."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.paths import ROOT

from hand_depth_ros.demo.cli import load_clip
from hand_depth_ros.demo.node_process import REAL_NODE
from hand_depth_ros.errors import DatasetError


def test_rejects_a_folder_of_images_as_a_clip(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((24, 32, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"no clip, it has no cameras\.jsonl"):
        load_clip(tmp_path)


def test_starts_the_node_where_a_folder_has_the_packages_name(tmp_path: Path) -> None:
    (tmp_path / "hand_depth_ros").mkdir()
    (tmp_path / "hand_depth_ros/__init__.py").write_text(
        "raise SystemExit('taken from the working directory')"
    )
    result = subprocess.run(
        [*REAL_NODE, "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "hand-depth node" in result.stdout


@pytest.mark.parametrize("installed", [True, False], ids=["on PATH", "by colcon"])
def test_advice_names_the_command_as_it_is_called_here(
    tmp_path: Path, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if installed:
        (tmp_path / "hand-depth").touch(0o755)
    with pytest.raises(DatasetError) as raised:
        load_clip(tmp_path)
    name = "  hand-depth" if installed else "  ros2 run hand_depth_ros hand-depth"
    assert f"{name} synth --kind clip" in str(raised.value) and f"{name} infer" in str(raised.value)
