"""tools/calibrate_sigma.py: the domain gap on a small recording whose truth is known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import calibrate_sigma
import cv2
import numpy as np
import pytest
from support.fakes import DEPTH_M, FakeEstimator

from hand_depth_ros.evaluation.readers import open_dataset
from hand_depth_ros.geometry.camera import Camera

SHAPE = (60, 80)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """16 images; the true hands are where the fake estimator's is, 0 to 15 mm behind 0.6 m."""
    camera = {"width": 80, "height": 60, "fx": 75, "fy": 75, "cx": 40, "cy": 30}
    disc = FakeEstimator(max_hands=1).estimate(np.zeros((*SHAPE, 3), np.uint8), Camera(**camera)).mask > 0
    lines = []
    for i in range(16):
        cv2.imwrite(str(tmp_path / f"{i:02d}.png"), np.zeros((*SHAPE, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f"{i:02d}.mask.png"), np.where(disc, 255, 0).astype(np.uint8))
        depth = np.where(disc, 6000 + 10 * i, 0).astype(np.uint16)
        cv2.imwrite(str(tmp_path / f"{i:02d}.depth.png"), depth)
        lines.append({"image": f"{i:02d}.png", **camera})
    (tmp_path / "cameras.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_hand_length_makes_the_recording_right_on_average(recording: Path) -> None:
    """The fake's 0.5 m for a hand of 0.19 m asks for 0.19 m times 0.6075 / 0.5."""
    length = calibrate_sigma.matching_length(open_dataset(recording), FakeEstimator(max_hands=1))
    assert length == pytest.approx(0.19 * 0.6075 / DEPTH_M, rel=1e-3)


def test_neighbouring_images_stay_in_one_half(recording: Path) -> None:
    """Blocks of two images, in turn: 0, 1, 4, 5, ... and 2, 3, 6, 7, ..."""
    first, second = calibrate_sigma.real_errors(open_dataset(recording), FakeEstimator(max_hands=1))
    offset = 0.6 - DEPTH_M
    for half, numbers in ((first, (0, 1, 4, 5, 8, 9, 12, 13)), (second, (2, 3, 6, 7, 10, 11, 14, 15))):
        errors = [hand.error.mean() - offset for hand in half]
        np.testing.assert_allclose(errors, 1e-3 * np.array(numbers), atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "give rendered sets, or real ones"),
        (["set"], "--out is needed"),
        (["a", "--real", "b"], "give rendered"),
    ],
)
def test_rejects_arguments_that_do_not_fit(
    given: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["calibrate_sigma.py", *given])
    with pytest.raises(SystemExit):
        calibrate_sigma.main()
    assert message in capsys.readouterr().err
