"""Poses and views of hands on photographs: poses.npz, drawn with a kernel around each.

The file holds joint angles and view directions that `fit_poses` found for 21 landmarks on
photographs of hands; it holds no image and no landmark.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hand_depth_ros.synthesis.people.poses import HandAngles
from hand_depth_ros.synthesis.rotations import rotation

PATH = Path(__file__).with_name("poses.npz")


@dataclass(frozen=True)
class HandView:
    """A camera's direction in the hand's axes (thumb's side, fingers, out of the palm).

    toward (3,): unit vector from the hand to the camera; up (3,): the image's up. The same numbers
    for a left hand are the mirror image.
    """

    toward: np.ndarray
    up: np.ndarray

    def jittered(self, rng: np.random.Generator, degrees: float) -> HandView:
        """Return the view turned at random, by about so many degrees about each axis."""
        turn = rotation(np.radians(rng.normal(0, degrees, 3)))
        return HandView(turn @ self.toward, turn @ self.up)


@dataclass(frozen=True)
class RealPoses:
    """N fits: angles (N, 20) degrees; toward, up (N, 3).

    weight (N,) sums to 1, rare poses weigh more.
    """

    angles: np.ndarray
    toward: np.ndarray
    up: np.ndarray
    weight: np.ndarray

    def draw(self, rng: np.random.Generator) -> tuple[HandAngles, HandView]:
        """Return a pose near a fit, at times on its way to another, and the view it was seen in."""
        k, other = rng.choice(len(self.weight), 2, p=self.weight)
        between = rng.uniform(0.2, 0.7) if rng.random() < 0.25 else 0.0
        # Fingers move together, each a little on its own, and the end joint with the middle one.
        jitter = rng.normal(0, 3.5, 20)
        jitter[4:16] += np.tile(rng.normal(0, 3.0, 3), 4)
        jitter[6:16:3] += 0.6 * jitter[5:16:3]
        jitter[16:] *= 0.6
        angles = HandAngles.from_flat(self.angles[k] + jitter)
        angles = angles.interpolate(HandAngles.from_flat(self.angles[other]), between).clipped()
        return angles, HandView(self.toward[k], self.up[k]).jittered(rng, 9.0)


@functools.lru_cache(maxsize=1)
def real_poses() -> RealPoses:
    """Return the poses of the package."""
    with np.load(PATH) as data:
        toward, up = (data[key].astype(np.float64) for key in ("toward", "up"))
        weight = data["weight"].astype(np.float64)
        return RealPoses(
            data["angles"].astype(np.float64),
            toward / np.linalg.norm(toward, axis=1, keepdims=True),
            up / np.linalg.norm(up, axis=1, keepdims=True),
            weight / weight.sum(),
        )
