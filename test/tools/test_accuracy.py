"""bench/accuracy.py: measures the chosen sets and keeps the reports of the others."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import accuracy
import cv2
import numpy as np
import pytest
from support.small_networks import TINY

import hand_depth_ros
from hand_depth_ros.estimation.estimator import DEPTH_FILE, DETECTOR_FILE
from hand_depth_ros.network import DetectorConfig, HandDepthNet, HandDetectorNet, save_weights


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Untrained weights that were measured on joints and on a set that is not there any more."""
    folder = tmp_path / "weights"
    folder.mkdir()
    save_weights(HandDepthNet(TINY), folder / DEPTH_FILE, {})
    save_weights(HandDetectorNet(DetectorConfig()), folder / DETECTOR_FILE, {})
    (folder / "numbers.json").write_text(json.dumps({"old set": {"images": 7}, "joints": {"images": 292}}))
    return folder


def run(monkeypatch: pytest.MonkeyPatch, data: Path, weights: Path, *more: str) -> None:
    given = ["--data", str(data), "--weights", str(weights), *more]
    monkeypatch.setattr(sys, "argv", ["accuracy.py", *given])
    accuracy.main()


def test_measures_the_chosen_sets_and_keeps_the_other_reports(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "backgrounds").mkdir()
    for i in range(11):
        cv2.imwrite(str(tmp_path / "backgrounds" / f"{i:02d}.jpg"), np.full((48, 64, 3), 20 * i, np.uint8))
    run(monkeypatch, tmp_path, weights, "--only", "backgrounds", accuracy.HELD_OUT)
    numbers = json.loads((weights / "numbers.json").read_text())
    assert list(numbers) == ["joints", "backgrounds", accuracy.HELD_OUT, "old set"]
    assert numbers["joints"] == {"images": 292} and numbers["old set"] == {"images": 7}
    assert numbers["backgrounds"]["images"] == 11 and numbers[accuracy.HELD_OUT]["images"] == 1
    assert "median_ms_per_image" not in numbers["backgrounds"]
    assert numbers["backgrounds"]["version"] == hand_depth_ros.__version__


def test_rejects_unknown_runs(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, weights, "--only", "joint")
    assert "no run joint, give some of: joints; joints, boxes given" in capsys.readouterr().err
