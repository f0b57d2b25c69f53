"""Masks of hands: which parts belong to a hand, and the hull around them."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hand_depth_ros.geometry.boxes import Box, mask_box
from hand_depth_ros.geometry.masks import convex_hull, hand_parts, remove_small_parts


def hand_in_parts() -> np.ndarray:
    """A palm, a fingertip beyond a gap, a speck; instance 3. Another hand, 5."""
    mask = np.zeros((60, 80), np.uint8)
    mask[30:50, 10:40] = 3
    mask[10:15, 20:24] = 3  # 20 px, 1/30 of the palm
    mask[50:53, 70:73] = 3  # 9 px
    mask[0:8, 0:8] = 5
    return mask


def corners(hull: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(corner) for corner in hull.tolist()}


def test_small_parts_of_a_hand_are_kept_and_specks_removed() -> None:
    mask = hand_in_parts()
    others = mask == 5
    assert remove_small_parts(mask, 3) == (10, 10, 30, 40)
    assert (mask[10:15, 20:24] == 3).all() and not mask[50:53, 70:73].any()
    assert np.array_equal(mask == 5, others)


def test_the_hull_of_a_hand_in_parts_surrounds_all_of_them() -> None:
    found = hand_parts(hand_in_parts() == 3)
    assert found is not None
    box, hull = found
    assert box == (10, 10, 30, 40)
    assert corners(hull) == {(20, 10), (23, 10), (39, 30), (39, 49), (10, 49), (10, 30)}


def test_a_fleck_of_less_than_a_hundredth_of_the_hand_is_removed() -> None:
    mask = np.zeros((120, 160), np.uint8)
    mask[10:90, 10:100] = 1  # 7,200 px
    mask[100:108, 120:128] = 1  # 64 px
    assert remove_small_parts(mask, 1) == (10, 10, 90, 80)


def test_a_speck_is_no_hand() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[3:8, 3:8] = 1
    assert hand_parts(mask == 1) is None
    assert remove_small_parts(mask, 1) is None and not mask.any()
    assert remove_small_parts(mask, 1) is None


def test_the_hull_has_the_corners_of_the_mask() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 10:40] = 3
    mask[20:30, 25:40] = 0  # an L lying down: the hull leaves out the notch
    hull = convex_hull(mask == 3, Box(10.0, 10.0, 30.0, 20.0))
    assert hull.dtype == float
    assert corners(hull) == {(10, 10), (39, 10), (39, 19), (24, 29), (10, 29)}


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_every_pixel_of_a_mask_lies_in_its_hull_whose_corners_are_pixels_of_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((50, 70), np.uint8)
    for _ in range(3):  # in one piece or more
        x, y, w, h = rng.integers((0, 0, 1, 1), (55, 35, 15, 15))
        mask[y : y + h, x : x + w] = 1
    rows, columns = np.nonzero(mask)
    box = mask_box(mask)
    assert box == (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    hull = convex_hull(mask == 1, box)
    assert all(mask[int(y), int(x)] for x, y in hull)
    polygon = hull.astype(np.float32)[:, None]
    assert all(
        cv2.pointPolygonTest(polygon, (float(x), float(y)), True) > -1e-3
        for x, y in zip(columns, rows, strict=True)
    )
