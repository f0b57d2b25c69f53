"""Carrying out what the doctor advises leaves nothing that it calls broken."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import cv2
import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from support import messages, ros_graph

from hand_depth_ros.doctor.checks import findings
from hand_depth_ros.doctor.graph import Finding
from hand_depth_ros.doctor.probe import examine

WIDTH, HEIGHT = 64, 48
COLOUR, INFO, DEPTH = "/cam/image_raw", "/cam/camera_info", "/depth_registered/image_raw"
RGB = messages.sample_rgb(HEIGHT, WIDTH)
JPEG = cv2.imencode(".jpg", RGB)[1].reshape(-1)


class Rig:
    """A node that can be restarted with other parameters, and a camera."""

    def __init__(self) -> None:
        self.domain = ros_graph.some_domain()
        self.client = ros_graph.Client(self.domain)
        self.driver = ros_graph.Client(self.domain)
        self.node: ros_graph.NodeProcess | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, *arguments: str) -> None:
        if self.node is not None:
            self.node.stop()
            self.client.spin_until(lambda: "hand_depth" not in self.client.node.get_node_names())
        self.node = ros_graph.NodeProcess(self.domain, "-r", f"image:={COLOUR}", *arguments)
        self.client.spin_until(lambda: "hand_depth" in self.client.node.get_node_names())
        if "autostart:=false" not in arguments:
            self.node.wait_for("hand depth on")  # it is active

    def film(self, compressed: bool = False, reliable: bool = True) -> None:
        infos = self.driver.publisher(INFO, CameraInfo)
        topic, kind = (f"{COLOUR}/compressed", CompressedImage) if compressed else (COLOUR, Image)
        images = self.driver.publisher(topic, kind, reliable)
        plain = SimpleNamespace(format="jpeg", data=JPEG) if compressed else messages.image(RGB, "rgb8")

        def run() -> None:
            while not self._stop.wait(0.1):
                stamp = self.driver.next_stamp()
                infos.publish(ros_graph.to_camera_info(messages.camera_info(WIDTH, HEIGHT), stamp))
                images.publish(ros_graph.to_image(plain, stamp))

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def broken(self, until: Callable[[list[Finding]], object]) -> list[Finding]:
        """Return what the doctor calls broken; ask again until the graph has settled."""
        found: list[Finding] = []
        for _ in range(8):
            (graph,) = examine("/hand_depth", seconds=1.5, context=self.client.context)
            found = [finding for finding in findings(graph) if finding.breaks]
            if until(found):
                break
        return found

    def assert_nothing_is_broken(self) -> None:
        found = self.broken(until=lambda found: not found)
        assert not found, found

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.client.close()
        self.driver.close()
        if self.node is not None:
            self.node.stop()
            print(self.node.output)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def parameter(advice: str, pattern: str) -> tuple[str, str]:
    """The arguments that set the parameter that an advice names."""
    found = re.search(pattern, advice)
    assert found, advice
    name, value = found.groups()
    return "-p", f"{name}:={value}"


def test_the_qos_override_for_a_transient_local_consumer_works(rig: Rig) -> None:
    rig.film()
    rig.start()
    consumer = rclpy.create_node("latecomer", context=rig.client.context)
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    consumer.create_subscription(Image, DEPTH, lambda _: None, qos)
    (finding,) = rig.broken(until=lambda found: found)
    rig.start(*parameter(finding.problem, r"set (qos_overrides\S+) to (\w+)"))
    rig.assert_nothing_is_broken()
    consumer.destroy_node()


def test_the_qos_override_for_a_best_effort_camera_works(rig: Rig) -> None:
    rig.film(reliable=False)
    rig.start("-p", f"qos_overrides.{COLOUR}.subscription.reliability:=reliable")
    found = rig.broken(until=lambda found: any("asks for reliable" in f.problem for f in found))
    (finding,) = (f for f in found if "asks for reliable" in f.problem)
    rig.start(*parameter(finding.problem, r"(qos_overrides\S+) asks for reliable: set it to (\w+)"))
    rig.assert_nothing_is_broken()


def test_the_image_transport_that_is_named_works(rig: Rig) -> None:
    rig.film(compressed=True)
    rig.start()
    (finding,) = rig.broken(until=lambda found: any("image_transport" in f.cure for f in found))
    rig.start(*parameter(finding.cure, r"set (image_transport) to (\w+), "))
    rig.assert_nothing_is_broken()


def test_the_transitions_that_are_named_work(rig: Rig) -> None:
    rig.film()
    rig.start("-p", "autostart:=false")
    (finding,) = rig.broken(until=lambda found: found)
    node, first, second = re.search(r"ros2 lifecycle set (\S+) (\w+), then (\w+)", finding.cure).groups()
    service = rig.client.node.create_client(ChangeState, f"{node}/change_state")  # what ros2cli calls
    rig.client.spin_until(service.service_is_ready)
    for name in (first, second):
        transition = Transition(id=getattr(Transition, f"TRANSITION_{name.upper()}"))
        future = service.call_async(ChangeState.Request(transition=transition))
        rig.client.spin_until(future.done)
        assert future.result().success
    rig.assert_nothing_is_broken()
