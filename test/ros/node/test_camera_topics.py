"""Camera topics of any name: type and camera_info are looked up on the graph."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import cv2
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from support import messages, ros_graph
from support.fakes import fake_factory

from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.node.hand_depth_node import HandDepthNode

RGB = messages.sample_rgb(48, 64)
JPEG = cv2.imencode(".jpg", RGB[..., ::-1])[1].reshape(-1)


class Camera:
    """A compressed camera on a domain of its own, and a node that reads it."""

    def __init__(self) -> None:
        domain = ros_graph.some_domain()
        self.client = ros_graph.Client(domain)
        self.driver = ros_graph.Client(domain)  # a participant has one type per topic
        self.nodes: list[HandDepthNode] = []

    def close(self) -> None:
        for node in self.nodes:
            self.client._executor.remove_node(node)
            node.close()
        self.client.close()
        self.driver.close()

    def start(self, *arguments: str) -> HandDepthNode:
        node = HandDepthNode(fake_factory, context=self.client.context, cli_args=["--ros-args", *arguments])
        self.nodes.append(node)
        self.client._executor.add_node(node)
        return node

    def show(self, image: str, camera_info: str | None) -> None:
        stamp = self.client.next_stamp()
        if camera_info is not None:
            info = ros_graph.to_camera_info(messages.camera_info(64, 48, 60.0), stamp)
            self.driver.publisher(camera_info, CameraInfo).publish(info)
        message = ros_graph.to_image(SimpleNamespace(format="jpeg", data=JPEG), stamp)
        self.driver.publisher(image, CompressedImage).publish(message)


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    yield camera
    camera.close()


@pytest.mark.parametrize("transport", ["raw", "compressed"])
@pytest.mark.parametrize(
    ("image", "camera_info"),
    [
        ("/cam/jpeg", "/cam/camera_info"),
        ("/axis/compressed", "/axis/camera_info"),
        ("/cam/image_raw/compressed", "/cam/camera_info"),
    ],
)
def test_a_compressed_topic_of_any_name_works(
    camera: Camera, image: str, camera_info: str, transport: str
) -> None:
    node = camera.start("-r", f"image:={image}", "-p", f"image_transport:={transport}")
    with camera.client.listening(topics.DEPTH_MM, Image) as depth:
        camera.client.spin_until(lambda: depth, lambda: camera.show(image, camera_info))
    assert max(depth[0].data) > 0
    assert (node._reporter.topics.image, node._reporter.topics.camera_info) == (image, camera_info)


def test_the_camera_info_beside_a_compressed_topic_wins_over_another_cameras(camera: Camera) -> None:
    """/camera_info is beside /axis, the raw topic that /axis/compressed would lie below."""
    other = ros_graph.to_camera_info(messages.camera_info(64, 48, 30.0), 5)
    camera.driver.publisher("/camera_info", CameraInfo).publish(other)
    node = camera.start("-r", "image:=/axis/compressed")

    def show() -> None:
        camera.driver.publisher("/camera_info", CameraInfo).publish(other)
        camera.show("/axis/compressed", "/axis/camera_info")

    def settled() -> bool:
        return node._reporter.topics.camera_info == "/axis/camera_info"

    camera.client.spin_until(settled, show)
    with camera.client.listening(topics.CAMERA_INFO, CameraInfo) as infos:
        camera.client.spin_until(lambda: len(infos) > 3, show)
    assert infos[-1].k[0] == 60.0


def test_the_nodes_own_camera_info_is_not_taken_for_the_cameras(camera: Camera) -> None:
    """In the camera's namespace, the sibling of hand_mask is /axis/camera_info."""
    node = camera.start("-r", "__ns:=/axis", "-r", "image:=/axis/compressed")
    camera.client.spin_until(
        lambda: node._camera.image.age_s < 1.0, lambda: camera.show("/axis/compressed", None)
    )
    assert not node.get_publishers_info_by_topic("/axis/camera_info")
    with camera.client.listening("/axis/hand_mask", Image) as masks:
        camera.client.spin_until(lambda: masks, lambda: camera.show("/axis/compressed", "/axis/camera_info"))


def test_a_camera_info_that_comes_a_second_after_the_image_is_no_error(
    camera: Camera, capfd: pytest.CaptureFixture[str]
) -> None:
    """As from a driver that latches it once the calibration is read."""
    node = camera.start("-r", "image:=/cam/jpeg")
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    with camera.client.listening(topics.DEPTH_MM, Image) as depth:
        camera.client.spin_until(
            lambda: node._reporter.statistics.refused, lambda: camera.show("/cam/jpeg", None)
        )
        publisher = camera.driver.node.create_publisher(CameraInfo, "/cam/camera_info", latched)
        publisher.publish(ros_graph.to_camera_info(messages.camera_info(64, 48, 60.0), 5))
        camera.client.spin_until(lambda: depth, lambda: camera.show("/cam/jpeg", None))
        camera.driver.node.destroy_publisher(publisher)
    assert "[ERROR]" not in capfd.readouterr().err
