"""camera_info as consumers need it: P and R where the driver left them empty."""

from __future__ import annotations

import numpy as np
import pytest
from support import messages

from hand_depth_ros.ros.messages.camera_info import complete_camera_info

NOTHING = [0.0] * 12


def test_whole_camera_info_is_returned_as_it_is() -> None:
    info = messages.camera_info()
    assert complete_camera_info(info) == (info, "")


@pytest.mark.parametrize("kind", [list, np.array])
@pytest.mark.parametrize("p", [NOTHING, [], [float("nan")] * 12])
def test_p_is_made_from_k(p: list[float], kind: type) -> None:
    """As depth_image_proc reads it: x = (u - P02) * z / P00."""
    info = messages.camera_info(p=kind(p))
    completed, filled_in = complete_camera_info(info)
    assert list(completed.p) == [30.0, 0, 15.5, 0, 0, 30.0, 11.5, 0, 0, 0, 1, 0]
    assert isinstance(completed.p, type(info.p)) and list(info.p) is not list(completed.p)
    assert "no P" in filled_in and "P from K" in filled_in and "R" not in filled_in
    assert len(info.p) == len(p)


def test_r_of_zeros_becomes_the_identity() -> None:
    completed, filled_in = complete_camera_info(messages.camera_info(r=[0.0] * 9))
    assert list(completed.r) == list(np.eye(3).ravel()) and "identity" in filled_in
    assert completed.p == messages.camera_info().p


def test_unusable_k_fills_in_nothing() -> None:
    info = messages.camera_info(k=[0.0] * 9, p=NOTHING)
    assert complete_camera_info(info) == (info, "")
