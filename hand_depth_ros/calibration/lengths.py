"""From depth that is known to the hand length, and how sure that is. Pure functions; numpy and OpenCV only.

With a hand length L the estimator's depth is L times what it sees in the picture, so the true length is
L * (true depth / estimated depth), whatever L was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from hand_depth_ros.cli.options import hand_length_range_m
from hand_depth_ros.errors import CalibrationError

if TYPE_CHECKING:
    from hand_depth_ros.estimation.result import HandDepthFrame

REFERENCE_LENGTH_M = 0.19
"""The length that is given to the estimator; the result does not depend on it."""

MIN_PIXELS = 200

_BORDER = 5  # px at the rim of a hand that are not looked at: a depth camera mixes hand and background there
_SYSTEMATIC = 0.01  # relative; what no number of pictures averages away


@dataclass(frozen=True)
class Look:
    """What one hand in one picture says: its length (m), the relative standard deviation of that, and when (s)."""

    length_m: float
    sigma: float
    time_s: float


@dataclass(frozen=True)
class HandLength:
    """The result, metres: the length and one standard deviation; and from how many looks of how many independent moments."""

    length_m: float
    sigma_m: float
    looks: int
    moments: int


def looks_at(
    frame: HandDepthFrame, true_depth: np.ndarray | float, time_s: float, true_sigma: float = 0.0
) -> list[Look]:
    """One look for each hand of an estimate that was made with REFERENCE_LENGTH_M; none where the length would be one that
    the parameter hand_length_m refuses: something else was measured.

    Args:
        frame: the estimate.
        true_depth: (H, W) metres, NaN or 0 where unknown; or the distance (m) of the hand's median pixel.
        time_s: of the picture; looks within a second count as one.
        true_sigma: relative standard deviation of the true depth.
    """
    looks = []
    shortest, longest = hand_length_range_m()
    for hand in frame.hands:
        pixels = (frame.mask == hand.id) & np.isfinite(frame.depth)
        if isinstance(true_depth, np.ndarray):
            kernel = np.ones((2 * _BORDER + 1, 2 * _BORDER + 1), np.uint8)
            pixels &= cv2.erode(pixels.astype(np.uint8), kernel) > 0
            pixels &= np.isfinite(true_depth) & (true_depth > 0)
        if pixels.sum() < MIN_PIXELS:
            continue
        if isinstance(true_depth, np.ndarray):
            ratio = float(np.median(true_depth[pixels] / frame.depth[pixels]))
        else:
            ratio = true_depth / float(np.median(frame.depth[pixels]))
        seen = float(np.median(frame.sigma[pixels] / frame.depth[pixels]))
        length = ratio * REFERENCE_LENGTH_M
        if shortest <= length <= longest:
            looks.append(Look(length, float(np.hypot(seen, true_sigma)), time_s))
    return looks


def combine(looks: Sequence[Look], common_sigma: float = 0.0) -> HandLength:
    """The median of the looks. One look's error is what the network says or what they scatter by, whichever is more; it shrinks
    with the number of moments (looks within a second show the same hand in the same pose and are wrong alike).

    ``common_sigma``: relative, of what all looks have in common (the distance, the depth camera). CalibrationError: no looks.
    """
    if not looks:
        raise CalibrationError(
            "no hand with a plausible length was seen: show one flat hand, well lit, not smaller than a quarter of the "
            "picture's height, and check the distance (metres, from the lens along its axis to the hand)"
        )
    lengths = np.array([look.length_m for look in looks])
    length = float(np.median(lengths))
    scatter = 1.4826 * float(np.median(np.abs(lengths / length - 1)))
    single = max(scatter, float(np.median([look.sigma for look in looks])))
    moments = len({round(look.time_s) for look in looks})
    relative = float(np.sqrt(single**2 / moments + common_sigma**2 + _SYSTEMATIC**2))
    return HandLength(length, relative * length, len(looks), moments)
