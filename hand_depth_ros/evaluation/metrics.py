"""Measures of accuracy as pure functions of arrays: depth in metres in, errors in mm out.

"Shape" is short for the median-aligned error: what is left after a hand's median error is taken
off. It asks for the form of the hand, not for its distance. The constant-depth oracle puts each
hand at its own true median: a model must beat its shape error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SURFACE_TO_JOINT_M = 0.006
"""PIP and DIP joints lie this far behind the visible surface (depth sensors: 4 to 10 mm)."""

SURFACE_JOINTS = (2, 3, 6, 7, 10, 11, 14, 15, 18, 19)
"""PIP and DIP joints (thumb: MCP and IP), near enough to the surface to check depth there."""

GROSS_ERROR = 1 / 3
"""Relative error of a hand's depth from which on it is a gross one."""


@dataclass(frozen=True)
class DepthErrors:
    """Errors of one hand, mm; ``abs_rel`` is a fraction, ``count`` a number of pixels or joints."""

    mae_mm: float
    median_mm: float
    rmse_mm: float
    shape_mm: float
    abs_rel: float
    count: int


def depth_errors(predicted: np.ndarray, true: np.ndarray) -> DepthErrors | None:
    """Return the errors where both (metres) are finite and the truth is > 0; None if nowhere."""
    both = np.isfinite(predicted) & np.isfinite(true) & (true > 0)
    if not both.any():
        return None
    t = true[both].astype(np.float64)
    error = predicted[both].astype(np.float64) - t
    size = np.abs(error)
    return DepthErrors(
        mae_mm=1e3 * float(size.mean()),
        median_mm=1e3 * float(np.median(size)),
        rmse_mm=1e3 * float(np.sqrt((error**2).mean())),
        shape_mm=1e3 * float(np.abs(error - np.median(error)).mean()),
        abs_rel=float((size / t).mean()),
        count=int(both.sum()),
    )


def constant_depth_shape_mm(true: np.ndarray) -> float:
    """Return the oracle's shape (and absolute) error: a hand put at its own true median depth.

    NaN for no truth.
    """
    t = true[np.isfinite(true) & (true > 0)].astype(np.float64)
    return 1e3 * float(np.abs(t - np.median(t)).mean()) if t.size else float("nan")


def depth_pairs(predicted: np.ndarray, true: np.ndarray, max_pairs: int = 1000) -> np.ndarray:
    """Return predicted and true depth (n, 2), metres, where both are known; evenly thinned out."""
    both = np.flatnonzero(np.isfinite(predicted) & np.isfinite(true) & (true > 0))
    both = both[:: max(1, -(-both.size // max_pairs))]
    return np.column_stack((predicted.ravel()[both], true.ravel()[both])).astype(np.float64)


def depth_ratio(pairs: np.ndarray) -> float:
    """Return predicted over true median depth of one hand's :func:`depth_pairs`."""
    predicted, true = np.median(pairs, axis=0)
    return float(predicted / true)


def common_scale(ratios: Sequence[float]) -> float:
    """Return the one factor on predicted depth that suits all hands of a set.

    It is the inverse of their median ratio and stands for a perfectly known hand length.
    """
    return float(1 / np.median(ratios))


def scatter(ratios: Sequence[float]) -> float:
    """Return the standard deviation over hands of predicted over true median depth, over its mean.

    A known hand length cannot mend it: one factor on all depths changes nothing.
    """
    return float(np.std(ratios) / np.mean(ratios))


def gross_errors(ratios: Sequence[float]) -> float:
    """Return the fraction of hands whose depth is off by a third or more after one common scale.

    Most of them are no hands: arms and other things that were taken for one.
    """
    scaled = common_scale(ratios) * np.asarray(ratios)
    return float(((scaled < 1 - GROSS_ERROR) | (scaled > 1 + GROSS_ERROR)).mean())


def scaled_mae_mm(pairs: np.ndarray, scale: float) -> float:
    """Return the mean absolute error of :func:`depth_pairs` after ``scale`` on the prediction."""
    return 1e3 * float(np.abs(scale * pairs[:, 0] - pairs[:, 1]).mean())


def coverage(predicted: np.ndarray, true: np.ndarray, sigma: np.ndarray) -> tuple[float, float] | None:
    """Return the fractions of pixels within one and two sigma (Gaussian: 0.683 and 0.954)."""
    valid = np.isfinite(predicted) & np.isfinite(true) & (true > 0) & np.isfinite(sigma)
    if not valid.any():
        return None
    error = np.abs(predicted[valid].astype(np.float64) - true[valid])
    return float((error <= sigma[valid]).mean()), float((error <= 2 * sigma[valid]).mean())


def mask_iou(one: np.ndarray, other: np.ndarray, inside: np.ndarray | None = None) -> float:
    """Return the intersection over union of two masks, only ``inside``; 1 if both are empty."""
    one, other = one.astype(bool), other.astype(bool)
    if inside is not None:
        one, other = one & inside, other & inside
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def mask_precision(predicted: np.ndarray, true: np.ndarray, inside: np.ndarray | None = None) -> float:
    """Return the fraction of predicted pixels in the true mask, only ``inside``; 0 for none."""
    if inside is not None:
        predicted = predicted & inside
    count = int(predicted.sum())
    return int((predicted & true).sum()) / count if count else 0.0


def match(overlap: np.ndarray, min_overlap: float) -> dict[int, int]:
    """Pair true hands (rows) with predicted hands (columns): best overlaps first, none twice.

    Pairs below ``min_overlap`` are left out.
    """
    pairs: dict[int, int] = {}
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        row, column = (int(i) for i in np.unravel_index(flat, overlap.shape))
        if overlap[row, column] < min_overlap:
            break
        if row not in pairs and column not in pairs.values():
            pairs[row] = column
    return pairs


def median_around(values: np.ndarray, pixels: np.ndarray, size: int = 5) -> np.ndarray:
    """Return the median of the values in ``size`` x ``size`` windows around ``pixels`` (n, 2).

    Only finite values count; NaN where a window has none.
    """
    out = np.full(len(pixels), np.nan)
    height, width = values.shape
    radius = size // 2
    for i, (x, y) in enumerate(pixels):
        if not (np.isfinite(x) and np.isfinite(y)):
            continue
        column, row = round(float(x)), round(float(y))
        part = values[
            max(row - radius, 0) : max(min(row + radius + 1, height), 0),
            max(column - radius, 0) : max(min(column + radius + 1, width), 0),
        ]
        part = part[np.isfinite(part)]
        if part.size:
            out[i] = np.median(part)
    return out
