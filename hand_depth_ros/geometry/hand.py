"""The 21 joints of a hand, its length, and which way it points.

Joint order everywhere: wrist, then thumb, index, middle, ring and little finger, four joints each
from the palm outwards. Hand length: from the wrist crease to the tip of the middle finger along the
bones of the flat hand (docs/hand_length.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    JointArray = TypeVar("JointArray", np.ndarray, Tensor)
else:
    JointArray = TypeVar("JointArray")

JOINT_COUNT = 21
WRIST = 0
KNUCKLES = (5, 9, 13, 17)
"""MCP joints of the four fingers."""
FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
"""Joints of thumb to little finger, from the palm outwards."""
MIDDLE_FINGER_CHAIN = (0, 9, 10, 11, 12)
"""Wrist, then the middle finger to its tip: the hand length runs along these."""

MEAN_HAND_LENGTH_M = 0.19
"""Reference length; networks predict the logarithm of a hand's length over it."""
MIN_HAND_LENGTH_M, MAX_HAND_LENGTH_M = 0.08, 0.30
"""Range of hand lengths that users may give."""

MIN_PALM_FRACTION = 0.1
"""Below this distance from wrist to knuckles, as a fraction of the hand's extent in the image,
no direction is up."""

FINGER_FRACTION = 0.53
"""Middle finger from its MCP joint to the tip, over the hand length.

Skeletons have 92.3 mm of phalanges (44.6, 26.3, 17.4 and 4.0 of soft tip; Buryanov, Kotiuk, Int. J.
Morphol. 28(3), 2010) of 64.6 (metacarpal) + 92.3 + 24 to 35 from the metacarpal to the crease. But
a joint is what a finger turns about, and that of the MCP lies within the metacarpal's round head, 7
to 8 mm (its radius) before its end: 99.8 of 181 to 192 mm, which is 0.52 to 0.55.
"""


def wrist_to_knuckles(joints: JointArray) -> JointArray:
    """Return the image vector from wrist to mean knuckle: (..., 21, 2 or more) to (..., 2)."""
    return joints[..., KNUCKLES, :2].mean(-2) - joints[..., WRIST, :2]


def hand_length(joints: np.ndarray) -> float:
    """Return the length along the bones from wrist to middle fingertip of joints (21, 3)."""
    return float(_middle_bones(joints).sum())


def finger_fraction(joints: np.ndarray) -> float:
    """Return the middle finger's length (MCP to tip) over the hand length of joints (21, 3)."""
    bones = _middle_bones(joints)
    return float(bones[1:].sum() / bones.sum())


def hand_length_from_finger(joints: np.ndarray) -> float:
    """Return the hand length from the middle finger of joints (21, 3) without a true wrist."""
    return float(_middle_bones(joints)[1:].sum() / FINGER_FRACTION)


def _middle_bones(joints: np.ndarray) -> np.ndarray:
    """Return the lengths (4,) of wrist to MCP and of the middle finger's three bones."""
    chain = np.asarray(joints, np.float64)[list(MIDDLE_FINGER_CHAIN)]
    return np.linalg.norm(np.diff(chain, axis=0), axis=1)
