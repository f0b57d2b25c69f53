"""The shipped networks follow the bundled clip's hands, also at every sixth frame only."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import hand_depth_ros
from hand_depth_ros.estimation.estimator import HandDepthEstimator
from hand_depth_ros.geometry.camera import Camera

CLIP = Path(hand_depth_ros.__file__).parent / "demo" / "clip"


@pytest.mark.parametrize("stride", [1, 6])
def test_the_clips_hands_are_followed_at_full_rate_and_at_five_frames_a_second(stride: int) -> None:
    estimator = HandDepthEstimator.from_pretrained(device="cpu", max_hands=2)
    lines = [json.loads(line) for line in (CLIP / "cameras.jsonl").read_text().splitlines()]
    order = [*range(0, len(lines), stride)] * (
        1 if stride == 1 else 2
    )  # the second time round includes a jump
    found, true = 0, 0
    for index in order:
        line = lines[index]
        rgb = cv2.cvtColor(cv2.imread(str(CLIP / line["image"])), cv2.COLOR_BGR2RGB)
        mask = cv2.imread(str(CLIP / "mask" / f"{Path(line['image']).stem}.png"), cv2.IMREAD_UNCHANGED)
        names = ("width", "height", "fx", "fy", "cx", "cy")
        frame = estimator.estimate(rgb, Camera(**{name: line[name] for name in names}))
        for number in np.unique(mask[mask > 0]):
            hand = mask == number
            seen = (hand & (frame.mask > 0)).sum() / hand.sum()
            true, found = true + 1, found + (seen > 0.5)
    assert found >= 0.85 * true, f"{found} of {true} hands"
