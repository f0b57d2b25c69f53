"""`hand-depth doctor` over real DDS: a consumer that works is left in peace, one that cannot is
named with the cure."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from support import messages, ros_graph

from hand_depth_ros.doctor import cli, probe
from hand_depth_ros.doctor.checks import findings
from hand_depth_ros.doctor.graph import Endpoint, Finding, Graph, Heard, Topic
from hand_depth_ros.doctor.probe import examine
from hand_depth_ros.errors import HandDepthError

WIDTH, HEIGHT = 64, 48
DEPTH, INFO = "/robot/depth_registered/image_raw", "/robot/depth_registered/camera_info"
COLOUR = "/cam/image_raw"


class Rig:
    """The node, and a camera of ours that sends some frames a second, in a thread."""

    def __init__(self) -> None:
        domain = ros_graph.some_domain()
        self.environment = ros_graph.environment(domain)
        self.node = ros_graph.NodeProcess(domain, "-r", "__ns:=/robot", "-r", f"image:={COLOUR}")
        self.client = ros_graph.Client(domain)
        self.camera_info = messages.camera_info(WIDTH, HEIGHT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._film, daemon=True)
        self._thread.start()

    def _film(self) -> None:
        infos, images = (
            self.client.publisher("/cam/camera_info", CameraInfo),
            self.client.publisher(COLOUR, Image),
        )
        others = self.client.publisher("/other/image_raw", Image)
        rgb = messages.sample_rgb(HEIGHT, WIDTH)
        other = messages.image(messages.sample_rgb(2 * HEIGHT, 2 * WIDTH), "rgb8")
        while not self._stop.wait(0.1):
            stamp = self.client.next_stamp()
            infos.publish(ros_graph.to_camera_info(self.camera_info, stamp))
            image = messages.image(messages.live(rgb), "rgb8")
            images.publish(ros_graph.to_image(image, stamp))
            others.publish(ros_graph.to_image(other, stamp))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.client.close()
        self.node.stop()

    @contextmanager
    def consumer(self, name: str, **topics: tuple[str, type, Any]) -> Iterator[None]:
        """A node of that name with subscriptions (topic, type, QoS)."""
        import rclpy

        node = rclpy.create_node(name, context=self.client.context)
        for topic, kind, qos in topics.values():
            node.create_subscription(kind, topic, lambda _msg: None, qos)
        try:
            yield
        finally:
            node.destroy_node()

    def findings(self, until: Callable[[list[Finding]], Any] = lambda _found: True) -> list[Finding]:
        """What the doctor finds; again until the graph has become what it should be (discovery
        takes its time)."""
        found: list[Finding] = []

        def look() -> bool:
            (graph,) = examine("/robot/hand_depth", seconds=1.5, context=self.client.context)
            found[:] = findings(graph)
            return bool(until(found))

        for _ in range(8):
            if look():
                break
        return found


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    rig = Rig()
    try:
        rig.client.spin_until(
            lambda: "hand_depth" in rig.client.node.get_node_names() or not rig.node.running
        )
        yield rig
    finally:
        print(rig.node.output)
        rig.close()


RELIABLE = QoSProfile(depth=5)
WELL = {
    "depth": (DEPTH, Image, RELIABLE),
    "info": (INFO, CameraInfo, RELIABLE),
    "colour": (COLOUR, Image, qos_profile_sensor_data),
}


def broken(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.breaks]


def command(rig: Rig) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "hand_depth_ros.cli.main", "doctor", "--seconds", "3"]
    return subprocess.run(
        line,
        env={**rig.environment, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_exits_with_0_and_names_the_consumers_if_all_is_well(rig: Rig) -> None:
    with rig.consumer("rtabmap", **WELL):
        assert not broken(rig.findings(until=lambda found: not broken(found)))
        result = command(rig)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "/rtabmap" in result.stdout and "all is well" in result.stdout
    assert "64x48 rgb8" in result.stdout and "64x48 16UC1" in result.stdout


@pytest.mark.parametrize("name", ["/gone", "_NODE_NAMESPACE_UNKNOWN_/_NODE_NAME_UNKNOWN_"])
def test_ignores_a_peer_that_is_gone_or_not_discovered(rig: Rig, name: str) -> None:
    assert probe.topics_of_node(rig.client.node.get_subscriber_names_and_types_by_node, name) == {}
    with pytest.raises(HandDepthError, match="ended while it was examined"):
        probe.snapshot(rig.client.node, name)


def test_names_a_consumer_that_asks_for_transient_local_and_exits_with_1(rig: Rig) -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    with rig.consumer("latecomer", depth=(DEPTH, Image, latched)):
        (finding,) = broken(rig.findings(until=broken))
        result = command(rig)
    assert (finding.topic, finding.peer) == (DEPTH, "/latecomer")
    assert f"set qos_overrides.{DEPTH}.publisher.durability to transient_local" in finding.problem
    assert result.returncode == 1 and "/latecomer" in result.stdout


def test_names_a_consumer_whose_camera_info_nobody_publishes(rig: Rig) -> None:
    with rig.consumer("pairing", depth=WELL["depth"], info=("/nowhere/camera_info", CameraInfo, RELIABLE)):
        (finding,) = broken(rig.findings(until=broken))
    assert (finding.topic, finding.peer) == ("/nowhere/camera_info", "/pairing")
    assert INFO in finding.cure


def test_names_a_colour_image_of_another_size(rig: Rig) -> None:
    with rig.consumer("cloud", depth=WELL["depth"], colour=("/other/image_raw", Image, RELIABLE)):
        (finding,) = broken(rig.findings(until=broken))
    assert (finding.topic, finding.peer) == ("/other/image_raw", "/cloud")
    assert "128x96" in finding.problem and "64x48" in finding.problem and COLOUR in finding.cure


def test_names_a_camera_info_of_another_size(rig: Rig) -> None:
    rig.camera_info = messages.camera_info(WIDTH // 2, HEIGHT // 2)
    try:
        (finding,) = broken(rig.findings(until=broken))
    finally:
        rig.camera_info = messages.camera_info(WIDTH, HEIGHT)
    assert finding.topic == "/cam/camera_info"
    assert "camera_info is 32x24 but the image is 64x48" in finding.problem


def test_lists_the_running_nodes_if_the_given_one_is_missing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "DISCOVERY_S", 1.0)
    with pytest.raises(
        HandDepthError, match=r"no node /elsewhere is running.*ROS_DOMAIN_ID.*/robot/hand_depth"
    ):
        examine("elsewhere", context=rig.client.context)


# What a real graph seldom shows, from plain data.

IMAGE, CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
NODE = "/hand_depth"


def one_input(topic: str, kind: str, publishers: list[Endpoint], last: Any = None) -> Graph:
    ours = [Endpoint(NODE, kind, RELIABLE)]
    heard = None if not publishers else Heard(count=int(last is not None), last=last)
    image = Topic("/depth", [Endpoint(NODE, IMAGE, RELIABLE)])
    return Graph(NODE, {topic: Topic(topic, publishers, ours, heard), "/depth": image}, ["/depth"], [topic])


CAMERA = [Endpoint("/cam", IMAGE, RELIABLE)]
PICTURE = messages.sample_rgb(HEIGHT, WIDTH)
INPUTS = {
    "nobody publishes": (one_input("/image", IMAGE, []), "nobody publishes"),
    "silent": (one_input("/image", IMAGE, CAMERA), "nothing comes"),
    "best effort": (
        one_input(
            "/image",
            IMAGE,
            [Endpoint("/cam", IMAGE, qos_profile_sensor_data)],
            messages.image(PICTURE, "rgb8"),
        ),
        "eliab",
    ),
    "other type": (
        one_input("/image", IMAGE, [Endpoint("/cam", "sensor_msgs/msg/CompressedImage", RELIABLE)]),
        "is sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image",
    ),
    "depth as colour": (
        one_input(
            "/image", IMAGE, CAMERA, messages.image(PICTURE[..., :2].copy().view("<u2")[..., 0], "16UC1")
        ),
        "remap image to a colour topic",
    ),
    "not calibrated": (
        one_input(
            "/info",
            CAMERA_INFO,
            [Endpoint("/cam", CAMERA_INFO, RELIABLE)],
            messages.camera_info(WIDTH, HEIGHT, 0.0),
        ),
        "k[0]",
    ),
}


@pytest.mark.parametrize("fault", INPUTS)
def test_names_what_is_wrong_with_an_input(fault: str) -> None:
    graph, words = INPUTS[fault]
    found = broken(findings(graph))
    assert any(words in finding.problem for finding in found), found


def test_names_the_transition_of_an_unconfigured_or_inactive_node() -> None:
    unconfigured, inactive = Graph(NODE, {}, [], []), one_input("/image", IMAGE, CAMERA)
    inactive.inputs = []
    (finding,) = broken(findings(unconfigured))
    assert f"ros2 lifecycle set {NODE} configure, then activate" in finding.cure
    (finding,) = broken(findings(inactive))
    assert finding.problem == "reads no camera" and f"ros2 lifecycle set {NODE} activate" in finding.cure


def test_reports_the_nodes_own_diagnostics_if_nothing_else_is_found() -> None:
    graph = one_input("/image", IMAGE, CAMERA, messages.image(PICTURE, "rgb8"))
    assert not findings(graph)
    graph.status = (2, "out of memory")
    (finding,) = findings(graph)
    assert finding.breaks and finding.problem == "out of memory"


def test_reports_an_odd_colour_encoding_beside_the_depth() -> None:
    graph = one_input("/image", IMAGE, CAMERA, messages.image(PICTURE, "rgb8"))
    header = SimpleNamespace(frame_id="a")
    last = SimpleNamespace(encoding="yuyv", width=WIDTH, height=HEIGHT, header=header)
    depth = SimpleNamespace(encoding="16UC1", width=WIDTH, height=HEIGHT, header=header)
    consumer = Endpoint("/viewer", IMAGE, RELIABLE)
    graph.topics["/yuv"] = Topic("/yuv", CAMERA, [consumer], Heard(1, last=last, stamps=[5]))
    graph.topics["/depth"].subscriptions.append(consumer)
    graph.topics["/depth"].heard = Heard(1, last=depth, stamps=[5])
    graph.topics["/camera_info"] = Topic("/camera_info", [Endpoint(NODE, CAMERA_INFO, RELIABLE)])
    (finding,) = findings(graph)
    assert finding.topic == "/yuv" and "yuyv" in finding.problem and not finding.breaks


def test_reports_a_colour_image_that_nobody_publishes() -> None:
    graph = one_input("/image", IMAGE, CAMERA, messages.image(PICTURE, "rgb8"))
    consumer = Endpoint("/viewer", IMAGE, RELIABLE)
    graph.topics["/color/image_raw"] = Topic("/color/image_raw", [], [consumer])
    graph.topics["/depth"].subscriptions.append(consumer)
    graph.topics["/camera_info"] = Topic("/camera_info", [Endpoint(NODE, CAMERA_INFO, RELIABLE)])
    (finding,) = findings(graph)
    assert (finding.topic, finding.peer, finding.breaks) == ("/color/image_raw", "/viewer", False)
    assert "nobody publishes" in finding.problem and "(/image)" in finding.cure


def test_reports_a_second_node_of_the_same_name() -> None:
    graph = one_input("/image", IMAGE, CAMERA, messages.image(PICTURE, "rgb8"))
    graph.topics["/depth"].publishers.append(Endpoint(NODE, IMAGE, RELIABLE))
    (finding,) = findings(graph)
    assert finding.breaks and (finding.topic, finding.peer) == ("/depth", NODE)
    assert "two nodes of this name" in finding.problem


def with_consumer(
    kind: str, qos: QoSProfile, last: Any = None, outputs: tuple[str, ...] = ("/depth/image",)
) -> Graph:
    graph = one_input("/image", IMAGE, CAMERA, messages.image(PICTURE, "rgb8"))
    graph.outputs = list(outputs)
    for name in outputs:
        graph.topics[name] = Topic(name, [Endpoint(NODE, kind, RELIABLE)])
    graph.topics[outputs[0]].subscriptions.append(Endpoint("/viewer", kind, qos))
    graph.topics[outputs[0]].heard = None if last is None else Heard(1, last=last, stamps=[5])
    graph.topics["/depth/camera_info"] = Topic("/depth/camera_info", [Endpoint(NODE, CAMERA_INFO, RELIABLE)])
    return graph


def depth(width: int, height: int) -> Any:
    return SimpleNamespace(data=bytes(2 * width * height), encoding="16UC1", width=width, height=height)


def test_reports_a_best_effort_consumer_of_large_images_or_clouds() -> None:
    outputs = ("/depth/image", "/depth/image/compressedDepth")
    (finding,) = findings(with_consumer(IMAGE, qos_profile_sensor_data, depth(640, 480), outputs))
    assert (finding.topic, finding.peer, finding.breaks) == ("/depth/image", "/viewer", False)
    assert "614 KB best effort" in finding.problem and "one lost fragment" in finding.problem
    assert finding.cure == "ask for reliable there, or read /depth/image/compressedDepth"
    (finding,) = findings(with_consumer("sensor_msgs/msg/PointCloud2", qos_profile_sensor_data))
    assert "clouds best effort" in finding.problem and "compressedDepth" in finding.cure


def test_accepts_a_consumer_that_loses_nothing_by_best_effort() -> None:
    assert not findings(with_consumer(IMAGE, RELIABLE, depth(640, 480)))
    assert not findings(with_consumer(IMAGE, qos_profile_sensor_data, depth(64, 48)))
    assert not findings(with_consumer("sensor_msgs/msg/CompressedImage", qos_profile_sensor_data))


def test_topic_names_stay_whole_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "/camera/camera/aligned_depth_to_color/image_raw/of_a_robot_with_long_names"
    graph = one_input(name, IMAGE, CAMERA)
    monkeypatch.setattr(probe, "examine", lambda *_: [graph])
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(typer.Exit):
        cli.doctor(None, 1.0)
    assert capsys.readouterr().out.count(name) == 2, "in the table, and with what is wrong"


@pytest.mark.parametrize(
    ("read", "published", "transport"),
    [("/cam/image", "/cam/image/compressed", "compressed"), ("/cam/image/compressed", "/cam/image", "raw")],
)
def test_names_the_image_transport_that_is_published(read: str, published: str, transport: str) -> None:
    graph = one_input(read, IMAGE, [])
    graph.topics[published] = Topic(published, CAMERA)
    (finding,) = broken(findings(graph))
    assert finding.cure == f"set image_transport to {transport}, {published} is published"


def test_reports_a_camera_info_without_p_that_ours_completes() -> None:
    info = messages.camera_info(WIDTH, HEIGHT)
    info.p = [0.0] * 12
    graph = one_input("/info", CAMERA_INFO, [Endpoint("/cam", CAMERA_INFO, RELIABLE)], info)
    (finding,) = findings(graph)
    assert (finding.topic, finding.peer, finding.breaks) == ("/info", "/cam", False)
    assert "camera_info has no P" in finding.problem and "P from K" in finding.problem


def test_leaves_an_encoding_that_the_running_node_decodes_to_the_node() -> None:
    image = messages.image(PICTURE, "8UC3")
    graph = one_input("/image", IMAGE, CAMERA, image)
    assert broken(findings(graph))
    graph.status = (0, "running")
    assert not findings(graph)


def test_says_each_thing_once() -> None:
    viewer = Endpoint("/viewer", IMAGE, qos_profile_sensor_data)
    graph = with_consumer(IMAGE, qos_profile_sensor_data, depth(640, 480))
    before = findings(graph)
    graph.topics["/depth/image"].subscriptions += [viewer, viewer]
    assert findings(graph) == before


def test_rates_are_measured_from_first_to_last_message() -> None:
    heard = Heard()
    for number in range(9):
        heard.add(None, number, 100.0 + 0.125 * number)
    assert heard.rate == pytest.approx(8.0) and heard.count == 9
    assert Heard().rate == 0.0


def test_counts_images_that_a_best_effort_camera_loses() -> None:
    graph = one_input("/image", IMAGE, [Endpoint("/cam", IMAGE, qos_profile_sensor_data)])
    stamps = list(range(100))
    last = messages.image(PICTURE, "rgb8")
    ours = Endpoint(NODE, IMAGE, qos_profile_sensor_data)
    graph.topics["/image"].subscriptions[:] = [ours]
    graph.topics["/image"].heard = Heard(60, last=last, stamps=stamps[:60])
    info = Heard(100, last=messages.camera_info(WIDTH, HEIGHT), stamps=stamps)
    ends = [Endpoint("/cam", CAMERA_INFO, RELIABLE)], [Endpoint(NODE, CAMERA_INFO, RELIABLE)]
    graph.topics["/info"] = Topic("/info", *ends, info)
    graph.inputs.append("/info")
    (finding,) = findings(graph)
    assert finding.breaks and (finding.topic, finding.peer) == ("/image", "/cam")
    assert "40 of 100 are lost" in finding.problem and "restart /cam with" in finding.cure
    graph.topics["/image"].heard.stamps = stamps[:97]
    assert not findings(graph)
