"""Quality of service: what is offered and asked for, that all of it can be overridden, and who is
named when it doesn't fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from support import messages, ros_graph
from support.fakes import fake_factory

from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.node import rosout
from hand_depth_ros.ros.node.hand_depth_node import HandDepthNode
from hand_depth_ros.ros.parameters import ParameterError

OUTPUTS = [f"/{topic.name}" for topic in topics.OUTPUT_TOPICS] + ["/debug/camera_info", "/diagnostics"]
INPUTS = ["/image", "/camera_info"]
POLICIES = ("history", "depth", "reliability", "durability")
RGB = messages.sample_rgb(48, 64)


@pytest.fixture(scope="module")
def client() -> Iterator[ros_graph.Client]:
    client = ros_graph.Client(ros_graph.some_domain())
    yield client
    client.close()


@pytest.fixture
def make_node(client: ros_graph.Client) -> Iterator[Callable[..., HandDepthNode]]:
    made: list[HandDepthNode] = []

    def make(**overrides: Any) -> HandDepthNode:
        """`overrides`: as ROS parameters, by name after qos_overrides."""
        given = [Parameter(f"qos_overrides.{name}", value=value) for name, value in overrides.items()]
        made.append(HandDepthNode(fake_factory, context=client.context, parameter_overrides=given))
        client._executor.add_node(made[-1])
        return made[-1]

    yield make
    client.drop_publishers()
    for node in made:
        client._executor.remove_node(node)
        node.close()


def show(client: ros_graph.Client, reliable: bool = True) -> None:
    stamp = client.next_stamp()
    info = ros_graph.to_camera_info(messages.camera_info(64, 48, 60.0), stamp)
    client.publisher("camera_info", CameraInfo, reliable).publish(info)
    image = messages.image(messages.live(RGB), "rgb8")
    client.publisher("image", Image, reliable).publish(ros_graph.to_image(image, stamp))


def diagnosis(client: ros_graph.Client, done: Callable[[str], bool], again: Any = None) -> Any:
    """The first diagnostics whose message is as wanted."""
    with client.listening("/diagnostics", DiagnosticArray) as heard:
        client.spin_until(lambda: heard and done(heard[-1].status[0].message), again)
    return heard[-1].status[0]


def test_outputs_are_reliable_and_volatile_and_keep_five(client, make_node) -> None:
    node = make_node()
    for publisher in (*node._worker.outputs._publishers.values(), *node._worker.outputs._infos):
        assert publisher.qos_profile.depth == 5
        assert publisher.qos_profile.history == HistoryPolicy.KEEP_LAST
    for topic in OUTPUTS:
        (info,) = client.node.get_publishers_info_by_topic(topic)
        assert info.qos_profile.reliability == ReliabilityPolicy.RELIABLE, topic
        assert info.qos_profile.durability == DurabilityPolicy.VOLATILE, topic


def test_inputs_are_sensor_data_until_a_camera_offers_more(client, make_node) -> None:
    make_node()

    def asked(topic: str) -> QoSProfile:
        (info,) = client.node.get_subscriptions_info_by_topic(topic)
        return info.qos_profile

    for topic in INPUTS:
        assert asked(topic).reliability == ReliabilityPolicy.BEST_EFFORT
        assert asked(topic).durability == DurabilityPolicy.VOLATILE
    client.publisher("image", Image)
    client.spin_until(lambda: asked("/image").reliability == ReliabilityPolicy.RELIABLE)


def test_all_four_policies_of_every_topic_can_be_overridden(client, make_node) -> None:
    values = ("keep_all", 9, "best_effort", "transient_local")
    names = [f"{topic}.publisher.{policy}" for topic in OUTPUTS for policy in POLICIES]
    names += [f"{topic}.subscription.{policy}" for topic in INPUTS for policy in POLICIES]
    node = make_node(**dict(zip(names, values * (len(OUTPUTS) + len(INPUTS)), strict=True)))
    assert all(node.has_parameter(f"qos_overrides.{name}") for name in names)
    for topic in OUTPUTS:
        (info,) = client.node.get_publishers_info_by_topic(topic)
        assert info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT, topic
        assert info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL, topic
    for topic in INPUTS:
        (info,) = client.node.get_subscriptions_info_by_topic(topic)
        assert info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL, topic
    # DDS doesn't tell history and depth to others.
    ours = [one for one in (*node.publishers, *node.subscriptions) if one.topic_name in OUTPUTS + INPUTS]
    assert len(ours) >= len(OUTPUTS) + len(INPUTS)
    assert {(one.qos_profile.history, one.qos_profile.depth) for one in ours} == {(HistoryPolicy.KEEP_ALL, 9)}


def test_an_override_of_an_input_is_kept_whatever_the_camera_offers(client, make_node) -> None:
    client.publisher("image", Image)
    node = make_node(**{"/image.subscription.reliability": "best_effort"})
    node._camera.follow()
    (info,) = client.node.get_subscriptions_info_by_topic("/image")
    assert info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT


INCOMPATIBLE = {
    "durability": (
        QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
        "asks for transient local and we offer volatile: set "
        "qos_overrides./depth_registered/image_raw.publisher.durability to transient_local",
    ),
    "deadline": (QoSProfile(depth=1, deadline=Duration(seconds=1)), "receives nothing: "),
}


@pytest.mark.parametrize("policy", INCOMPATIBLE)
def test_names_an_incompatible_subscriber_and_the_policy_to_change(
    client, make_node, policy: str, capfd: pytest.CaptureFixture[str]
) -> None:
    node = make_node()
    qos, reason = INCOMPATIBLE[policy]
    incompatible = client.node.create_subscription(Image, topics.DEPTH_MM, lambda _: None, qos)
    peer = f"subscriber {client.node.get_fully_qualified_name()} of /{topics.DEPTH_MM} "
    with client.listening(topics.DEPTH_MM, Image) as served:
        status = diagnosis(client, lambda message: peer in message, lambda: show(client))
        assert status.level == b"\1" and reason in status.message and policy in status.message
        client.spin_until(lambda: served, lambda: show(client))  # the others are served
        assert capfd.readouterr().err.count(peer) == 1, "once, not every second"
        client.node.destroy_subscription(incompatible)
        diagnosis(client, lambda message: message == "running", lambda: show(client))
    assert node._worker.outputs.incompatible_subscribers() == []


def test_names_duplicate_publishers(client, make_node, capfd: pytest.CaptureFixture[str]) -> None:
    node = make_node()
    peer = client.node.get_fully_qualified_name()
    duplicate = client.node.create_publisher(Image, topics.DEPTH_MM, 1)
    twin = rclpy.create_node(node.get_name(), context=client.context)
    twin.create_publisher(Image, topics.DEPTH_M, 1)
    twin.create_publisher(Image, topics.SIGMA, 1)
    sentences = [
        f"{peer} also publishes /{topics.DEPTH_MM}: end it",
        "and 1 more of this node's topics, a second node of this name",
    ]
    try:
        status = diagnosis(client, lambda m: all(s in m for s in sentences), lambda: show(client))
        assert status.level == b"\1"
        told = capfd.readouterr().err
        assert all(told.count(sentence) == 1 for sentence in sentences), "once, not every second"
    finally:
        client.node.destroy_publisher(duplicate)
        twin.destroy_node()
    with client.listening(topics.DEPTH_MM, Image):
        diagnosis(client, lambda message: message == "running", lambda: show(client))


def test_names_an_incompatible_publisher_and_the_policy_to_change(client, make_node) -> None:
    make_node(**{"/image.subscription.reliability": "reliable"})
    status = diagnosis(client, lambda m: m.startswith("publisher of"), lambda: show(client, reliable=False))
    assert status.level == b"\2"
    assert status.message == (
        "publisher of /image is best effort and qos_overrides./image.subscription.reliability asks for reliable: "
        f"set it to best_effort, or change reliability in {client.node.get_fully_qualified_name()}"
    )


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("/image.subscription.reliability", "reliabel", "reliable, best_effort"),
        ("/hand_mask.publisher.depth", "many", "int is needed"),
        ("/hand_mask.publisher.depth", -1, "0 to"),
        ("/hand_mask.reliability", "reliable", "TOPIC.publisher.POLICY"),
        ("/hand_mask.publisher.deadline", 5, "history, depth, reliability, durability"),
    ],
)
def test_rejects_an_invalid_qos_override(
    client, name: str, value: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosout, "DISCOVERY_S", 0.0)  # nobody listens
    given = [Parameter(f"qos_overrides.{name}", value=value)]
    with pytest.raises(ParameterError, match=reason):
        HandDepthNode(fake_factory, context=client.context, parameter_overrides=given)


def test_warns_of_a_qos_override_without_a_topic(make_node, capfd) -> None:
    make_node(**{"/depth/image_raw.publisher.durability": "transient_local", "/image.subscription.depth": 2})
    warnings = [line for line in capfd.readouterr().err.splitlines() if "has no effect" in line]
    assert len(warnings) == 1 and "qos_overrides./depth/image_raw.publisher.durability" in warnings[0]
