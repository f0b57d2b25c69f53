"""Views, training data and measurements that the tests of crop samples share."""

from __future__ import annotations

from typing import Any

import numpy as np

from hand_depth_ros.training.data.rendered import RenderedHand, RenderedView
from hand_depth_ros.training.samples.training_data import TrainingData
from hand_depth_ros.training.samples.warp import CropShape
from support.drawn_hands import SKIN

SIDE = 64
SHAPE = CropShape(SIDE, SIDE)


def only_rendered(*views: Any) -> TrainingData:
    """Return training data with these views and nothing else."""
    return TrainingData(list(views), [], [], real_fraction=0.0, negative_fraction=0.0)


def nothing_in_front(image: np.ndarray, *_: Any) -> tuple[np.ndarray, np.ndarray]:
    """Stand in for ``augment.occlude`` and cover nothing."""
    return image, np.zeros(image.shape[:2], np.uint8)


def touches_border(mask: np.ndarray) -> bool:
    """Return True if a mask reaches the border of its crop."""
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


def pointing_view(angle: float) -> RenderedView:
    """Return a view of a wedge of a slanted plane, narrow at the fingers, with joints on it.

    It is turned clockwise by ``angle`` from upright."""
    side, f, principal = 200, 400.0, 70.0
    y, x = np.mgrid[:side, :side].astype(float)
    rays = np.stack(((x - principal) / f, (y - principal) / f, np.ones_like(x)), -1)
    depth = 0.42 / (rays @ (np.array([0.35, -0.2, 0.9]) / np.linalg.norm([0.35, -0.2, 0.9])))
    up, right = np.array((np.sin(angle), -np.cos(angle))), np.array((np.cos(angle), np.sin(angle)))
    middle = np.array((110.0, 100.0))
    along, across = (((x - middle[0]) * way[0] + (y - middle[1]) * way[1]) for way in (up, right))
    mask = (np.abs(along) <= 55) & (np.abs(across) <= 22 - 0.2 * along)
    rgba = np.zeros((side, side, 4), np.uint8)
    rgba[mask] = (*SKIN, 255)
    far = np.full(21, 5.0)  # the knuckles, and what is not set below
    far[[0, 4, 8, 12, 16, 20]] = -45, 45, 45, 45, 45, 45
    sideways = np.zeros(21)
    sideways[[5, 9, 13, 17]] = -12, -4, 4, 12
    u, v = np.round(middle[:, None] + far * up[:, None] + sideways * right[:, None]).astype(int)
    joints = np.column_stack((u, v, depth[v, u])).astype(np.float32)
    hand = RenderedHand(1, 0.18, joints)
    k = (f, f, principal, principal)
    depth = np.where(mask, depth, 0).astype(np.float32)
    return RenderedView(rgba, depth, mask.astype(np.uint8), k, (hand,), "wedge")


def leaning(sample: dict[str, Any]) -> float:
    """Return by how many degrees a sample's hand is turned clockwise from upright."""
    right, down = sample["joints"][[9, 13], :2].mean(0) - sample["joints"][0, :2]
    return float(np.degrees(np.arctan2(right, -down)))
