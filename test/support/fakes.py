"""A fake estimator that marks discs at a constant depth, whatever the image shows.

It has the interface of `hand_depth_ros.HandDepthEstimator`, so that what surrounds the estimator
can be tested against numbers known in advance.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hand_depth_ros.estimation.result import Hand, HandDepthFrame
from hand_depth_ros.estimation.settings import EstimatorSettings
from hand_depth_ros.geometry.camera import Camera

DEPTH_M = 0.5
SIGMA_M = 0.01
RADIUS = 0.15
"""Radius of a disc, in image heights."""
CRASH_AT = (13, 13)
"""(width, height) of an image that makes it raise, as a network might."""


def disc_centres(width: int, height: int, count: int) -> list[tuple[float, float]]:
    """Return the centres (x, y) of the discs, side by side on the middle row."""
    return [((i + 1) * width / (count + 1), height / 2) for i in range(count)]


class FakeEstimator:
    """Mark `max_hands` discs (at most 2) at 0.5 m, with ids 1 + 10 * (calls of `reset`) + index."""

    device = "fake"

    def __init__(self, **settings: Any) -> None:
        self.settings = EstimatorSettings(**settings)
        self.resets = 0
        self.recalibrations = 0
        self.warm_ups = 0
        self.frames = 0
        self.closed = False

    def configure(self, **changes: Any) -> None:
        if changes.get("detection_interval") == 666:
            raise ValueError("detection_interval 666: the stand-in refuses it")
        self.settings = replace(self.settings, **changes)

    def warm_up(self, camera: Camera) -> None:
        self.warm_ups += 1

    def reset(self) -> None:
        self.resets += 1

    def recalibrate(self) -> int:
        self.recalibrations += 1
        return min(self.settings.max_hands, 2)

    def close(self) -> None:
        self.closed = True

    def estimate(self, rgb: np.ndarray, camera: Camera, **_: Any) -> HandDepthFrame:
        self.frames += 1
        height, width = rgb.shape[:2]
        if (width, height) == CRASH_AT:
            raise RuntimeError("the stand-in was made to fail")
        settings = self.settings
        depth = np.full((height, width), np.nan, np.float32)
        mask = np.zeros((height, width), np.uint8)
        hands = []
        y, x = np.mgrid[:height, :width]
        for index, (cx, cy) in enumerate(disc_centres(width, height, min(settings.max_hands, 2))):
            radius = RADIUS * height
            disc = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
            number = 1 + 10 * self.resets + index
            mask[disc] = number
            sure = settings.max_sigma_m is None or settings.max_sigma_m >= SIGMA_M
            valid = settings.min_range_m <= DEPTH_M <= settings.max_range_m and sure
            if valid:
                depth[disc] = DEPTH_M
            hands.append(
                Hand(
                    id=number,
                    roi=(cx - radius, cy - radius, 2 * radius, 2 * radius),
                    score=1.0,
                    hand_length_m=settings.hand_length_m or 0.19,
                    hand_length_sigma_m=0.01,
                    depth_m=DEPTH_M if valid else float("nan"),
                )
            )
        sigma = np.where(np.isnan(depth), np.nan, np.float32(SIGMA_M)).astype(np.float32)
        return HandDepthFrame(depth=depth, sigma=sigma, mask=mask, hands=tuple(hands), timings={})


def fake_factory(values: Mapping[str, Any]) -> FakeEstimator:
    """Make a fake estimator for `HandDepthNode`."""
    from hand_depth_ros.ros.parameters import estimator_settings

    return FakeEstimator(**estimator_settings(values))


def fake_tf2_ros() -> None:
    """Replace tf2_ros, where it is not installed, by one that prints each static transform."""
    if importlib.util.find_spec("tf2_ros") is not None:
        return

    class StaticTransformBroadcaster:
        def __init__(self, node: Any) -> None:
            pass

        def sendTransform(self, transform: Any) -> None:
            at = transform.transform
            identity = (at.translation.x, at.translation.y, at.translation.z, at.rotation.w) == (0, 0, 0, 1)
            parent, child = transform.header.frame_id, transform.child_frame_id
            print(f"static transform {parent} -> {child}, identity: {identity}", flush=True)

    module = types.ModuleType("tf2_ros")
    module.StaticTransformBroadcaster = StaticTransformBroadcaster  # type: ignore[attr-defined]
    sys.modules["tf2_ros"] = module
