"""Play frames to the node as a camera driver does, and collect what it publishes. Needs rclpy."""

from __future__ import annotations

import contextlib
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.node.runtime import init_ros

if TYPE_CHECKING:
    from hand_depth_ros.evaluation.readers import Sample

IMAGE, INFO = "/camera/color/image_raw", "/camera/color/camera_info"
FRAME_ID = "camera_color_optical_frame"
FIRST_STAMP_NS = 1_000_000_000_000
READY_TIMEOUT_S = 120.0
LAST_FRAME_TIMEOUT_S = 3.0
OUTPUTS: dict[str, Any] = {
    topics.DEPTH_MM: Image,
    topics.SIGMA: Image,
    topics.HAND_MASK: Image,
    topics.POINTS: PointCloud2,
}


@dataclass
class Sent:
    """One published frame: its index in the clip, when it was sent, and what came back.

    Times are monotonic seconds.
    """

    index: int
    sent_s: float
    depth_s: float | None = None
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def latency_ms(self) -> float:
        """Time from publishing the colour image to receiving its depth image; NaN if none came."""
        return float("nan") if self.depth_s is None else 1e3 * (self.depth_s - self.sent_s)


class Player:
    """A camera and a consumer in one process. A context manager."""

    def __init__(self, frames: Sequence[Sample]) -> None:
        self._frames = frames
        self._by_stamp: dict[int, Sent] = {}
        self._lock = threading.Lock()
        self._pixels = [_byte_array(frame.rgb) for frame in frames]
        self._next_stamp = FIRST_STAMP_NS

    def __enter__(self) -> Player:
        self._context = Context()
        init_ros(context=self._context)
        self._node = rclpy.create_node("hand_depth_demo", context=self._context)
        qos = QoSProfile(
            history=QoSHistoryPolicy.KEEP_LAST,
            depth=10,
            reliability=QoSReliabilityPolicy.RELIABLE,
            durability=QoSDurabilityPolicy.VOLATILE,
        )
        self._image = self._node.create_publisher(Image, IMAGE, qos)
        self._info = self._node.create_publisher(CameraInfo, INFO, qos)
        for name, kind in OUTPUTS.items():
            self._node.create_subscription(kind, f"/{name}", self._collector(name), qos)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._thread.join(timeout=5.0)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def wait_until_ready(self, check: Callable[[], None]) -> float | None:
        """Send the first frame now and then until all its outputs come back.

        The node is then discovered, loaded and warmed up.

        Args:
            check: Called repeatedly; raises if the node is gone.

        Returns:
            Seconds it took; None if nothing came within READY_TIMEOUT_S.
        """
        start = time.monotonic()
        attempts: list[Sent] = []  # a busy machine may answer only after later ones are sent
        while time.monotonic() - start < READY_TIMEOUT_S:
            check()
            attempts.append(self._send(0))
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                if any(map(self._complete, attempts)):
                    return time.monotonic() - start
                time.sleep(0.01)
        return None

    def play(
        self, fps: float, passes: int, check: Callable[[], None], progress: Callable[[], None]
    ) -> list[Sent]:
        """Publish the clip `passes` times over and wait for the last frame's outputs."""
        time.sleep(0.5)
        sent: list[Sent] = []
        start = time.monotonic()
        for number in range(passes * len(self._frames)):
            check()
            time.sleep(max(0.0, start + number / fps - time.monotonic()))
            sent.append(self._send(number % len(self._frames)))
            progress()
        until = time.monotonic() + LAST_FRAME_TIMEOUT_S
        while not self._complete(sent[-1]) and time.monotonic() < until:
            time.sleep(0.01)
        return sent

    def _send(self, index: int) -> Sent:
        frame = self._frames[index]
        image, info = Image(), _camera_info(frame)
        self._next_stamp += 1_000_000
        stamp = max(self._next_stamp, FIRST_STAMP_NS + int(1e9 * time.monotonic()))
        self._next_stamp = stamp
        for message in (image, info):
            message.header.frame_id = FRAME_ID
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        image.height, image.width = frame.rgb.shape[:2]
        image.encoding = "rgb8"
        image.step = 3 * image.width
        image.data = self._pixels[index]
        sent = Sent(index, time.monotonic())
        with self._lock:
            self._by_stamp[stamp] = sent
        self._info.publish(info)
        self._image.publish(image)
        return sent

    def _collector(self, name: str) -> Callable[[Any], None]:
        def collect(message: Any) -> None:
            now = time.monotonic()
            stamp = message.header.stamp
            with self._lock:
                sent = self._by_stamp.get(stamp.sec * 1_000_000_000 + stamp.nanosec)
                if sent is None:
                    return
                sent.outputs[name] = message
                if name == topics.DEPTH_MM:
                    sent.depth_s = now

        return collect

    def _complete(self, sent: Sent) -> bool:
        with self._lock:
            return len(sent.outputs) == len(OUTPUTS)

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()


def to_pixels(message: Image) -> np.ndarray:
    """Return a published image as (H, W): uint16 mm, float32 m or uint8."""
    kind = {"16UC1": "<u2", "32FC1": "<f4", "mono8": "u1"}[message.encoding]
    return np.frombuffer(message.data, kind).reshape(message.height, message.width)


def to_points(message: PointCloud2) -> tuple[np.ndarray, np.ndarray]:
    """Return a published cloud as (N, 3) float32 metres and (N, 3) uint8 RGB."""
    records = np.frombuffer(message.data, np.dtype([("xyz", "<f4", 3), ("bgra", "u1", 4)]))
    return records["xyz"], records["bgra"][:, 2::-1]


def _byte_array(rgb: np.ndarray) -> array[int]:
    data = array("B")
    data.frombytes(np.ascontiguousarray(rgb).tobytes())
    return data


def _camera_info(frame: Sample) -> CameraInfo:
    camera = frame.camera
    info = CameraInfo(width=camera.width, height=camera.height)
    info.distortion_model = camera.distortion_model
    info.d = [float(value) for value in camera.d] or [0.0] * 5
    info.k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info
