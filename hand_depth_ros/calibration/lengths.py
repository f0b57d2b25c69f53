"""Compute the hand length and its uncertainty from known depth.

The estimator's depth is proportional to the hand length L that it is given, so the true length is
L * (true depth / estimated depth), whatever L was.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from hand_depth_ros.cli.options import hand_length_range_m
from hand_depth_ros.errors import CalibrationError, counted

if TYPE_CHECKING:
    from hand_depth_ros.estimation.result import HandDepthFrame

REFERENCE_LENGTH_M = 0.19
"""Length given to the estimator; the result does not depend on it."""

MIN_PIXELS = 200
"""Minimum number of hand pixels for a measurement."""

_BORDER_PX = 5  # ignored along a hand's outline, where a depth camera mixes hand and background
_SYSTEMATIC_SIGMA = 0.01  # relative; does not average out over images
_POOR_SIGMA = 0.04  # relative; above it the result is hardly better than the estimate from the image


@dataclass(frozen=True)
class LengthMeasurement:
    """Length of one hand in one image.

    Attributes:
        length_m: The length.
        sigma: Its relative standard deviation.
        time_s: Time of the image.
    """

    length_m: float
    sigma: float
    time_s: float


@dataclass(frozen=True)
class HandLength:
    """Combined length with one standard deviation.

    Attributes:
        length_m: The length.
        sigma_m: Its standard deviation.
        measurements: Number of measurements.
        moments: Number of independent moments that they come from.
    """

    length_m: float
    sigma_m: float
    measurements: int
    moments: int


def measure_frame(
    frame: HandDepthFrame, true_depth: np.ndarray | float, time_s: float, true_sigma: float = 0.0
) -> list[LengthMeasurement]:
    """Measure each hand of an estimate that was made with REFERENCE_LENGTH_M.

    A length outside the range of the parameter hand_length_m is dropped: something else was
    measured.

    Args:
        frame: The estimate.
        true_depth: (H, W) metres, NaN or 0 where unknown; or the distance (m) of the hand's median
            pixel.
        time_s: Time of the image; measurements within a second count as one moment.
        true_sigma: Relative standard deviation of the true depth.
    """
    measurements = []
    shortest, longest = hand_length_range_m()
    for hand in frame.hands:
        pixels = (frame.mask == hand.id) & np.isfinite(frame.depth)
        if isinstance(true_depth, np.ndarray):
            kernel = np.ones((2 * _BORDER_PX + 1, 2 * _BORDER_PX + 1), np.uint8)
            pixels &= cv2.erode(pixels.astype(np.uint8), kernel) > 0
            pixels &= np.isfinite(true_depth) & (true_depth > 0)
        if pixels.sum() < MIN_PIXELS:
            continue
        if isinstance(true_depth, np.ndarray):
            ratio = float(np.median(true_depth[pixels] / frame.depth[pixels]))
        else:
            ratio = true_depth / float(np.median(frame.depth[pixels]))
        sigma = float(np.median(frame.sigma[pixels] / frame.depth[pixels]))
        length = ratio * REFERENCE_LENGTH_M
        if shortest <= length <= longest:
            measurements.append(LengthMeasurement(length, float(np.hypot(sigma, true_sigma)), time_s))
    return measurements


def combine(measurements: Sequence[LengthMeasurement], common_sigma: float = 0.0) -> HandLength:
    """Return the median length and its uncertainty.

    The error of one measurement is the larger of what the network predicts and what they scatter
    by. It shrinks with the number of moments, not of measurements: those within a second show the
    same hand in the same pose and share their error.

    Args:
        measurements: At least one.
        common_sigma: Relative standard deviation shared by all (the distance, the depth camera).

    Raises:
        CalibrationError: There are no measurements.
    """
    if not measurements:
        raise CalibrationError(
            "no hand with a plausible length was seen: show one flat hand, well lit, at least a quarter of "
            "the image's height, and check the distance (metres, from the lens along its axis to the hand)"
        )
    lengths = np.array([one.length_m for one in measurements])
    length = float(np.median(lengths))
    scatter = 1.4826 * float(np.median(np.abs(lengths / length - 1)))  # robust standard deviation
    single = max(scatter, float(np.median([one.sigma for one in measurements])))
    moments = len({round(one.time_s) for one in measurements})
    relative = float(np.sqrt(single**2 / moments + common_sigma**2 + _SYSTEMATIC_SIGMA**2))
    return HandLength(length, relative * length, len(measurements), moments)


def print_length(found: HandLength) -> None:
    """Print the length and the settings that use it."""
    length = f"{found.length_m:.3f}"
    print(
        f"hand_length_m: {length} +- {found.sigma_m:.3f} m (one standard deviation, "
        f"{100 * found.sigma_m / found.length_m:.1f} %), from "
        f"{counted(found.measurements, 'measurement')} at {counted(found.moments, 'moment')}\n"
        f"in config/hand_depth.yaml:   hand_length_m: {length}\n"
        f"or for the running node:     ros2 param set /hand_depth hand_length_m {length}\n"
        f"or for one command:          --hand-length-m {length}"
    )
    if found.sigma_m > _POOR_SIGMA * found.length_m:
        print(
            "hand-depth: this is hardly better than the estimate from the image (about 6 %): take more images "
            "of the flat hand in different places, or use a ruler",
            file=sys.stderr,
        )
