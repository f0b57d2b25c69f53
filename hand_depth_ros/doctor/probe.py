"""Look at the ROS graph around a running node and listen to its topics for a while.

The doctor's node subscribes to an output only where somebody else does, so that it causes no work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hand_depth_ros.doctor.graph import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    POINT_CLOUD,
    Endpoint,
    Graph,
    Heard,
    Topic,
)
from hand_depth_ros.errors import HandDepthError
from hand_depth_ros.ros.messages.stamps import stamp_ns
from hand_depth_ros.ros.messages.topics import other_transport
from hand_depth_ros.ros.node.runtime import init_ros
from hand_depth_ros.ros.qos import BEST_EFFORT, RELIABLE, VOLATILE, durability_to_ask, input_qos, is_known

NODE_NAME = "hand_depth"
DISCOVERY_S = 10.0
CONNECT_S = 1.0
"""Time for the doctor's subscriptions to be discovered, before what comes is counted."""
LISTEN_DEPTH = 50
"""Queue of the doctor's subscriptions, so long that its own slowness loses nothing."""
POLL_PERIOD_S = 0.5
STEADY_POLLS = 4
"""The graph is complete when so many polls in a row have shown the same."""
_KINDS = {IMAGE: Image, COMPRESSED_IMAGE: CompressedImage, CAMERA_INFO: CameraInfo}
_CAMERA_TYPES = (*_KINDS, POINT_CLOUD)


def examine(name: str | None = None, seconds: float = 4.0, context: Context | None = None) -> list[Graph]:
    """Look at the node `name` (None: all called hand_depth) and listen for a while.

    Raises:
        HandDepthError: ROS cannot start, or no such node is running.
    """
    with _probe_node(context) as (probe, executor):
        full_names = _find(probe, executor, name)
        graphs = _settled(probe, executor, full_names)
        statuses: list[Any] = []
        probe.create_subscription(
            DiagnosticArray, "/diagnostics", lambda array: statuses.extend(array.status), 10
        )
        heard = {topic.name: _listen(probe, topic, lossy) for topic, lossy in _worth_hearing(graphs)}
        _spin(executor, CONNECT_S)
        for listened in heard.values():
            _forget(listened)
        _spin(executor, seconds)
        graphs = [snapshot(probe, graph.node) for graph in graphs]  # with what came up meanwhile
        for graph in graphs:
            for topic_name, listened in heard.items():
                if topic_name in graph.topics:
                    graph.topics[topic_name].heard = listened
            if latest := _latest_status(graph, statuses):
                graph.status = int.from_bytes(latest.level, "little"), latest.message
                graph.values = {item.key: item.value for item in latest.values}
        return graphs


def snapshot(probe: Node, full_name: str) -> Graph:
    """Return the graph around a node as it is now.

    Raises:
        HandDepthError: The node is gone.
    """
    published = topics_of_node(probe.get_publisher_names_and_types_by_node, full_name)
    subscribed = topics_of_node(probe.get_subscriber_names_and_types_by_node, full_name)
    if not published:  # not even /rosout
        raise HandDepthError(f"{full_name} ended while it was examined: start it again")
    outputs = sorted(name for name, types in published.items() if types[0] in _CAMERA_TYPES)
    inputs = sorted(name for name, types in subscribed.items() if types[0] in _KINDS)
    topics = {name: _endpoints(probe, name) for name in (*inputs, *outputs)}
    for name in inputs:
        if subscribed[name][0] != CAMERA_INFO:
            other = other_transport(name)[1]
            topics.setdefault(other, _endpoints(probe, other))
    consumers = {end.node for name in outputs for end in topics[name].subscriptions}
    around: set[str] = set()
    for consumer in consumers:
        subscriptions = topics_of_node(probe.get_subscriber_names_and_types_by_node, consumer)
        around.update(name for name, types in subscriptions.items() if types[0] in _KINDS)
    for name in around - topics.keys():
        topics[name] = _endpoints(probe, name)
    return Graph(full_name, topics, outputs, inputs, sorted(around - {*inputs, *outputs}))


def topics_of_node(ask: Callable[[str, str], Any], full_name: str) -> dict[str, list[str]]:
    """Return the topics of a node with their types; none if it is gone or not discovered yet.

    Args:
        ask: One of rclpy's get_..._names_and_types_by_node.
        full_name: The node.
    """
    namespace, _, base = full_name.rpartition("/")
    if not is_known(full_name):
        return {}
    try:
        return dict(ask(base, namespace or "/"))
    except NodeNameNonExistentError:
        return {}


@contextmanager
def _probe_node(context: Context | None) -> Iterator[tuple[Node, SingleThreadedExecutor]]:
    own = context is None
    context = Context() if context is None else context
    if own:
        init_ros(context=context)
    node = rclpy.create_node(
        f"hand_depth_doctor_{time.monotonic_ns() % 10**9}", context=context, start_parameter_services=False
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        yield node, executor
    finally:
        executor.shutdown()
        node.destroy_node()
        if own:
            rclpy.try_shutdown(context=context)


def _spin(executor: SingleThreadedExecutor, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=left)


def _find(probe: Node, executor: SingleThreadedExecutor, name: str | None) -> list[str]:
    end = time.monotonic() + DISCOVERY_S
    wanted = None if name is None else "/" + name.strip("/")
    while True:
        nodes = [_join(space, base) for base, space in probe.get_node_names_and_namespaces()]
        found = [n for n in nodes if (n == wanted if wanted else n.rpartition("/")[2] == NODE_NAME)]
        if found:
            return sorted(set(found))
        if time.monotonic() > end:
            others = sorted(set(nodes) - {_join(probe.get_namespace(), probe.get_name())})
            raise HandDepthError(
                f"no node {wanted or NODE_NAME} is running here: start it, or set ROS_DOMAIN_ID as it has "
                f"it, or name it with --node (nodes seen: {', '.join(others) or 'none'})"
            )
        executor.spin_once(timeout_sec=0.2)


def _settled(probe: Node, executor: SingleThreadedExecutor, full_names: list[str]) -> list[Graph]:
    """Return the graphs around the nodes once discovery has settled, or after DISCOVERY_S."""
    steady, before, end = 0, None, time.monotonic() + DISCOVERY_S
    while True:
        graphs = [snapshot(probe, full_name) for full_name in full_names]
        seen = [(t.name, t.publishers, t.subscriptions) for graph in graphs for t in graph.topics.values()]
        named = all(is_known(end.node) for _, out, into in seen for end in (*out, *into))
        steady = steady + 1 if named and seen == before else 0
        before = seen
        if steady >= STEADY_POLLS - 1 or time.monotonic() > end:
            return graphs
        _spin(executor, POLL_PERIOD_S)


def _endpoints(probe: Node, name: str) -> Topic:
    me = _join(probe.get_namespace(), probe.get_name())
    publishers = map(_endpoint, probe.get_publishers_info_by_topic(name))
    subscriptions = map(_endpoint, probe.get_subscriptions_info_by_topic(name))
    return Topic(name, list(publishers), [end for end in subscriptions if end.node != me])


def _endpoint(info: Any) -> Endpoint:
    return Endpoint(_join(info.node_namespace, info.node_name), info.topic_type, info.qos_profile)


def _join(namespace: str, base: str) -> str:
    return f"{namespace.rstrip('/')}/{base}"


def _worth_hearing(graphs: Iterable[Graph]) -> Iterator[tuple[Topic, bool]]:
    """Yield the topics to listen to, and whether somebody reads them best effort from our node."""
    for graph in graphs:
        read = [name for name in graph.outputs if graph.topics[name].subscriptions]
        for name in (*graph.inputs, *graph.around, *read):
            topic = graph.topics[name]
            if topic.type in _KINDS and topic.publishers:
                lossy = any(end.qos.reliability == BEST_EFFORT for end in topic.subscriptions)
                yield topic, lossy and name in read


def _listen(probe: Node, topic: Topic, lossy: bool) -> Heard:
    """Subscribe to a topic; if `lossy`, also best effort, to count what is lost so."""
    heard = Heard()
    kind = _KINDS[next(end.type for end in topic.publishers if end.type in _KINDS)]
    offers = [end.qos for end in topic.publishers]
    reliability = BEST_EFFORT if any(qos.reliability == BEST_EFFORT for qos in offers) else RELIABLE
    durability = durability_to_ask((qos.durability for qos in offers), VOLATILE)
    probe.create_subscription(kind, topic.name, partial(_hear, heard), _qos(reliability, durability))
    if lossy and reliability == RELIABLE:
        stamps: list[int] = []
        heard.best_effort_stamps = stamps
        probe.create_subscription(
            kind,
            topic.name,
            lambda message: stamps.append(stamp_ns(message.header)),
            _qos(BEST_EFFORT, VOLATILE),
        )
    return heard


def _qos(reliability: Any, durability: Any) -> QoSProfile:
    qos = input_qos(reliability, durability)
    qos.depth = LISTEN_DEPTH
    return qos


def _hear(heard: Heard, message: Any) -> None:
    heard.add(message, stamp_ns(message.header), time.monotonic())


def _forget(heard: Heard) -> None:
    """Start counting again; a message that comes once only (a latched camera_info) still counts."""
    if heard.count > 1 or heard.best_effort_stamps is not None:
        heard.count, heard.stamps = 0, []
    if heard.best_effort_stamps is not None:
        heard.best_effort_stamps.clear()


def _latest_status(graph: Graph, statuses: Iterable[Any]) -> Any | None:
    """Return the node's latest DiagnosticStatus, or None."""
    base = graph.node.rpartition("/")[2]
    own = [s for s in statuses if s.name.startswith(f"{base}:") and s.hardware_id in ("", *graph.inputs)]
    return own[-1] if own else None
