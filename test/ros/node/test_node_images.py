"""The node names images that are valid messages and hold less than they seem, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from support import messages, ros_graph
from support.fakes import FakeEstimator

from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.node.hand_depth_node import HandDepthNode

RGB = messages.sample_rgb(120, 160)


class Recorder(FakeEstimator):
    """Keeps the latest image."""

    rgb: np.ndarray | None = None

    def estimate(self, rgb: np.ndarray, camera: Camera, **how: Any) -> Any:
        self.rgb = rgb
        return super().estimate(rgb, camera, **how)


class Rig:
    """A node with its camera and a subscriber of its depth, camera_info and diagnostics."""

    def __init__(self, **values: Any) -> None:
        self.client = ros_graph.Client(ros_graph.some_domain())
        self.estimator = Recorder()
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        self.node = HandDepthNode(
            lambda _: self.estimator, context=self.client.context, parameter_overrides=overrides
        )
        self.client._executor.add_node(self.node)
        self.depth = self.client.listen(topics.DEPTH_MM, Image)
        self.infos = self.client.listen(topics.CAMERA_INFO, CameraInfo)
        self.diagnostics = self.client.listen("/diagnostics", DiagnosticArray)

    def close(self) -> None:
        self.client._executor.remove_node(self.node)
        self.node.close()
        self.client.close()

    def show(self, image: SimpleNamespace, **info: Any) -> None:
        """Publish an image with its camera_info."""
        stamp = self.client.next_stamp()
        camera_info = messages.camera_info(160, 120, 150.0, **info)
        self.client.publisher("camera_info", CameraInfo).publish(ros_graph.to_camera_info(camera_info, stamp))
        message = ros_graph.to_image(image, stamp)
        topic = "image/compressed" if isinstance(message, CompressedImage) else "image"
        self.client.publisher(topic, type(message)).publish(message)

    def frame(self, image: SimpleNamespace, **info: Any) -> None:
        """Publish the image until its depth comes."""
        self.depth.clear()
        self.infos.clear()
        self.client.spin_until(lambda: self.depth and self.infos, lambda: self.show(image, **info))

    def status(self, word: str, image: SimpleNamespace) -> dict[str, str]:
        """Publish the image until diagnostics have this word; return their values."""
        self.diagnostics.clear()
        seen = self.diagnostics
        self.client.spin_until(lambda: seen and word in seen[-1].status[0].message, lambda: self.show(image))
        return {item.key: item.value for item in seen[-1].status[0].values}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    rig = Rig(untyped_encoding="bgr8")
    yield rig
    rig.close()


def test_infers_the_bit_depth_and_says_so_once(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    ten_bits = messages.image(np.rint(RGB * (1023 / 255)).astype(np.uint16), "rgb16")
    for _ in range(3):
        rig.frame(ten_bits)
    assert rig.estimator.rgb is not None and np.abs(rig.estimator.rgb.astype(int) - RGB).max() <= 1
    assert rig.status("", ten_bits)["bit depth"] == "10"
    assert capfd.readouterr().err.count("hold 10-bit values") == 1


def test_reads_untyped_images_as_the_parameter_says(rig: Rig) -> None:
    rig.frame(messages.image(RGB[..., ::-1], "8UC3"))
    assert rig.estimator.rgb is not None and np.array_equal(rig.estimator.rgb, RGB)


def test_consumers_get_p_from_k(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    image = messages.image(RGB, "rgb8")
    for _ in range(3):
        rig.frame(image, p=[0.0] * 12, r=[0.0] * 9)
    published = rig.infos[-1]
    assert list(published.p) == [150.0, 0, 79.5, 0, 0, 150.0, 59.5, 0, 0, 0, 1, 0]
    assert list(published.r) == list(np.eye(3).ravel()) and published.k[0] == 150.0
    assert capfd.readouterr().err.count("camera_info has no P and R") == 1


@pytest.mark.parametrize(
    ("word", "rgb"),
    [
        ("the image is dark", np.zeros_like(RGB)),
        ("the image has one colour all over", np.full_like(RGB, 180)),
        ("the image has not changed for", RGB),
    ],
)
def test_diagnostics_say_that_an_image_shows_nothing(rig: Rig, word: str, rgb: np.ndarray) -> None:
    rig.status(word, messages.image(rgb, "rgb8"))


def test_log_and_diagnostics_name_a_damaged_jpeg(capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (15, 20, 3)).astype(np.uint8)
    data = cv2.imencode(".jpg", noise.repeat(8, 0).repeat(8, 1))[1].reshape(-1).copy()
    data[data.size // 2 : data.size // 2 + 800] = 0
    rig = Rig(image_transport="compressed")
    try:
        rig.status("the jpeg data is damaged", SimpleNamespace(format="jpeg", data=data))
        rig.client.spin_for(0.5)
        assert rig.depth, "what was decoded is processed"
    finally:
        rig.close()
    assert "check the link between camera and node" in capfd.readouterr().err
