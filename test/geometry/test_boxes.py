"""Boxes: overlap, tight boxes of masks and points, and what is done to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_depth_ros.geometry.boxes import Box, mask_box, pairwise_iou, points_box

boxes = st.builds(Box, st.integers(0, 30), st.integers(0, 30), st.integers(1, 20), st.integers(1, 20))


def pixels(box: Box) -> np.ndarray:
    """The pixels of a box with whole numbers, as a mask."""
    x, y, w, h = (int(value) for value in box)
    mask = np.zeros((60, 60), bool)
    mask[y : y + h, x : x + w] = True
    return mask


@given(boxes, boxes)
def test_the_iou_of_two_boxes_is_that_of_their_pixels(a: Box, b: Box) -> None:
    both, either = (pixels(a) & pixels(b)).sum(), (pixels(a) | pixels(b)).sum()
    assert a.iou(b) == pytest.approx(both / either)
    assert pairwise_iou(np.array([a, b]), np.array([b]))[:, 0].tolist() == pytest.approx([a.iou(b), 1.0])


@given(boxes)
def test_the_tight_box_of_a_boxs_pixels_is_the_box(box: Box) -> None:
    assert mask_box(pixels(box)) == box
    assert mask_box(np.zeros((4, 4), bool)) is None


def test_a_box_of_points_skips_those_that_are_unknown() -> None:
    assert points_box(np.array([(3.0, 4.0), (np.nan, np.nan), (13.0, 24.0)])) == (3, 4, 10, 20)


def test_a_box_has_a_centre_corners_and_a_longer_side() -> None:
    box = Box(3.0, 4.0, 10.0, 20.0)
    assert box.centre == (8, 14) and box.longer_side == 20
    assert {tuple(corner) for corner in box.corners().tolist()} == {(3, 4), (13, 4), (3, 24), (13, 24)}
    assert box.moved(1, -2) == (4, 2, 10, 20)


def test_a_box_is_clipped_to_the_image_and_has_no_size_outside() -> None:
    assert Box(-5.0, 10.0, 20.0, 20.0).clipped(640, 20) == (0, 10, 15, 10)
    assert Box(-50.0, 0.0, 20.0, 20.0).clipped(640, 480).width < 0
