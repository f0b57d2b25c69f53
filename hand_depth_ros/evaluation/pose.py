"""Classes of hand pose, to tell errors apart by pose: openness and direction of the fingers.

numpy only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hand_depth_ros.geometry.hand import FINGERS

OPENNESS = (("fist", 0.6), ("half open", 0.85), ("open", np.inf))
"""Class and its upper bound: MCP joint to tip over the bones between, mean of four fingers."""

DIRECTIONS = (("towards the camera", -0.35), ("across", 0.35), ("away from the camera", np.inf))
"""Class and its upper bound: cosine between MCP joint to tip and the ray to the knuckles."""


class HandPose(NamedTuple):
    """Numbers that describe a pose.

    Attributes:
        openness: 0 (fingers curled) to 1 (straight).
        away: -1 (fingers point at the camera) to 1 (away from it); a fist seen from the back has
            fingers pointing away.
    """

    openness: float
    away: float

    @property
    def openness_class(self) -> str:
        """Name in OPENNESS."""
        return _class_of(self.openness, OPENNESS)

    @property
    def direction_class(self) -> str:
        """Name in DIRECTIONS."""
        return _class_of(self.away, DIRECTIONS)


def hand_pose(joints: np.ndarray) -> HandPose | None:
    """Return the pose of joints (21, 3) in the camera's frame; None if any are missing."""
    fingers = np.asarray(joints, np.float64)[np.array(FINGERS[1:])]
    lengths = np.linalg.norm(np.diff(fingers, axis=1), axis=2).sum(1)
    direction, ray = (fingers[:, 3] - fingers[:, 0]).mean(0), fingers[:, 0].mean(0)
    norm = np.linalg.norm(direction) * np.linalg.norm(ray)
    if not (np.isfinite(fingers).all() and (lengths > 0).all() and norm > 0):
        return None
    openness = np.linalg.norm(fingers[:, 3] - fingers[:, 0], axis=1) / lengths
    away = direction @ ray / norm
    return HandPose(float(openness.mean()), float(away))


def _class_of(value: float, classes: tuple[tuple[str, float], ...]) -> str:
    return next(name for name, upper in classes if value < upper)
