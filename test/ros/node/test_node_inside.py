"""What the node does inside, over DDS but with the fake estimator in reach: no work for nobody,
only the newest frame, ..."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from support import messages, ros_graph
from support.fakes import FakeEstimator, fake_factory

from hand_depth_ros.errors import MissingDependencyError, WeightsError
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.node import rosout
from hand_depth_ros.ros.node.hand_depth_node import HandDepthNode, shipped_estimator
from hand_depth_ros.ros.parameters import DEFAULTS

RGB = messages.sample_rgb(48, 64)


class Watched(FakeEstimator):
    """Notes the order of calls, and can be held inside `estimate`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.calls: list[str] = []
        self.seen: list[int] = []
        self.go = threading.Event()
        self.go.set()

    def warm_up(self, camera: Camera) -> None:
        self.calls.append("warm_up")

    def estimate(self, rgb: np.ndarray, camera: Camera, **how: Any) -> Any:
        self.calls.append("estimate")
        self.seen.append(int(rgb[0, 0, 0]))
        assert self.go.wait(ros_graph.PATIENCE_S)
        return super().estimate(rgb, camera, **how)


@pytest.fixture(scope="module")
def client() -> Iterator[ros_graph.Client]:
    client = ros_graph.Client(ros_graph.some_domain())
    yield client
    client.close()


@pytest.fixture
def make_node(client: ros_graph.Client) -> Iterator[Callable[..., tuple[HandDepthNode, Watched]]]:
    made: list[HandDepthNode] = []

    def make(**values: Any) -> tuple[HandDepthNode, Watched]:
        estimators: list[Watched] = []

        def factory(chosen: Any) -> Watched:
            estimators.append(Watched(**vars(fake_factory(chosen).settings)))
            return estimators[0]

        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = HandDepthNode(factory, context=client.context, parameter_overrides=overrides)
        made.append(node)
        client._executor.add_node(node)
        return node, estimators[0]

    yield make
    for node in made:
        client._executor.remove_node(node)
        node.close()


def show(client: ros_graph.Client, stamp: int | None = None, brightness: int | None = None) -> int:
    stamp = stamp or client.next_stamp()
    rgb = RGB if brightness is None else np.full_like(RGB, brightness)
    client.publisher("camera_info", CameraInfo).publish(
        ros_graph.to_camera_info(messages.camera_info(64, 48, 60.0), stamp)
    )
    client.publisher("image", Image).publish(ros_graph.to_image(messages.image(rgb, "rgb8"), stamp))
    return stamp


def test_computes_nothing_without_a_subscriber(client, make_node) -> None:
    node, estimator = make_node()
    client.spin_until(lambda: node._reporter.statistics.received >= 3, lambda: show(client))
    with client.listening(topics.CAMERA_INFO, CameraInfo) as infos:
        client.spin_until(lambda: len(infos) >= 3, lambda: show(client))
    assert estimator.frames == 0  # camera_info needs no inference
    with client.listening(topics.HAND_MASK, Image) as masks:
        client.spin_until(lambda: masks, lambda: show(client))
    assert estimator.frames > 0


def test_the_warm_up_comes_before_the_first_frame(client, make_node) -> None:
    _, estimator = make_node()
    with client.listening(topics.DEPTH_MM, Image) as heard:
        client.spin_until(lambda: heard, lambda: show(client))
    assert estimator.calls[0] == "warm_up" and estimator.calls.count("warm_up") == 1


def test_only_the_newest_frame_waits_and_the_others_count_as_dropped(client, make_node) -> None:
    node, estimator = make_node()
    statistics = node._reporter.statistics
    with client.listening(topics.DEPTH_MM, Image) as heard:
        client.spin_until(lambda: heard, lambda: show(client))
        client.spin_until(lambda: len(estimator.seen) == estimator.frames)
        estimator.go.clear()
        show(client, brightness=100)
        client.spin_until(lambda: estimator.seen[-1] == 100)
        dropped, received = statistics.dropped, statistics.received
        for brightness in range(101, 109):
            show(client, brightness=brightness)
            client.spin_until(lambda: statistics.received == received + brightness - 100)  # noqa: B023
        estimator.go.set()
        client.spin_until(lambda: estimator.seen[-1] == 108)
    assert estimator.seen[-2:] == [100, 108]
    assert statistics.dropped == dropped + 7


def test_parameters_reach_the_estimator_and_the_outputs(client, make_node) -> None:
    node, estimator = make_node(max_hands=1, hand_length_m=0.18, max_sigma_m=0.02)
    assert estimator.settings.hand_length_m == 0.18 and estimator.settings.max_sigma_m == 0.02
    result = node.set_parameters_atomically(
        [
            Parameter("hand_length_m", value=0.0),
            Parameter("background", value="far"),
            Parameter("far_m", value=5),
        ]
    )
    assert result.successful, result.reason
    assert estimator.settings.hand_length_m is None and estimator.settings.max_sigma_m == 0.02
    assert (node._worker._settings.background, node._worker._settings.far_m) == ("far", 5.0)


def test_parameter_changes_are_all_or_nothing(client, make_node) -> None:
    node, estimator = make_node()
    before = estimator.settings
    # 666 is refused by the estimator itself, after the table has let everything through.
    result = node.set_parameters_atomically(
        [
            Parameter("max_hands", value=1),
            Parameter("background", value="far"),
            Parameter("detection_interval", value=666),
        ]
    )
    assert not result.successful and "666" in result.reason
    assert estimator.settings == before and node._worker._settings.background == "invalid"
    assert node.get_parameter("max_hands").value == 2


def test_a_parameter_change_waits_for_the_current_frame(client, make_node) -> None:
    node, estimator = make_node()
    with client.listening(topics.DEPTH_MM, Image):
        estimator.go.clear()
        client.spin_until(lambda: estimator.seen, lambda: show(client))
        change = threading.Thread(target=lambda: node.set_parameters([Parameter("max_hands", value=1)]))
        change.start()
        assert estimator.settings.max_hands == 2  # the frame holds the lock
        estimator.go.set()
        change.join(ros_graph.PATIENCE_S)
    assert estimator.settings.max_hands == 1


def test_simulated_time_that_jumps_back_resets_the_tracks(client, make_node) -> None:
    node, estimator = make_node(use_sim_time=True)

    def tick(seconds: int) -> None:
        message = Clock()
        message.clock.sec = seconds
        client.publisher("/clock", Clock).publish(message)

    def now() -> float:
        return 1e-9 * node.get_clock().now().nanoseconds

    client.spin_until(lambda: now() == 100.0, lambda: tick(100))
    client.spin_until(lambda: now() == 50.0, lambda: tick(50))
    with client.listening(topics.DEPTH_MM, Image) as heard:
        client.spin_until(lambda: heard, lambda: show(client))
    assert estimator.resets == 1
    client.drop_publisher("/clock")


def test_continues_after_every_jump_back_of_a_looping_bag(client, make_node) -> None:
    node, estimator = make_node(use_sim_time=True)
    stamps = [1_600_000_000_000_000_000 + i * 100_000_000 for i in range(12)]

    def play(stamp: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(stamp, 1_000_000_000)
        client.publisher("/clock", Clock).publish(message)
        show(client, stamp)

    with client.listening(topics.DEPTH_MM, Image) as heard:
        client.spin_until(lambda: heard, lambda: play(stamps[0]))  # connected
        for loop in range(1, 4):
            del heard[:]
            resets, refused = estimator.resets, node._reporter.statistics.refused
            for stamp in stamps:
                received = node._reporter.statistics.received
                play(stamp)
                client.spin_until(lambda: node._reporter.statistics.received > received)  # noqa: B023
                if stamp != stamps[0]:
                    client.spin_until(lambda: heard and ros_graph.stamp_of(heard[-1]) == stamp)  # noqa: B023
            assert node.get_clock().now().nanoseconds == stamps[-1]
            back = loop > 1  # the bag has begun again
            assert node._reporter.statistics.refused == refused + back, "one frame says that it has"
            assert estimator.resets - resets in ((1, 2) if back else (0,)), "the clock and the stamps jump"
    client.drop_publisher("/clock")


def test_warns_of_parameters_of_other_nodes(client, make_node, capfd) -> None:
    make_node(**{"camera.exposure": 5, "start_type_description_service": True})
    error = capfd.readouterr().err
    assert "'camera.exposure' is not one of this node's" in error and "start_type" not in error


def test_reports_a_topic_of_another_type(client) -> None:
    camera = ros_graph.Client(client.context.get_domain_id())  # a participant has one type a topic
    camera.publisher("/odd/image", PointCloud2)
    node = HandDepthNode(
        fake_factory, context=client.context, cli_args=["--ros-args", "-r", "image:=/odd/image"]
    )

    def problem() -> str:
        node._camera.follow()
        return node._camera.image.problem

    client.spin_until(problem)
    assert "/odd/image carries sensor_msgs/msg/PointCloud2" in problem() and "image_transport" in problem()
    node.close()
    camera.close()


def test_receives_a_latched_camera_info_published_once(client, make_node) -> None:
    for topic, kind in (("camera_info", CameraInfo), ("image", Image)):
        client.publisher(topic, kind)
        client.drop_publisher(topic)
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    latched = client.node.create_publisher(CameraInfo, "camera_info", qos)
    latched.publish(ros_graph.to_camera_info(messages.camera_info(64, 48, 60.0), 5))
    make_node()

    def show_image() -> None:
        image = ros_graph.to_image(messages.image(RGB, "rgb8"), client.next_stamp())
        client.publisher("image", Image).publish(image)

    with client.listening(topics.CAMERA_INFO, CameraInfo) as heard:
        client.spin_until(lambda: heard, show_image)
    assert heard[0].k[0] == 60.0
    client.node.destroy_publisher(latched)


def test_passes_the_parameters_to_the_real_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    from hand_depth_ros.estimation.estimator import HandDepthEstimator

    asked: dict[str, Any] = {}
    threads: list[int] = []
    monkeypatch.setattr(HandDepthEstimator, "from_pretrained", lambda **given: asked.update(given))
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    monkeypatch.setattr("cv2.setNumThreads", lambda count: None)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    shipped_estimator(DEFAULTS)
    assert asked["weights"] is None and asked["device"] == "auto" and threads == [4], "half of the cores"
    shipped_estimator({**DEFAULTS, "weights": "/there", "device": "cpu", "num_threads": 3, "max_hands": 1})
    assert (asked["weights"], asked["device"], asked["max_hands"], threads) == ("/there", "cpu", 1, [4, 3])


def test_an_estimator_that_cannot_be_made_says_why(client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rosout, "DISCOVERY_S", 0.0)  # nobody listens

    def broken(_: Any) -> FakeEstimator:
        raise WeightsError("the file is truncated")

    with pytest.raises(WeightsError, match="truncated"):
        HandDepthNode(broken, context=client.context)


def test_depth_frame_id_without_tf2_names_the_package_to_install(
    client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosout, "DISCOVERY_S", 0.0)  # nobody listens
    if importlib.util.find_spec("tf2_ros"):
        pytest.skip("tf2_ros is installed")
    overrides = [Parameter("depth_frame_id", value="hand_depth_frame")]
    with pytest.raises(MissingDependencyError, match=r"sudo apt install ros-\w+-tf2-ros-py"):
        HandDepthNode(fake_factory, context=client.context, parameter_overrides=overrides)


def test_broadcasts_the_transform_to_the_output_frame(client, make_node) -> None:
    pytest.importorskip("tf2_ros", reason="tf2_ros is not installed (apt install ros-jazzy-tf2-ros-py)")
    from tf2_msgs.msg import TFMessage

    make_node(depth_frame_id="hand_depth_frame")
    static: list[Any] = []
    qos = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    client.node.create_subscription(TFMessage, "/tf_static", static.append, qos)
    with client.listening(topics.DEPTH_MM, Image) as heard:
        client.spin_until(lambda: heard and static, lambda: show(client))
    (transform,) = static[-1].transforms
    assert heard[0].header.frame_id == transform.child_frame_id == "hand_depth_frame"
    assert transform.header.frame_id == "camera_optical" and transform.transform.rotation.w == 1.0
