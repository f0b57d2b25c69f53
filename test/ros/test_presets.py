"""Each preset, received as that driver's consumers do: names, encodings, frame, stamps, QoS.

The expectations come from the drivers' sources, not from config/presets. Node and relay run in
processes of their own over DDS; the colour camera has topics of another name.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
    qos_profile_system_default,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from support import messages, ros_graph
from support.fakes import DEPTH_M
from typer.testing import CliRunner

from hand_depth_ros.cli import main as cli
from hand_depth_ros.ros.presets import NAMES, Preset, PresetError

WIDTH, HEIGHT, F = 96, 72, 90.0
DEFAULT = QoSProfile(depth=10)
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class Driver:
    """What a driver publishes, besides the camera_info of each topic."""

    camera: str
    depth: dict[str, str]  # topic: encoding
    colour: str
    frame_id: str
    points: str
    organized: bool
    queue: int
    latched: bool = False


DRIVERS = {
    "realsense": Driver(
        "front",
        {"/front/front/aligned_depth_to_color/image_raw": "16UC1"},
        "/front/front/color/image_raw",
        "front_color_optical_frame",
        "/front/front/depth/color/points",
        organized=False,
        queue=1,
        latched=True,
    ),
    "orbbec": Driver(
        "camera",
        {"/camera/depth/image_raw": "16UC1"},
        "/camera/color/image_raw",
        "camera_color_optical_frame",
        "/camera/depth_registered/points",
        organized=False,
        queue=10,
    ),
    "azure_kinect": Driver(
        "",
        {"/depth_to_rgb/image_raw": "16UC1"},
        "/rgb/image_raw",
        "rgb_camera_link",
        "/points2",
        organized=True,
        queue=1,
    ),
    "openni": Driver(
        "camera",
        {"/camera/depth/image_raw": "16UC1", "/camera/depth/image": "32FC1"},
        "/camera/rgb/image_raw",
        "camera_rgb_optical_frame",
        "/camera/depth_registered/points",
        organized=True,
        queue=1,
    ),
    "depthai": Driver(
        "oak",
        {"/oak/stereo/image_raw": "16UC1"},
        "/oak/rgb/image_raw",
        "oak_rgb_camera_optical_frame",
        "/oak/points",
        organized=True,
        queue=10,
    ),
}


def beside(topic: str) -> str:
    return topic.rpartition("/")[0] + "/camera_info"


class Rig:
    """A renamed colour camera, the relay, the node, and subscribers of the driver's topics."""

    def __init__(self, name: str) -> None:
        self.driver = DRIVERS[name]
        setup = Preset.load(name).setup(self.driver.camera, "/usb_cam/image_raw")
        self.domain = ros_graph.some_domain()
        node = setup.ros_arguments("--ros-args", "-p", "max_hands:=1")
        self.node = ros_graph.NodeProcess(self.domain, *node[1:])
        relay = [word for name in setup.relay_remappings for word in ("-r", ":=".join(name))]
        relay += [w for k, v in setup.relay_parameters.items() for w in ("-p", f"{k}:={v}")]
        self.relay = ros_graph.NodeProcess(self.domain, *relay, program="relay.py")
        self.client = ros_graph.Client(self.domain)
        self.received: dict[str, list[Any]] = {}

    def close(self) -> None:
        self.client.close()
        print(self.node.output, self.relay.output)
        assert self.node.stop() == 0 and self.relay.stop() == 0

    def listen(self, topic: str, kind: type, qos: QoSProfile) -> None:
        received = self.received.setdefault(f"{topic} {len(self.received)}", [])
        self.client.node.create_subscription(kind, topic, received.append, qos)

    def show(self) -> None:
        stamp = self.client.next_stamp()
        info = ros_graph.to_camera_info(messages.camera_info(WIDTH, HEIGHT, F), stamp, "usb_cam")
        self.client.publisher("/usb_cam/camera_info", CameraInfo).publish(info)
        image = messages.image(messages.sample_rgb(HEIGHT, WIDTH), "rgb8")
        self.client.publisher("/usb_cam/image_raw", Image).publish(
            ros_graph.to_image(image, stamp, "usb_cam")
        )

    def one_stamp(self) -> dict[str, Any]:
        """Publish frames until every subscriber has received the same one."""

        def common() -> set[int]:
            assert self.node.running and self.relay.running, self.node.output + self.relay.output
            return set.intersection(*({ros_graph.stamp_of(m) for m in h} for h in self.received.values()))

        self.client.spin_until(common, self.show, every=1.0)
        stamp = max(common())
        return {
            name: next(m for m in received if ros_graph.stamp_of(m) == stamp)
            for name, received in self.received.items()
        }


@pytest.fixture(scope="module", params=NAMES)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(request.param)
    driver = rig.driver
    for topic in driver.depth:
        for qos in (DEFAULT, qos_profile_sensor_data, qos_profile_system_default):
            rig.listen(topic, Image, qos)
        rig.listen(beside(topic), CameraInfo, DEFAULT)
        rig.listen(f"{topic}/compressedDepth", CompressedImage, qos_profile_sensor_data)
    if driver.latched:
        rig.listen(next(iter(driver.depth)), Image, LATCHED)
    rig.listen(driver.colour, Image, qos_profile_sensor_data)
    rig.listen(beside(driver.colour), CameraInfo, DEFAULT)
    rig.listen(driver.points, PointCloud2, DEFAULT)
    try:
        yield rig
    finally:
        rig.close()


def test_consumers_receive_what_the_driver_publishes(rig: Rig) -> None:
    driver, received = rig.driver, rig.one_stamp()
    assert {m.header.frame_id for m in received.values()} == {driver.frame_id}
    infos = []
    for key, message in received.items():
        topic = key.split(" ")[0]
        if isinstance(message, (Image, CameraInfo)):
            assert (message.height, message.width) == (HEIGHT, WIDTH)
        if topic in driver.depth:
            check_depth(message, driver.depth[topic])
        elif topic.endswith("/compressedDepth"):
            check_compressed(message, driver.depth[topic.removesuffix("/compressedDepth")])
        elif topic == driver.points:
            assert (message.height == HEIGHT) == driver.organized
            assert message.height * message.width > 0 and message.is_dense != driver.organized
        elif topic == driver.colour:
            assert message.encoding == "rgb8"
            assert bytes(message.data) == messages.sample_rgb(HEIGHT, WIDTH).tobytes()
        else:
            infos.append(message)
    assert len(infos) == 1 + len(driver.depth) and all(info == infos[0] for info in infos)
    assert infos[0].k[0] == F


def check_depth(message: Image, encoding: str) -> None:
    assert (message.encoding, message.is_bigendian) == (encoding, 0)
    size = 2 if encoding == "16UC1" else 4
    assert message.step == size * WIDTH and len(message.data) == message.step * HEIGHT
    values = np.frombuffer(message.data, "<u2" if size == 2 else "<f4")
    invalid = values == 0 if size == 2 else np.isnan(values)
    assert invalid.any() and not invalid.all()
    assert np.all(values[~invalid] == (round(1000 * DEPTH_M) if size == 2 else np.float32(DEPTH_M)))


def check_compressed(message: CompressedImage, encoding: str) -> None:
    assert message.format == f"{encoding}; compressedDepth png"
    pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8)[12:], cv2.IMREAD_UNCHANGED)
    assert pixels.shape == (HEIGHT, WIDTH) and pixels.dtype == np.uint16 and pixels.any()


def test_qos_equals_the_drivers(rig: Rig) -> None:
    driver = rig.driver
    durability = DurabilityPolicy.TRANSIENT_LOCAL if driver.latched else DurabilityPolicy.VOLATILE
    names = [*driver.depth, *map(beside, driver.depth), driver.colour, beside(driver.colour), driver.points]
    for name in names:
        info = publisher_of(rig, name)
        qos = info.qos_profile
        assert (qos.reliability, qos.durability) == (ReliabilityPolicy.RELIABLE, durability), name
        declared = parameters_of(rig, info.node_name, f"qos_overrides.{name}.publisher.")
        assert declared["history"] == "keep_last" and declared["depth"] == driver.queue, name
        assert qos.history in (HistoryPolicy.KEEP_LAST, HistoryPolicy.UNKNOWN)  # DDS does not report it


def publisher_of(rig: Rig, topic: str) -> Any:
    """Return the QoS of the only publisher, found perhaps before its node's name."""
    node = rig.client.node

    def known() -> bool:
        there = {info.node_name for info in node.get_publishers_info_by_topic(topic)}
        return bool(there) and there <= {name for name, _ in node.get_node_names_and_namespaces()}

    rig.client.spin_until(known)
    (info,) = node.get_publishers_info_by_topic(topic)
    return info


def parameters_of(rig: Rig, node_name: str, prefix: str) -> dict[str, Any]:
    from rcl_interfaces.srv import GetParameters
    from rclpy.parameter import parameter_value_to_python

    namespace = next(
        space for name, space in rig.client.node.get_node_names_and_namespaces() if name == node_name
    )
    service = rig.client.node.create_client(
        GetParameters, f"{namespace.rstrip('/')}/{node_name}/get_parameters"
    )
    rig.client.spin_until(service.service_is_ready)
    names = ("history", "depth")
    future = service.call_async(GetParameters.Request(names=[prefix + name for name in names]))
    rig.client.spin_until(future.done)
    rig.client.node.destroy_client(service)
    return dict(zip(names, map(parameter_value_to_python, future.result().values), strict=True))


def test_drivers_frame_is_joined_to_the_colour_frame(rig: Rig) -> None:
    if importlib.util.find_spec("tf2_ros") is not None:
        tf2_msgs = pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed")
        rig.listen("/tf_static", tf2_msgs.TFMessage, LATCHED)
        (received,) = (h for name, h in rig.received.items() if name.startswith("/tf_static"))
        rig.client.spin_until(lambda: len(received) == 2, rig.show)
        for message in received:
            (found,) = message.transforms
            assert (found.header.frame_id, found.child_frame_id) == ("usb_cam", rig.driver.frame_id)
            assert found.transform.rotation.w == 1.0 and found.transform.translation.x == 0.0
        return
    line = f"static transform usb_cam -> {rig.driver.frame_id}, identity: True"
    rig.client.spin_until(lambda: line in rig.node.output and line in rig.relay.output, rig.show)


def test_relays_compressed_colour_as_it_is() -> None:
    domain = ros_graph.some_domain()
    names = ("-r", "image:=/usb_cam/image_raw", "-r", "colour/image_raw:=/cam/color/image_raw")
    parameters = ("-p", "image_transport:=compressed", "-p", "frame_id:=cam_frame")
    relay = ros_graph.NodeProcess(domain, *names, *parameters, program="relay.py")
    client = ros_graph.Client(domain)
    sent = CompressedImage(format="jpeg", data=b"any bytes: the relay does not look into them")

    def show() -> None:
        assert relay.running, relay.output
        image = ros_graph.stamped(sent, client.next_stamp(), "usb_cam")
        client.publisher("/usb_cam/image_raw/compressed", CompressedImage).publish(image)

    with client.listening("/cam/color/image_raw/compressed", CompressedImage) as received:
        client.spin_until(lambda: received, show)
    assert (received[0].format, received[0].data, received[0].header.frame_id) == (
        sent.format,
        sent.data,
        "cam_frame",
    )
    client.close()
    assert relay.stop() == 0 and "Traceback" not in relay.output


@pytest.mark.parametrize(
    ("preset", "camera", "says"),
    [
        ("kinect", None, "realsense, orbbec"),
        ("realsense", "1st", "not a ROS name"),
        ("orbbec", "", "not a ROS name"),
    ],
)
def test_rejects_invalid_names_with_the_reason(preset: str, camera: str | None, says: str) -> None:
    with pytest.raises(PresetError, match=says):
        Preset.load(preset).setup(camera)


def test_reads_the_drivers_colour_by_default_without_relay() -> None:
    for name in NAMES:
        setup = Preset.load(name).setup()
        assert not setup.needs_relay and dict(setup.remappings)["image"] == setup.colour


def test_user_arguments_win() -> None:
    """ROS takes the first of several remappings and the last of several parameters."""
    line = (
        Preset.load("orbbec")
        .setup()
        .ros_arguments("--ros-args", "-r", "image:=/x", "-p", "points_organized:=true")
    )
    assert line.index("image:=/x") < line.index("image:=/camera/color/image_raw")
    assert line.index("points_organized:=true") > line.index("points_organized:=false")


def test_command_line_takes_a_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr("hand_depth_ros.ros.node.main.main", lambda arguments: asked.append(arguments) or 0)
    given = [
        "node",
        "--preset",
        "orbbec",
        "--camera",
        "wrist",
        "--frame",
        "image",
        "--ros-args",
        "-p",
        "device:=cpu",
    ]
    assert CliRunner().invoke(cli.app, given).exit_code == 0
    ((*line,),) = asked
    assert "depth_registered/image_raw:=/wrist/depth/image_raw" in line and "device:=cpu" in line
    assert "depth_frame_id:=''" in line and "image:=/wrist/color/image_raw" in line
    for wrong in (["--preset", "orbbec", "--frame", "mine"], ["--camera", "wrist"]):
        assert CliRunner().invoke(cli.app, ["node", *wrong]).exit_code == 2
    assert len(asked) == 1


def test_command_names_the_colour_topic_of_the_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hand_depth_ros.ros.node.main.main", lambda _: 0)
    line = ["node", "--preset", "orbbec", "--frame", "image"]
    assert not CliRunner().invoke(cli.app, line).stderr
    stderr = CliRunner().invoke(cli.app, [*line, "--image", "/usb/image_raw"]).stderr
    assert "/usb/image_raw" in stderr and "/camera/color/image_raw" in stderr
