"""`hand-depth doctor`: who is connected to a running node, and what keeps whom from working.

Looks at the ROS graph from a node of its own, listens for some seconds to what the node reads and to what its
consumers read, and lets `graph_check` judge. It subscribes to an output only where somebody else does, so that it
causes no work.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import rclpy
import typer
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node, NodeNameNonExistentError
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hand_depth_ros.doctor import graph_check
from hand_depth_ros.doctor.graph_check import Endpoint, Finding, Graph, Heard, Topic
from hand_depth_ros.errors import HandDepthError, counted
from hand_depth_ros.ros.messages.stamps import stamp_ns
from hand_depth_ros.ros.messages.topics import other_transport
from hand_depth_ros.ros.qos import BEST_EFFORT, RELIABLE, VOLATILE, durability_to_ask, input_qos, is_known

NODE_NAME = "hand_depth"
DISCOVERY_S = 10.0
LOOK_PERIOD_S = 0.5
STEADY_LOOKS = 4
"""The graph is known when so many looks at it, one after the other, have shown the same."""
FILE_COLUMNS = 200
"""Width of the tables where the output is no terminal: topic names stay whole."""
_KINDS = {
    graph_check.IMAGE: Image,
    graph_check.COMPRESSED_IMAGE: CompressedImage,
    graph_check.CAMERA_INFO: CameraInfo,
}
_CAMERA_TYPES = (*_KINDS, graph_check.POINT_CLOUD)


def doctor(
    node: Annotated[
        str | None,
        typer.Option(
            help="The node, with its namespace.  [default: every one called hand_depth]", show_default=False
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long to listen.", min=0.5, max=60.0)] = 4.0,
) -> None:
    """Look at a running node, its camera and its consumers, and say what keeps them from working.

    Lists inputs (publishers, QoS, rate, size) and outputs (each with the nodes that read it), then what is wrong with
    the cure: incompatible QoS, a missing camera_info beside an image, sizes or encodings that don't go together.

    Exit code: 0 when all is well, 1 when something keeps the node or a consumer from working (or no node is there).
    """
    graphs = examine(node, seconds)
    console = Console(width=None if sys.stdout.isatty() else FILE_COLUMNS)
    broken = 0
    for graph in graphs:
        found = graph_check.findings(graph)
        broken += sum(finding.breaks for finding in found)
        show(console, graph, found)
    raise typer.Exit(1 if broken else 0)


def examine(name: str | None = None, seconds: float = 4.0, context: Context | None = None) -> list[Graph]:
    """Look at the node `name` (None: all that are called hand_depth) and listen for a while.

    Raises:
        HandDepthError: No such node is there.
    """
    with _looking_node(context) as (looker, executor):
        full_names = _find(looker, executor, name)
        graphs = _settled(looker, executor, full_names)
        statuses: list[Any] = []
        looker.create_subscription(
            DiagnosticArray, "/diagnostics", lambda array: statuses.extend(array.status), 10
        )
        heard = {name: _listen(looker, topic) for name, topic in _worth_hearing(graphs)}
        _spin(executor, seconds)
        graphs = [_look(looker, graph.node) for graph in graphs]  # what came up meanwhile counts as well
        for graph in graphs:
            for topic_name, listened in heard.items():
                listened.seconds = seconds
                if topic_name in graph.topics:
                    graph.topics[topic_name].heard = listened
            graph.status = _status(graph, statuses)
        return graphs


def show(console: Console, graph: Graph, found: list[Finding]) -> None:
    """The node on the screen: tables of inputs and outputs, then the findings, one a line."""
    title = Text(graph.node, style="bold")
    if graph.status is not None:
        title.append(
            f"  says: {graph.status[1]}", style=("green", "yellow", "red", "red")[min(graph.status[0], 3)]
        )
    console.print(title, soft_wrap=True)
    console.print(
        _table("reads", [graph.topics[name] for name in graph.inputs], lambda topic: topic.publishers)
    )
    used = [graph.topics[name] for name in graph.outputs if graph.topics[name].subscriptions]
    console.print(_table("is read on", used, lambda topic: topic.subscriptions))
    unused = len(graph.outputs) - len(used)
    console.print(f"{counted(unused, 'other output')} that nobody reads", style="dim")
    for finding in sorted(found, key=lambda finding: not finding.breaks):
        where = " ".join(filter(None, (finding.topic, finding.peer and f"({finding.peer})")))
        line = Text(
            "broken  " if finding.breaks else "look at ", style="bold red" if finding.breaks else "yellow"
        )
        line.append(f"{where}: {finding.problem}", style="default")
        if finding.cure:
            line.append(f": {finding.cure}", style="cyan")
        console.print(line, soft_wrap=True)
    if not any(finding.breaks for finding in found):
        console.print("all is well", style="bold green")
    console.print()


def _table(title: str, topics: Iterable[Topic], ends: Any) -> Table:
    table = Table(
        *(Column(header, overflow="fold") for header in ("topic", "node", "QoS", "Hz", "last")),
        title=title,
        title_justify="left",
        box=None,
        padding=(0, 2),
    )
    for topic in topics:
        rate = "" if topic.heard is None else f"{topic.heard.rate:.1f}"
        rows = ends(topic) or [None]
        for index, end in enumerate(rows):
            first = index == 0
            table.add_row(
                Text(topic.name if first else ""),
                Text(end.node if end else "nobody", style="" if end else "red"),
                Text(_qos_text(end) if end else ""),
                Text(rate if first else ""),
                Text(_last_text(topic) if first else ""),
            )
    return table


def _qos_text(end: Endpoint) -> str:
    return f"{end.qos.reliability.name.lower()}, {end.qos.durability.name.lower()}"


def _last_text(topic: Topic) -> str:
    last = topic.heard.last if topic.heard else None
    if last is None:
        return ""
    if isinstance(last, CompressedImage):
        return str(last.format)
    return f"{last.width}x{last.height} {getattr(last, 'encoding', last.header.frame_id)}"


@contextmanager
def _looking_node(context: Context | None) -> Iterator[tuple[Node, SingleThreadedExecutor]]:
    own = context is None
    context = Context() if context is None else context
    if own:
        rclpy.init(context=context)
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


def _find(looker: Node, executor: SingleThreadedExecutor, name: str | None) -> list[str]:
    end = time.monotonic() + DISCOVERY_S
    wanted = None if name is None else "/" + name.strip("/")
    while True:
        nodes = [_join(space, base) for base, space in looker.get_node_names_and_namespaces()]
        found = [n for n in nodes if (n == wanted if wanted else n.rpartition("/")[2] == NODE_NAME)]
        if found:
            return sorted(set(found))
        if time.monotonic() > end:
            others = (
                ", ".join(sorted(set(nodes) - {_join(looker.get_namespace(), looker.get_name())})) or "none"
            )
            raise HandDepthError(
                f"no node {wanted or NODE_NAME} is running here: start it, or set ROS_DOMAIN_ID as it has it, "
                f"or name it with --node (nodes seen: {others})"
            )
        executor.spin_once(timeout_sec=0.2)


def _settled(looker: Node, executor: SingleThreadedExecutor, full_names: list[str]) -> list[Graph]:
    """The graphs around the nodes once discovery has come to rest (or DISCOVERY_S is over)."""
    steady, before, end = 0, None, time.monotonic() + DISCOVERY_S
    while True:
        graphs = [_look(looker, full_name) for full_name in full_names]
        seen = [(t.name, t.publishers, t.subscriptions) for graph in graphs for t in graph.topics.values()]
        named = all(is_known(end.node) for _, out, into in seen for end in (*out, *into))
        steady = steady + 1 if named and seen == before else 0
        before = seen
        if steady >= STEADY_LOOKS - 1 or time.monotonic() > end:
            return graphs
        _spin(executor, LOOK_PERIOD_S)


def _look(looker: Node, full_name: str) -> Graph:
    """The graph around a node as it is now."""
    published = _by_node(looker.get_publisher_names_and_types_by_node, full_name)
    subscribed = _by_node(looker.get_subscriber_names_and_types_by_node, full_name)
    if not published:  # not even /rosout
        raise HandDepthError(f"{full_name} has gone while it was being looked at: start it again")
    outputs = sorted(name for name, types in published.items() if types[0] in _CAMERA_TYPES)
    inputs = sorted(name for name, types in subscribed.items() if types[0] in _KINDS)
    topics = {name: _ends(looker, name) for name in (*inputs, *outputs)}
    for name in inputs:
        if subscribed[name][0] != graph_check.CAMERA_INFO:
            other = other_transport(name)[1]
            topics.setdefault(other, _ends(looker, other))
    consumers = {end.node for name in outputs for end in topics[name].subscriptions}
    around: set[str] = set()
    for consumer in consumers:
        subscriptions = _by_node(looker.get_subscriber_names_and_types_by_node, consumer)
        around.update(name for name, types in subscriptions.items() if types[0] in _KINDS)
    for name in around - topics.keys():
        topics[name] = _ends(looker, name)
    return Graph(full_name, topics, outputs, inputs, sorted(around - {*inputs, *outputs}))


def _by_node(ask: Callable[[str, str], Any], full_name: str) -> dict[str, list[str]]:
    """The topics of a node and their types; none of one that is gone, or whose name has not been heard yet."""
    space, _, base = full_name.rpartition("/")
    if not is_known(full_name):
        return {}
    try:
        return dict(ask(base, space or "/"))
    except NodeNameNonExistentError:
        return {}


def _ends(looker: Node, name: str) -> Topic:
    me = _join(looker.get_namespace(), looker.get_name())
    publishers = map(_endpoint, looker.get_publishers_info_by_topic(name))
    subscriptions = map(_endpoint, looker.get_subscriptions_info_by_topic(name))
    return Topic(name, list(publishers), [end for end in subscriptions if end.node != me])


def _endpoint(info: Any) -> Endpoint:
    return Endpoint(_join(info.node_namespace, info.node_name), info.topic_type, info.qos_profile)


def _join(space: str, base: str) -> str:
    return f"{space.rstrip('/')}/{base}"


def _worth_hearing(graphs: Iterable[Graph]) -> Iterator[tuple[str, Topic]]:
    for graph in graphs:
        read = [name for name in graph.outputs if graph.topics[name].subscriptions]
        for name in (*graph.inputs, *graph.around, *read):
            topic = graph.topics[name]
            if topic.type in _KINDS and topic.publishers:
                yield name, topic


def _listen(looker: Node, topic: Topic) -> Heard:
    heard = Heard()
    kind = next(end.type for end in topic.publishers if end.type in _KINDS)
    offers = [end.qos for end in topic.publishers]
    reliability = BEST_EFFORT if any(qos.reliability == BEST_EFFORT for qos in offers) else RELIABLE
    durability = durability_to_ask((qos.durability for qos in offers), VOLATILE)
    looker.create_subscription(
        _KINDS[kind], topic.name, partial(_hear, heard), input_qos(reliability, durability)
    )
    return heard


def _hear(heard: Heard, message: Any) -> None:
    heard.count += 1
    heard.last = message
    heard.stamps = [*heard.stamps[1 - graph_check.STAMPS_KEPT :], stamp_ns(message.header)]


def _status(graph: Graph, statuses: Iterable[Any]) -> tuple[int, str] | None:
    """The node's latest word about itself on /diagnostics."""
    base = graph.node.rpartition("/")[2]
    own = [s for s in statuses if s.name.startswith(f"{base}:") and s.hardware_id in ("", *graph.inputs)]
    return (int.from_bytes(own[-1].level, "little"), own[-1].message) if own else None
