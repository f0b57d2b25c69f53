"""Plain data on a running node and its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rclpy.qos import QoSProfile

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
POINT_CLOUD = "sensor_msgs/msg/PointCloud2"
MAX_STAMPS = 2000
"""Stamps remembered of a topic; a minute at 30 fps."""


@dataclass(frozen=True)
class Endpoint:
    """A publisher or subscription, as the graph describes it."""

    node: str  # fully qualified
    type: str
    qos: QoSProfile


@dataclass
class Heard:
    """The messages received on a topic while the doctor listened.

    `first_s` and `last_s` are when the first and the last one came (seconds, monotonic); `stamps`
    are their header stamps in ns; `best_effort_stamps` those that came to a second, best-effort
    subscription (None: there was none).
    """

    count: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    last: Any = None
    stamps: list[int] = field(default_factory=list)
    best_effort_stamps: list[int] | None = None

    def add(self, message: Any, stamp: int, now_s: float) -> None:
        """Count a message that came at `now_s`."""
        self.first_s = self.first_s if self.count else now_s
        self.count, self.last_s, self.last = self.count + 1, now_s, message
        self.stamps = [*self.stamps[1 - MAX_STAMPS :], stamp]

    @property
    def rate(self) -> float:
        """Messages a second, from the first to the last one; 0 if fewer than two came."""
        duration = self.last_s - self.first_s
        return (self.count - 1) / duration if duration > 0.0 else 0.0


@dataclass
class Topic:
    """A topic with all its endpoints, and what was heard on it (None: not listened to)."""

    name: str
    publishers: list[Endpoint] = field(default_factory=list)
    subscriptions: list[Endpoint] = field(default_factory=list)
    heard: Heard | None = None

    @property
    def type(self) -> str:
        """The type that the first endpoint has."""
        return next((end.type for end in (*self.publishers, *self.subscriptions)), "")


@dataclass
class Graph:
    """One hand depth node and its neighbours.

    `outputs` and `inputs` are names in `topics`; `around` are the other topics that its consumers
    read; `status` is level and message of its latest diagnostics, `values` their key-value pairs.
    """

    node: str
    topics: dict[str, Topic]
    outputs: list[str]
    inputs: list[str]
    around: list[str] = field(default_factory=list)
    status: tuple[int, str] | None = None
    values: dict[str, str] = field(default_factory=dict)

    def is_published(self, name: str) -> bool:
        """Return whether anybody publishes a topic."""
        return name in self.topics and bool(self.topics[name].publishers)

    def read_by(self, node: str, kind: str) -> list[str]:
        """Return the topics of a type that a node subscribes to."""
        return [
            name
            for name, topic in self.topics.items()
            if any(end.node == node and end.type == kind for end in topic.subscriptions)
        ]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, whose, what, and the cure (unless `problem` says it).

    `breaks`: it keeps somebody from working.
    """

    topic: str
    peer: str
    problem: str
    cure: str = ""
    breaks: bool = True
