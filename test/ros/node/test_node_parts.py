"""The node's small parts on their own: mailbox, throttle, topic names, health, the pipeline, the
overlay."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from support import messages
from support.fakes import DEPTH_M, FakeEstimator

from hand_depth_ros.errors import CameraError, ImageError
from hand_depth_ros.estimation.overlay import overlay
from hand_depth_ros.ros.diagnostics.throttle import Throttle
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.messages.pipeline import process_frame
from hand_depth_ros.ros.messages.settings import OutputSettings
from hand_depth_ros.ros.node.worker import Mailbox

RGB = messages.sample_rgb()
IMAGE, INFO = messages.image(RGB, "rgb8"), messages.camera_info()


def test_mailbox_keeps_the_newest_and_reports_drops() -> None:
    box: Mailbox[int] = Mailbox()
    assert [box.put(item) for item in range(5)] == [False, True, True, True, True]
    assert box.take() == 4
    assert not box.put(7) and box.take() == 7
    assert not box.empty()
    box.put(8)
    assert box.empty() and not box.put(9) and box.take() == 9


def test_closing_the_mailbox_wakes_the_worker() -> None:
    box: Mailbox[int] = Mailbox()
    got: list[int | None] = [1]
    worker = threading.Thread(target=lambda: got.append(box.take()))
    worker.start()
    box.close()
    worker.join()
    assert got[-1] is None


def test_the_throttle_lets_each_kind_through_once_in_a_period() -> None:
    now = [0.0]
    may = Throttle(10.0, clock=lambda: now[0])
    assert [may("a"), may("a"), may("b")] == [True, False, True]
    now[0] = 10.0
    assert may("a") and not may("a")


def test_the_throttle_does_not_grow_without_bound() -> None:
    may = Throttle(10.0)
    for kind in range(10_000):
        may(str(kind))
    assert len(may) <= 1000


@pytest.mark.parametrize(
    ("image", "info"),
    [
        ("/camera/depth_registered/image_raw", "/camera/depth_registered/camera_info"),
        ("/image", "/camera_info"),
        ("image", "camera_info"),
    ],
)
def test_sibling_camera_info(image: str, info: str) -> None:
    assert topics.sibling_camera_info(image) == info


def test_encodes_only_the_wanted_topics() -> None:
    estimator = FakeEstimator()
    assert process_frame(estimator, IMAGE, INFO, set()).outputs == {}
    assert process_frame(estimator, IMAGE, INFO, {topics.CAMERA_INFO}).outputs == {}
    assert estimator.frames == 0
    for name in topics.NEED_INFERENCE:
        assert set(process_frame(estimator, IMAGE, INFO, {name}).outputs) == {name}


def test_a_far_background_is_in_the_depth_images_alone() -> None:
    wanted = topics.NEED_INFERENCE
    plain = process_frame(FakeEstimator(), IMAGE, INFO, wanted).outputs
    far = process_frame(FakeEstimator(), IMAGE, INFO, wanted, OutputSettings("far", 4.5)).outputs
    millimetres = far[topics.DEPTH_MM]["data"].view("<u2")
    metres = far[topics.DEPTH_M]["data"].view("<f4")
    assert set(millimetres) == {round(1000 * DEPTH_M), 4500} and set(metres) == {DEPTH_M, 4.5}
    for name in (topics.SIGMA, topics.POINTS, topics.HAND_MASK):
        assert np.array_equal(far[name]["data"], plain[name]["data"])


def test_uses_p_for_a_rectified_image() -> None:
    p = [60.0, 0.0, 15.5, 0.0, 0.0, 60.0, 11.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    info = messages.camera_info(p=p, d=[0.3, 0.1, 0.0, 0.0, 0.0])
    widths = []
    for rectified in (False, True):
        settings = OutputSettings(image_is_rectified=rectified)
        cloud = process_frame(FakeEstimator(max_hands=1), IMAGE, info, {topics.POINTS}, settings).outputs[
            topics.POINTS
        ]
        x = cloud["data"].view("<f4").reshape(-1, 4)[:, 0]
        widths.append(float(np.ptp(x)))
    assert widths[1] == pytest.approx(widths[0] / 2, rel=0.02)


def test_another_size_or_a_broken_image_is_an_error() -> None:
    with pytest.raises(CameraError, match="camera_info is 64x48 but the image is 32x24"):
        process_frame(FakeEstimator(), IMAGE, messages.camera_info(64, 48), {topics.CAMERA_INFO})
    with pytest.raises(ImageError):
        process_frame(FakeEstimator(), messages.image(RGB, "rgb7"), INFO, topics.NEED_INFERENCE)


def test_the_overlay_colours_the_hands_and_leaves_the_rest() -> None:
    rgb = messages.sample_rgb(240, 320)
    from hand_depth_ros.geometry.camera import Camera

    frame = FakeEstimator(max_hands=1).estimate(rgb, Camera.from_hfov(320, 240, 60))
    picture = overlay(rgb, frame)
    assert picture.dtype == np.uint8 and picture.shape == rgb.shape and picture is not rgb
    inside = np.isfinite(frame.depth)
    assert (np.abs(picture[inside].astype(int) - rgb[inside]).sum(-1) > 0).mean() > 0.95
    assert np.array_equal(picture[:60], rgb[:60])


def test_overlay_handles_images_smaller_than_its_text() -> None:
    rgb = messages.sample_rgb(8, 6)
    from hand_depth_ros.geometry.camera import Camera

    assert overlay(rgb, FakeEstimator().estimate(rgb, Camera.from_hfov(6, 8, 60))).shape == rgb.shape
